"""What the platform stands on, whatever that is made of: the seam between a cloud and everything above it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi_kubernetes as k8s
from pulumi import Input


@dataclass(frozen=True, kw_only=True)
class ArtifactStore:
    """A bucket that speaks S3; `environment` is how its clients find it (region, endpoint).

    `egress` is the way to it, and to what pods need to be let in, in a NetworkPolicy.
    """

    bucket: Input[str]
    environment: Mapping[str, Input[str]]
    egress: Sequence[k8s.networking.v1.NetworkPolicyEgressRuleArgsDict]


@dataclass(frozen=True, kw_only=True)
class Database:
    """An empty Postgres database, or one of MLflow's, that takes TLS connections alone.

    `egress` is the way to it in a NetworkPolicy. `snapshot` is what was saved of it before another version of MLflow
    may change its schema; None where nothing is saved.
    """

    host: Input[str]
    port: int
    name: str
    user: str
    password: Input[str]
    egress: k8s.networking.v1.NetworkPolicyEgressRuleArgsDict
    snapshot: Input[str] | None = None


@dataclass(frozen=True, kw_only=True)
class NodePool:
    """Nodes found by their labels. With `gpu_resource` they have GPUs, and a taint of that name keeps others off.

    `annotations` are of pods that have to be left where they run until they have ended.
    """

    labels: Mapping[str, str]
    gpu_resource: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Where a kind of workload runs, and what lets it at the artifact store.

    `secret` is a Secret in `namespace` whose keys are environment variables; None where the identity behind the
    service account is enough.
    """

    namespace: Input[str]
    service_account: Input[str]
    secret: Input[str] | None = None


@dataclass(frozen=True, kw_only=True)
class ClusterAccess:
    """What kubectl is told to reach the cluster: a context of the machine's kubeconfig, or a kubeconfig."""

    context: str | None = None
    kubeconfig: Input[str] | None = None


@dataclass(frozen=True, kw_only=True)
class WayIn:
    """What is asked for: a way to one Service, for the networks `cidrs` alone where there are any.

    `health_path` answers 200 whatever the Host header is.
    """

    host: str
    public: bool
    certificate_arn: str | None
    cidrs: Sequence[str]
    idle_timeout_seconds: int
    health_path: str


@dataclass(frozen=True, kw_only=True)
class Ingress:
    """How to get one, in the words of the cluster's ingress class.

    `sources` are the address blocks that its load balancer's requests come from. A new pod counts as ready once the
    load balancer has found it healthy, after `healthy_seconds` at the latest.
    """

    host: str
    class_name: str
    annotations: Mapping[str, Input[str]]
    sources: Input[Sequence[str]]
    healthy_seconds: int


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """A cluster with our namespaces in it, two stores outside or inside of it, and a grant for each workload.

    `facts` are what people need to know of it; nothing secret. `way_in` is None where nothing makes load balancers.
    """

    provider: k8s.Provider
    access: ClusterAccess
    artifact_store: ArtifactStore
    database: Database
    node_pools: Mapping[str, NodePool]
    tracking: Grant
    training: Grant
    serving: Grant
    facts: Mapping[str, Input[str] | Mapping[str, Input[str]]]
    way_in: Callable[[WayIn], Ingress] | None = None
