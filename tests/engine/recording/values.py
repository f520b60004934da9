"""Conversion of property values between the engine's messages and Python.

A tree is JSON with two additions: `Secret` around a value, and `UNKNOWN` for a value that a preview does not know.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeGuard

from google.protobuf.struct_pb2 import ListValue, NullValue, Struct, Value

SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
RESOURCE: Final = "5cf8f73096256a8f31e491e813e4eb8e"
UNKNOWNS: Final = frozenset({
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
    "04da6b54-80e4-46f7-96ec-b56ff0331ba9",  # string
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # list
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
})  # fmt: skip
UNKNOWN_STRING: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

Path = tuple[str | int, ...]
Json = Any  # any JSON value
Tree = dict[str, Any]


class Unknown(Enum):
    """Value that is known only after an update."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN


@dataclass(frozen=True)
class Secret:
    """Value that is shown in no state and on no terminal."""

    value: Any


def is_map(value: Json) -> TypeGuard[dict[str, Any]]:
    """Return whether the value is a JSON object."""
    return isinstance(value, dict)


def is_list(value: Json) -> TypeGuard[list[Any]]:
    """Return whether the value is a JSON array."""
    return isinstance(value, list)


def decode(struct: Struct) -> Tree:
    """Return the tree of a message; whole numbers are int."""
    return {key: _decode(value) for key, value in struct.fields.items()}


def _decode(value: Value) -> Json:
    match value.WhichOneof("kind"):
        case "string_value":
            return UNKNOWN if value.string_value in UNKNOWNS else value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if math.isfinite(number) and number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [_decode(item) for item in value.list_value.values]
        case "struct_value":
            return _signed(decode(value.struct_value))
        case _:
            return None


def _signed(tree: Tree) -> Json:
    match tree.get(SIGNATURE):
        case None:
            return tree
        case str(kind) if kind == SECRET:
            return Secret(tree.get("value"))
        case str(kind) if kind == OUTPUT:
            value = tree.get("value", UNKNOWN)
            return Secret(value) if tree.get("secret") else value
        case str(kind) if kind == RESOURCE:
            return tree.get("id") or tree.get("urn")
        case _:
            raise ValueError("assets and archives are not supported by this recorder")


def encode(tree: Mapping[str, Any]) -> Struct:
    """Return the message for a tree."""
    return Struct(fields={key: _encode(value) for key, value in tree.items()})


def _encode(value: Json) -> Value:
    match value:
        case Secret():
            message = Value(struct_value=encode({SIGNATURE: SECRET, "value": value.value}))
        case Unknown():
            message = Value(string_value=UNKNOWN_STRING)
        case None:
            message = Value(null_value=NullValue.NULL_VALUE)
        case bool():
            message = Value(bool_value=value)
        case int() | float():
            message = Value(number_value=value)
        case {}:
            message = Value(struct_value=encode(value))
        case [*items]:
            message = Value(list_value=ListValue(values=[_encode(item) for item in items]))
        case _:
            message = Value(string_value=str(value))
    return message


def plain(value: Json) -> Json:
    """Return the value without secret markers."""
    if isinstance(value, Secret):
        return plain(value.value)
    if is_map(value):
        return {key: plain(item) for key, item in value.items()}
    if is_list(value):
        return [plain(item) for item in value]
    return value


def section(tree: Json, *keys: str) -> Tree:
    """Return the object below `keys`; empty if there is none."""
    for key in keys:
        tree = tree.get(key) if is_map(tree) else None
    return tree if is_map(tree) else {}
