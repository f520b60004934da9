"""A live object, seen as the inputs that would have made it: how drift is found, and what an import takes over."""

import base64
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from lab.providers.values import Json, Tree, is_list, is_map, section

LIST_KEYS: Final = (("name",), ("containerPort", "protocol"), ("port", "protocol"), ("mountPath",), ("key",), ("ip",),
                    ("topologyKey", "whenUnsatisfiable"), ("type",))  # fmt: skip
SERVER_METADATA: Final = ("creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generateName",
                          "generation", "managedFields", "resourceVersion", "selfLink", "uid")  # fmt: skip
SERVER_ANNOTATIONS: Final = ("deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration")
SUFFIXES: Final = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
}  # fmt: skip
QUANTITY: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(n|u|m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")


def drifted(inputs: Tree, live: Tree) -> Tree:
    """`inputs` with the live value wherever it is another one, and without what is gone."""
    seen = dict(live)
    if inputs.get("kind") == "Secret" and is_map(inputs.get("stringData")):
        seen["stringData"] = {key: _decoded(text) for key, text in section(live, "data").items()}
    return _drifted_map(inputs, seen)


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode(errors="replace")


def _drifted_map(inputs: Tree, live: Tree) -> Tree:
    found: Tree = {}
    for key, value in inputs.items():
        if key in live:
            found[key] = _drifted(value, live[key])
        elif _is_nothing(value):
            found[key] = value  # the server leaves out what is empty
    return found


def _drifted(value: Json, live: Json) -> Json:
    if is_map(value) and is_map(live):
        return _drifted_map(value, live)
    if is_list(value) and is_list(live):
        return _drifted_list(value, live)
    return value if value == live or same_quantity(value, live) else live


def _drifted_list(items: list[Json], live: list[Json]) -> list[Json]:
    for keys in LIST_KEYS:
        wanted, there = _by_keys(items, keys), _by_keys(live, keys)
        if wanted is not None and there is not None:
            return [_drifted(item, there[key]) for key, item in wanted.items() if key in there]
    if len(items) == len(live):
        return [_drifted(*pair) for pair in zip(items, live, strict=True)]
    return live


def _by_keys(items: list[Json], keys: tuple[str, ...]) -> dict[tuple[Json, ...], Json] | None:
    """The items by what tells them apart; None where that does not tell them apart."""
    found: dict[tuple[Json, ...], Json] = {}
    for item in items:
        if not is_map(item) or keys[0] not in item:
            return None
        key = tuple(item.get(name) or ("TCP" if name == "protocol" else None) for name in keys)
        if key in found:
            return None
        found[key] = item
    return found


def _is_nothing(value: Json) -> bool:
    if is_map(value):
        return all(_is_nothing(item) for item in value.values())
    return value in (None, False, 0, "", [])


def same_quantity(one: Json, other: Json) -> bool:
    """Whether both are the same amount: `0.5` and `500m`, `1024Mi` and `1Gi`."""
    amounts = [_amount(str(value)) for value in (one, other) if isinstance(value, str | int | float)]
    return len(amounts) == 2 and amounts[0] is not None and amounts[0] == amounts[1]


def _amount(text: str) -> Decimal | None:
    match = QUANTITY.fullmatch(text)
    return Decimal(match[1]) * SUFFIXES[match[2] or ""] if match else None


def imported(live: Tree) -> Tree:
    """The inputs for an object that Pulumi did not make: all of it but what the server alone writes."""
    metadata = {key: value for key, value in section(live, "metadata").items() if key not in SERVER_METADATA}
    annotations = section(metadata, "annotations")
    if annotations:
        kept = {name: text for name, text in annotations.items() if name not in SERVER_ANNOTATIONS}
        metadata = {**{key: value for key, value in metadata.items() if key != "annotations"}, **_unless_empty(kept)}
    return {**dict(_without_server_fields(live)), "metadata": metadata}


def _unless_empty(annotations: Tree) -> Tree:
    return {"annotations": annotations} if annotations else {}


def _without_server_fields(live: Tree) -> Iterator[tuple[str, Json]]:
    return ((key, value) for key, value in live.items() if key not in {"status", "metadata"})
