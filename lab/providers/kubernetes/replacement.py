"""Which changes the API server would refuse, so that the object has to be made anew."""

from collections.abc import Iterable, Sequence
from typing import Final

from lab.providers.differences import Difference
from lab.providers.kubernetes.api import ApiError
from lab.providers.kubernetes.objects import is_autonamed
from lab.providers.values import Path, Tree, section

EVERYWHERE: Final = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"))
# By kind; a path stands for everything below it. Where a kind is not named, the server's dry run decides.
IMMUTABLE: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "ClusterRoleBinding": (("roleRef",),),
    "DaemonSet": (("spec", "selector"),),
    "Deployment": (("spec", "selector"),),
    "Job": (("spec", "selector"), ("spec", "template"), ("spec", "completionMode"), ("spec", "backoffLimitPerIndex"),
            ("spec", "podFailurePolicy"), ("spec", "successPolicy"), ("spec", "managedBy"), ("spec", "manualSelector"),
            ("spec", "completions")),
    "PersistentVolumeClaim": (("spec", "accessModes"), ("spec", "dataSource"), ("spec", "dataSourceRef"),
                              ("spec", "selector"), ("spec", "storageClassName"), ("spec", "volumeMode"),
                              ("spec", "volumeName")),
    "PriorityClass": (("value",), ("preemptionPolicy",)),
    "ReplicaSet": (("spec", "selector"),),
    "RoleBinding": (("roleRef",),),
    "RuntimeClass": (("handler",),),
    "Secret": (("type",),),
    "Service": (("spec", "clusterIP"),),
    "StatefulSet": (("spec", "selector"), ("spec", "serviceName"), ("spec", "podManagementPolicy"),
                    ("spec", "volumeClaimTemplates")),
    "StorageClass": (("parameters",), ("provisioner",), ("reclaimPolicy",), ("volumeBindingMode",)),
}  # fmt: skip
DATA: Final = (("binaryData",), ("data",), ("stringData",))
REFUSALS: Final = ("immutable", "are forbidden", "may not be changed", "may not change", "cannot be changed",
                   "cannot change", "cannot be updated")  # fmt: skip


def must_replace(
    kind: str, old: Tree, new: Tree, changes: Iterable[Difference], *, mutable_data: frozenset[str]
) -> set[Path]:
    """Paths of those changes that no update can make. `mutable_data`: kinds whose data may change in place."""
    fixed = [*EVERYWHERE, *IMMUTABLE.get(kind, ())]
    if kind in {"ConfigMap", "Secret"} and (_data_is_frozen(old) or (is_autonamed(new) and kind not in mutable_data)):
        fixed += [*DATA, ("immutable",)] if _data_is_frozen(old) else DATA
    if kind == "Service" and "ExternalName" in {section(tree, "spec").get("type") for tree in (old, new)}:
        fixed = list(EVERYWHERE)  # the address comes and goes with the type
    return {change.path for change in changes if any(_is_under(change.path, path) for path in fixed)}


def _data_is_frozen(old: Tree) -> bool:
    return old.get("immutable") is True


def _is_under(path: Path, above: Sequence[str]) -> bool:
    shared = min(len(path), len(above))
    return tuple(path[:shared]) == tuple(above[:shared])


def refused_as_immutable(error: ApiError) -> list[str]:
    """The fields which the server says cannot be changed; empty when it refused for another reason."""
    if error.code != 422:
        return []
    return [field for field, message in error.causes if any(words in message for words in REFUSALS)]
