"""The arguments of a `kubernetes.Provider`."""

import json
import os
from dataclasses import dataclass
from typing import Final

from lab.providers.kubernetes import kubeconfig
from lab.providers.kubernetes.kubeconfig import Access, KubeconfigError
from lab.providers.values import Json, Tree, has_unknown, is_map, plain

NOT_HERE: Final = ("alwaysRender", "renderYamlToDirectory")


@dataclass(frozen=True, kw_only=True)
class ProviderSettings:
    """What this stand-in heeds of them."""

    kubeconfig: str | None = None
    context: str | None = None
    cluster: str | None = None
    namespace: str | None = None
    delete_unreachable: bool = False
    patch_force: bool = False
    upsert: bool = False
    mutable_data: frozenset[str] = frozenset()
    timeout_seconds: float = 60

    def access(self) -> Access:
        """The way into the cluster; KubeconfigError where there is none."""
        return kubeconfig.load(self.kubeconfig, context=self.context, cluster=self.cluster, namespace=self.namespace)


def read(arguments: Tree) -> ProviderSettings:
    """The SDK sends what is not a string as JSON; flags that are absent come from the environment."""
    tree = plain(arguments)
    client = _json(tree.get("kubeClientSettings"))
    mutable = {"ConfigMap": "enableConfigMapMutable", "Secret": "enableSecretMutable"}
    return ProviderSettings(
        kubeconfig=_kubeconfig(tree.get("kubeconfig")),
        context=tree.get("context") or None,
        cluster=tree.get("cluster") or None,
        namespace=tree.get("namespace") or None,
        delete_unreachable=_flag(tree, "deleteUnreachable", "PULUMI_K8S_DELETE_UNREACHABLE"),
        patch_force=_flag(tree, "enablePatchForce", "PULUMI_K8S_ENABLE_PATCH_FORCE"),
        upsert=_flag(tree, "upsertExistingObjects", "PULUMI_K8S_UPSERT_EXISTING_OBJECTS"),
        mutable_data=frozenset(
            kind for kind, name in mutable.items() if _flag(tree, name, f"PULUMI_K8S_ENABLE_{kind.upper()}_MUTABLE")
        ),
        timeout_seconds=float((client.get("timeout") or 60) if is_map(client) else 60),
    )


def refusals(arguments: Tree) -> dict[str, str]:
    """Arguments that only the official plugin can heed, each with a sentence."""
    tree = plain(arguments)
    found = {name: "only the official plugin renders YAML" for name in NOT_HERE if tree.get(name)}
    if _json(tree.get("enableServerSideApply")) is False:
        found["enableServerSideApply"] = "this stand-in knows server-side apply alone; leave it on"
    return found


def _kubeconfig(value: Json) -> str | None:
    """A kubeconfig may be given as an object too."""
    return json.dumps(value) if is_map(value) else value or None


def _flag(tree: Tree, name: str, variable: str) -> bool:
    value = tree.get(name)
    return str(os.environ.get(variable, "") if value is None else value).lower() in {"1", "t", "true"}


def _json(value: Json) -> Json:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def moves(argument: str | int, old: Tree, new: Tree) -> bool:
    """Whether a change of this argument leads to another cluster."""
    if argument == "clusterIdentifier":
        return True
    if argument not in {"kubeconfig", "context", "cluster"} or "clusterIdentifier" in new or has_unknown(new):
        return False
    try:
        return read(old).access().server != read(new).access().server
    except (KubeconfigError, OSError, KeyError):
        return False
