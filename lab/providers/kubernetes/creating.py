"""Making an object that may be there already."""

from lab.providers.kubernetes.api import ApiError
from lab.providers.kubernetes.cluster import Cluster, RefusedError
from lab.providers.kubernetes.connection import Connection
from lab.providers.kubernetes.objects import field_manager, is_autonamed, is_managed_by, propagation_of, title
from lab.providers.kubernetes.replacement import refused_as_immutable
from lab.providers.kubernetes.unconfirmed import Unconfirmed, marked
from lab.providers.kubernetes.waiting import Patience, until_gone
from lab.providers.values import Tree, section


def create(connection: Connection, unconfirmed: Unconfirmed, urn: str, body: Tree, patience: Patience) -> Tree:
    """The object exists as `body` says.

    What an interrupted run left of the same resource is taken over, or removed where it cannot be changed so. An
    object of anyone else is a RefusedError, unless the provider may take it over.
    """
    cluster, manager = connection.cluster(), field_manager(urn)
    if is_autonamed(body):
        for left in unconfirmed.left_over(cluster, body, manager):
            connection.messages.info(urn, f"Removing {title(left)}, which an interrupted update left behind")
            cluster.delete(left, propagation="Background")
        body = marked(body)
    existing = _settled(cluster, body, patience)
    if existing and not is_managed_by(existing, manager) and not connection.settings.upsert:
        raise RefusedError(
            f"{title(body)} already exists, and not from this resource. Take it over with `pulumi import` or the "
            "`import_` option, delete it, or set `upsertExistingObjects` on the provider"
        )
    force, warn = connection.force(body), connection.warns(urn)
    try:
        return cluster.apply_patiently(body, manager=manager, force=force, warn=warn)
    except RefusedError as refused:
        cause = refused.__cause__
        if not existing or not isinstance(cause, ApiError) or not refused_as_immutable(cause):
            raise
    cluster.delete(body, propagation=propagation_of(body))
    until_gone(cluster, body, patience)
    return cluster.apply_patiently(body, manager=manager, force=force, warn=warn)


def _settled(cluster: Cluster, body: Tree, patience: Patience) -> Tree | None:
    """The live object of that name; one that is being deleted is waited out."""
    existing = cluster.get_like(body)
    if existing and section(existing, "metadata").get("deletionTimestamp"):
        until_gone(cluster, body, patience)
        return None
    return existing
