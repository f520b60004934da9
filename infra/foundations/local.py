"""Foundation of `kind: local`: an existing cluster."""

from components.foundation import Foundation, NodePool
from components.local.foundation import LocalFoundation, LocalFoundationArgs
from components.namespaces import QuotaArgs
from infra.config import stack as settings
from infra.config.stack import Settings


def build(stack: Settings, chosen: settings.LocalFoundation) -> Foundation:
    """Declare the foundation."""
    quotas = stack.quotas
    args = LocalFoundationArgs(
        context=chosen.context,
        storage_gib=chosen.storage_gib,
        postgres_image=chosen.images.postgres,
        s3_gateway_image=chosen.images.s3_gateway,
        endpoints=tuple(stack.endpoints),
        node_pools={
            name: NodePool(labels=pool.labels, gpu_resource=settings.GPU_RESOURCES[pool.gpu.kind] if pool.gpu else None)
            for name, pool in chosen.node_pools.items()
        },
        platform_quota=QuotaArgs(**quotas.platform.model_dump()),
        training_quota=QuotaArgs(**quotas.training.model_dump()),
        serving_quota=QuotaArgs(**quotas.serving.model_dump()),
        drift=tuple(stack.watched),
        batch=bool(stack.batch),
        guarded=stack.has_guarded_pods,
        database_password=settings.secret("database_password"),
        artifact_store_access_key=settings.secret("artifact_store_access_key"),
        artifact_store_secret_key=settings.secret("artifact_store_secret_key"),
    )
    return LocalFoundation("local", args).foundation
