"""The inputs of a resource as they go into the state: with kind, namespace and name filled in, and secrets marked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lab.providers.kubernetes.objects import AUTONAMED, CLUSTER_SCOPED, Token, autoname, is_autonamed, name_of
from lab.providers.values import UNKNOWN, Json, Secret, Tree, is_map, section

NOT_OBJECTS: Final = ("helm.sh/", "kustomize", "yaml")
ONLY_OFFICIAL: Final = (
    "the stand-in for the Kubernetes plugin makes single objects and no {what}; that needs the official plugin "
    "(`pulumi plugin install resource kubernetes {version}` on a machine that reaches the internet)"
)


class InvalidInputError(Exception):
    """One property cannot stand as it is."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"{where}: {reason}")


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How a resource without a name gets one; `proposed` and `required` come from the stack's configuration."""

    resource: str
    seed: bytes
    proposed: str = ""
    required: bool = False


def checked(
    news: Tree, olds: Tree, token: Token, naming: Naming, *, namespace_for: Callable[[Token], str | None]
) -> Tree:
    """The inputs; InvalidInputError where the user has to change something.

    `namespace_for` gives the namespace of an object that names none, and None outside of namespaces.
    """
    metadata = _bare(news.get("metadata"))
    inputs = {"apiVersion": token.api_version, "kind": token.kind, **_without_none(news)}
    if inputs.get("kind") == "Secret":
        inputs |= {name: _hidden(inputs[name]) for name in ("data", "stringData") if name in inputs}
    if metadata is UNKNOWN:
        return inputs
    metadata = dict(metadata) if is_map(metadata) else {}
    if metadata.get("namespace") is None and (namespace := namespace_for(token)):
        metadata["namespace"] = namespace
    if metadata.get("name") is None:
        metadata = {**metadata, **_autonamed(metadata, olds, token, naming)}
    return {**inputs, "metadata": metadata}


def _autonamed(metadata: Tree, olds: Tree, token: Token, naming: Naming) -> Tree:
    if token.patch:
        raise InvalidInputError("metadata.name", "a Patch resource has to name the object that it patches")
    if metadata.get("generateName"):
        raise InvalidInputError("metadata.generateName", "leave it out: without a name Pulumi makes one")
    if naming.required:
        raise InvalidInputError("metadata.name", "it has to be given: this stack's autonaming is disabled")
    old = name_of(olds) if is_autonamed(olds) else ""
    annotations = section(metadata, "annotations")
    return {
        "name": old or naming.proposed or autoname(naming.resource, naming.seed),
        "annotations": {**annotations, AUTONAMED: "true"},
    }


def _bare(value: Json) -> Json:
    return value.value if isinstance(value, Secret) else value


def _hidden(value: Json) -> Json:
    return value if isinstance(value, Secret) or value is UNKNOWN else Secret(value)


def _without_none(tree: Tree) -> Tree:
    return {key: value for key, value in tree.items() if value is not None}


def is_cluster_scoped(token: Token) -> bool | None:
    """None where only the cluster knows."""
    if token.built_in:
        return token.kind in CLUSTER_SCOPED
    return None


def not_an_object(resource_type: str) -> bool:
    """Whether it is one of the SDK's resources that stand for many objects: charts, releases, YAML files."""
    module = resource_type.split(":")[1]
    return module == "index" or module.startswith(NOT_OBJECTS)
