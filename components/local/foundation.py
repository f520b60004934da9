"""Foundation in an existing cluster that the kubeconfig names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import hand_edits
from components.foundation import ArtifactStore, ClusterAccess, Database, Foundation, Grant, NodePool
from components.local import postgres, s3_gateway
from components.local.postgres import Postgres, PostgresArgs
from components.local.s3_gateway import S3Gateway, S3GatewayArgs
from components.namespaces import CLUSTER_DNS, Namespaces, NamespacesArgs, QuotaArgs
from contract import names

REGION = "us-east-1"
"""Region that S3 clients must name; the gateway accepts any."""


@dataclass(frozen=True, kw_only=True)
class LocalFoundationArgs:
    """Settings of the local foundation."""

    context: str
    """Context in the kubeconfig of the machine that runs Pulumi."""
    storage_gib: int
    """Size in GiB of each of the two stores' volumes."""
    postgres_image: str
    """Image of Postgres."""
    s3_gateway_image: str
    """Image of the S3 gateway."""
    endpoints: Sequence[str]
    """Names of the endpoints."""
    node_pools: Mapping[str, NodePool]
    """Existing nodes by the name of their pool."""
    platform_quota: QuotaArgs
    """Quota of mlops-platform."""
    training_quota: QuotaArgs
    """Quota of ml-training."""
    serving_quota: QuotaArgs
    """Quota of ml-serving."""
    drift: Sequence[str] = ()
    """Names of the endpoints with a drift job."""
    batch: bool = False
    """True: batches get an identity."""
    guarded: bool = False
    """True: some model servers accept requests only from their router."""
    database_password: Input[str]
    """Password of MLflow's database user."""
    artifact_store_access_key: Input[str]
    """Access key ID of the S3 gateway's account that owns the bucket."""
    artifact_store_secret_key: Input[str]
    """Secret access key of that account."""


class LocalFoundation(pulumi.ComponentResource):
    """The platform's namespaces in an existing cluster, with Postgres and an S3 gateway as its stores."""

    foundation: Foundation
    """Interface for the components above the foundation."""

    def __init__(self, name: str, args: LocalFoundationArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:LocalFoundation", name, None, opts)
        provider = k8s.Provider(
            name, context=args.context, opts=hand_edits.with_patch_force(ResourceOptions(parent=self))
        )
        child = ResourceOptions(parent=self, provider=provider)
        namespaces = Namespaces("namespaces", _namespaces(args), child)
        database = Postgres(postgres.NAME, _postgres(args, namespaces), child)
        store = S3Gateway(s3_gateway.NAME, _s3_gateway(args, namespaces), child)
        environment = {
            "AWS_ENDPOINT_URL_S3": store.endpoint,
            "AWS_REGION": REGION,
            "MLFLOW_S3_ENDPOINT_URL": store.endpoint,
        }
        owner = (args.artifact_store_access_key, args.artifact_store_secret_key)
        validation = (s3_gateway.VALIDATION, s3_gateway.validation_key(args.artifact_store_secret_key))
        serving = _grant("serving", namespaces.serving, owner, child)
        self.foundation = Foundation(
            provider=provider,
            access=ClusterAccess(context=args.context),
            artifact_store=ArtifactStore(
                bucket=s3_gateway.BUCKET,
                uri=f"s3://{s3_gateway.BUCKET}",
                environment=environment,
                egress=[s3_gateway.EGRESS],
            ),
            database=Database(
                host=database.host,
                port=postgres.PORT,
                name=postgres.DATABASE,
                user=postgres.USER,
                password=args.database_password,
                authority=database.authority,
                egress=postgres.EGRESS,
            ),
            node_pools=args.node_pools,
            tracking=_grant("tracking", namespaces.platform, owner, child),
            training=_grant("training", namespaces.training, owner, child),
            validation=_grant("validation", namespaces.training, validation, child),
            serving=serving,
            # All workloads but validations share one account of the gateway.
            endpoints=dict.fromkeys(args.endpoints, serving),
            drift={
                endpoint: _grant(names.drift_account(endpoint), namespaces.training, owner, child)
                for endpoint in args.drift
            },
            batch=_grant("batch", namespaces.serving, owner, child) if args.batch else None,
            priority_class=namespaces.priority_class,
            facts={},
        )
        self.register_outputs({})


def _grant(workload: str, namespace: Output[str], keys: tuple[Input[str], Input[str]], child: ResourceOptions) -> Grant:
    """Create a workload's identity with an access key ID and a secret access key.

    Tracking, training and serving share the account that owns the bucket; a validation has one with fewer rights.
    """
    labels = names.labels(workload, workload, workload)
    service_account = k8s.core.v1.ServiceAccount(
        workload,
        metadata={"name": workload, "namespace": namespace, "labels": labels},
        automount_service_account_token=False,
        opts=child,
    )
    secret = k8s.core.v1.Secret(
        f"{workload}-artifact-store",
        metadata={"namespace": namespace, "labels": labels},
        string_data={
            "AWS_ACCESS_KEY_ID": keys[0],
            "AWS_SECRET_ACCESS_KEY": keys[1],
        },
        opts=child,
    )
    return Grant(
        namespace=namespace,
        service_account=service_account.metadata.name,
        secret=secret.metadata.name,
    )


def _namespaces(args: LocalFoundationArgs) -> NamespacesArgs:
    return NamespacesArgs(
        platform=args.platform_quota,
        training=args.training_quota,
        serving=args.serving_quota,
        artifact_store=[s3_gateway.EGRESS],
        artifact_store_only=[s3_gateway.EGRESS],
        dns=CLUSTER_DNS,
        drift=bool(args.drift),
        guarded=args.guarded,
    )


def _postgres(args: LocalFoundationArgs, namespaces: Namespaces) -> PostgresArgs:
    return PostgresArgs(
        namespace=namespaces.platform,
        priority_class=namespaces.priority_class,
        image=args.postgres_image,
        storage_gib=args.storage_gib,
        password=args.database_password,
    )


def _s3_gateway(args: LocalFoundationArgs, namespaces: Namespaces) -> S3GatewayArgs:
    return S3GatewayArgs(
        namespace=namespaces.platform,
        priority_class=namespaces.priority_class,
        image=args.s3_gateway_image,
        storage_gib=args.storage_gib,
        access_key=args.artifact_store_access_key,
        secret_key=args.artifact_store_secret_key,
    )
