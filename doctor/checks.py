"""List of the checks of a stack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from contract import names
from doctor import cluster, engine, local
from doctor.aws import account, certificates, images, instances, network, roles, stores
from doctor.aws import cluster as eks
from doctor.aws.requests import Aws, connect
from doctor.cluster import Kubernetes
from doctor.engine import Engine
from doctor.findings import Check, Finding
from doctor.stack_file import Stack
from infra.config.aws import AwsFoundation
from infra.config.stack import LocalFoundation
from runs.cluster import Cluster

SECONDS = 20
"""Time limit in seconds of one request of kubectl and of one port-forward."""
CREDENTIALS, REGION, CLUSTER, API, PLATFORM = "AWS credentials", "region", "EKS cluster", "Kubernetes API", "platform"
ENGINE, BACKEND, MLFLOW = "Pulumi engine", "state backend", "MLflow"
NAMESPACES = (names.PLATFORM, names.TRAINING, names.SERVING)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Environment, folder and addresses of this machine that the checks use."""

    environment: Mapping[str, str]
    """Environment variables of pulumi and kubectl."""
    folder: Path
    """Empty folder for temporary files."""
    kubectl: str | None = None
    """Beginning of the kubectl commands in the findings; None: kubectl, with the context in the stack file."""
    tracking_uri: str | None = None
    """Address of MLflow; None: a port-forward."""
    connect: Callable[[str], Aws] = connect
    """Function that returns access to an AWS region."""


def checks(stack: Stack, around: Surroundings) -> list[Check]:
    """Return the checks of a stack, in the order of the report."""
    chosen = stack.settings.foundation
    kind = _aws(stack, chosen, around) if isinstance(chosen, AwsFoundation) else _local(stack, chosen, around)
    return [*_engine(stack, around), *kind]


def _engine(stack: Stack, around: Surroundings) -> list[Check]:
    pulumi = Engine(folder=stack.file.parent, environment=around.environment)
    return [
        Check(name="secrets", run=lambda: engine.secrets(stack)),
        Check(name=ENGINE, run=lambda: engine.engine(pulumi)),
        Check(name="plugins", run=lambda: engine.plugins(pulumi, stack), needs=ENGINE),
        Check(name=BACKEND, run=lambda: engine.backend(pulumi), needs=ENGINE),
        Check(name="stack", run=lambda: engine.state(pulumi, stack), needs=BACKEND),
    ]


def _aws(stack: Stack, chosen: AwsFoundation, around: Surroundings) -> list[Check]:
    region = stack.region or around.environment.get("AWS_REGION", "")

    @cache
    def aws() -> Aws:
        return around.connect(region)

    def of_region(name: str, run: Callable[[], Iterable[Finding]]) -> Check:
        return Check(name=name, run=run, needs=REGION)

    @cache
    def kubernetes() -> Kubernetes:
        file = around.folder / "kubeconfig"
        eks.write_kubeconfig(aws(), eks.cluster_name(stack, chosen), file)
        environment = {**around.environment, "KUBECONFIG": str(file), "AWS_REGION": region}
        return Kubernetes(cluster=Cluster(environment=environment, seconds=SECONDS))

    return [
        Check(name=CREDENTIALS, run=lambda: account.identity(aws, chosen)),
        Check(name=REGION, run=lambda: account.region(aws(), stack, region), needs=CREDENTIALS),
        of_region("zones", lambda: account.zones(aws(), stack, chosen)),
        of_region("instance types", lambda: instances.offered(aws(), chosen)),
        of_region("quotas of vCPUs", lambda: instances.cpu_quotas(aws(), chosen)),
        of_region("quotas of the network", lambda: network.network_quotas(aws(), stack, chosen)),
        of_region("network", lambda: network.vpc(aws(), stack, chosen)),
        of_region("roles", lambda: roles.named_roles(aws(), chosen)),
        of_region("service-linked roles", lambda: roles.service_roles(aws(), chosen)),
        of_region("buckets", lambda: stores.bucket(aws(), stack, chosen)),
        of_region("datasets", lambda: stores.datasets(aws(), stack)),
        of_region("database", lambda: stores.database(aws(), stack, chosen)),
        of_region("images", lambda: images.images(aws(), stack, chosen)),
        of_region("certificates", lambda: certificates.certificates(aws(), stack)),
        of_region("Kubernetes version", lambda: eks.version(aws(), stack, chosen)),
        of_region(CLUSTER, lambda: eks.cluster(aws(), stack, chosen)),
        Check(name=API, run=lambda: cluster.api(kubernetes()), needs=CLUSTER),
        Check(name="addresses of S3", run=lambda: network.s3(aws(), kubernetes()), needs=API),
        *_running(stack, kubernetes, around.tracking_uri),
    ]


def _local(stack: Stack, chosen: LocalFoundation, around: Surroundings) -> list[Check]:
    access = Cluster(context=chosen.context, environment=around.environment, seconds=SECONDS)
    kubernetes = Kubernetes(cluster=access, kubectl=around.kubectl or f"kubectl --context {chosen.context}")

    return [
        Check(name=API, run=lambda: cluster.api(kubernetes)),
        Check(name="node pools", run=lambda: local.pools(kubernetes, stack, chosen), needs=API),
        Check(name="room", run=lambda: local.room(kubernetes, stack), needs=API),
        Check(name="images", run=lambda: local.images(kubernetes, stack, chosen), needs=API),
        Check(name="certificates", run=lambda: cluster.certificates(kubernetes)),
        *_running(stack, lambda: kubernetes, around.tracking_uri),
    ]


def _running(stack: Stack, kubernetes: Callable[[], Kubernetes], uri: str | None) -> list[Check]:
    """Return the checks of the platform in a running cluster."""
    pods = {namespace: f"pods in {namespace}" for namespace in NAMESPACES}
    return [
        Check(name="nodes", run=lambda: cluster.nodes(kubernetes()), needs=API),
        Check(name=PLATFORM, run=lambda: cluster.platform(kubernetes()), needs=API),
        *(
            Check(name=name, run=lambda namespace=namespace: cluster.pods(kubernetes(), namespace), needs=PLATFORM)
            for namespace, name in pods.items()
        ),
        Check(name=MLFLOW, run=lambda: cluster.tracking(kubernetes(), uri), needs=PLATFORM),
        Check(name="champions", run=lambda: cluster.champions(kubernetes(), uri, stack.settings), needs=MLFLOW),
        *(
            Check(
                name=f"endpoint {name}",
                run=lambda name=name, version=endpoint.version: cluster.served(kubernetes(), name, version),
                needs=PLATFORM,
            )
            for name, endpoint in stack.settings.endpoints.items()
        ),
    ]
