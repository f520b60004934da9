"""From the kind in the stack file to the foundation it names."""

from components.foundation import Foundation, NodePool
from components.local.foundation import LocalFoundation, LocalFoundationArgs
from components.namespaces import QuotaArgs
from infra import aws_foundation, settings
from infra.settings import Settings


def build(stack: Settings) -> Foundation:
    """Declares everything the platform stands on."""
    match stack.foundation:
        case settings.AwsFoundation() as chosen:
            return aws_foundation.build(stack, chosen)
        case chosen:
            return local(chosen, stack.quotas)


def local(chosen: settings.LocalFoundation, quotas: settings.Quotas) -> Foundation:
    """`kind: local`."""
    args = LocalFoundationArgs(
        context=chosen.context,
        storage_gib=chosen.storage_gib,
        postgres_image=chosen.images.postgres,
        s3_gateway_image=chosen.images.s3_gateway,
        node_pools={
            name: NodePool(labels=pool.labels, gpu_resource=settings.GPU_RESOURCES[pool.gpu.kind] if pool.gpu else None)
            for name, pool in chosen.node_pools.items()
        },
        platform_quota=QuotaArgs(**quotas.platform.model_dump()),
        training_quota=QuotaArgs(**quotas.training.model_dump()),
        serving_quota=QuotaArgs(**quotas.serving.model_dump()),
        database_password=settings.secret("database_password"),
        artifact_store_access_key=settings.secret("artifact_store_access_key"),
        artifact_store_secret_key=settings.secret("artifact_store_secret_key"),
    )
    return LocalFoundation("local", args).foundation
