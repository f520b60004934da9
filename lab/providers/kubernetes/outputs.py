"""What a program gets back: the live object, and in a preview only what will still be so after the update."""

from typing import Final

from lab.providers.kubernetes.objects import is_autonamed
from lab.providers.values import (
    UNKNOWN,
    Json,
    Path,
    Secret,
    Tree,
    is_list,
    is_map,
    look_up,
    plain,
    secret_paths,
    section,
    with_secrets,
)  # fmt: skip

FIELD_MANAGER: Final = "__fieldManager"
INITIAL_API_VERSION: Final = "__initialApiVersion"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
# What the server fills in when it makes an object, and in a dry run only makes up.
FILLED_IN: Final[tuple[tuple[str, ...], ...]] = (
    ("metadata", "uid"), ("metadata", "resourceVersion"), ("metadata", "creationTimestamp"), ("metadata", "generation"),
)  # fmt: skip
FILLED_IN_BY_KIND: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "Job": (("spec", "selector"), ("spec", "template", "metadata", "labels")),
    "PersistentVolumeClaim": (("spec", "volumeName"),),
    "Pod": (("spec", "nodeName"),),
    "Service": (("spec", "clusterIP"), ("spec", "clusterIPs"), ("spec", "healthCheckNodePort")),
}


def outputs(live: Tree, inputs: Tree, *, manager: str) -> Tree:
    """The state of a resource: the live object less its field book-keeping, with every secret of `inputs` marked."""
    metadata = {key: value for key, value in section(live, "metadata").items() if key != "managedFields"}
    tree = {
        **live,
        "metadata": metadata,
        FIELD_MANAGER: manager,
        INITIAL_API_VERSION: live.get("apiVersion"),
    }
    return with_secrets(hidden(tree), secret_paths(inputs))


def hidden(tree: Tree) -> Tree:
    """`tree`, and if it is a Secret with its contents marked, in the copy that kubectl keeps too."""
    if tree.get("kind") != "Secret":
        return tree
    annotations = section(tree, "metadata", "annotations")
    if LAST_APPLIED in annotations:
        annotations = {**annotations, LAST_APPLIED: Secret(plain(annotations[LAST_APPLIED]))}
        tree = {**tree, "metadata": {**section(tree, "metadata"), "annotations": annotations}}
    return {
        **tree,
        **{name: Secret(plain(tree[name])) for name in ("data", "stringData") if tree.get(name) is not None},
    }


def preview_of_create(answer: Tree, inputs: Tree) -> Tree:
    """`answer` (a dry run's, or the inputs) less what it cannot know: status, and all that the server makes up."""
    tree = {key: value for key, value in answer.items() if key != "status"}
    for path in (*FILLED_IN, *FILLED_IN_BY_KIND.get(str(tree.get("kind")), ())):
        if look_up(inputs, path) is None:
            _put(tree, path, UNKNOWN)
    if is_autonamed(inputs):
        _put(tree, ("metadata", "name"), UNKNOWN)  # the update draws another one
    if tree.get("kind") == "Service":
        _forget_node_ports(tree, inputs)
    return tree


def preview_of_update(answer: Tree) -> Tree:
    """`answer` less what an update changes by itself."""
    tree = {key: value for key, value in answer.items() if key != "status"}
    _put(tree, ("metadata", "resourceVersion"), UNKNOWN)
    _put(tree, ("metadata", "generation"), UNKNOWN)
    return tree


def guess(body: Tree, state: Tree) -> Tree:
    """What an update leads to where the server cannot be asked: the new body, with the identity that the object has."""
    return {**body, "metadata": {**section(state, "metadata"), **section(body, "metadata")}}


def _put(tree: Tree, path: Path, value: Json) -> None:
    """Sets `path` in `tree`, whose objects along the way become copies."""
    *above, last = path
    for part in above:
        below = tree.get(str(part))
        if below is not None and not is_map(below):
            return  # all of it is unknown already
        tree[str(part)] = dict(below or {})
        tree = tree[str(part)]
    tree[str(last)] = value


def _forget_node_ports(tree: Tree, inputs: Tree) -> None:
    if section(tree, "spec").get("type") not in {"NodePort", "LoadBalancer"}:
        return
    ports, wanted = look_up(tree, ("spec", "ports")), look_up(inputs, ("spec", "ports"))
    if is_list(ports) and is_list(wanted):
        asked = [port.get("nodePort", UNKNOWN) if is_map(port) else UNKNOWN for port in wanted]
        kept = [{**port, "nodePort": number} for port, number in zip(ports, asked, strict=False) if is_map(port)]
        _put(tree, ("spec", "ports"), kept)
