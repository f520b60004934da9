"""Checks parameters with JSON Schemas as pydantic writes them. It imports only the standard library."""

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
TYPES = {"integer": "a whole number", "number": "a number", "string": "a text", "boolean": "true or false"}
_shown = partial(json.dumps, ensure_ascii=False)


def accepts(schema: Schema, value: object, definitions: Schema) -> bool:
    """Return whether the schema accepts the value; only the keywords that pydantic writes are checked."""
    if reference := schema.get("$ref"):
        return accepts(definitions.get(str(reference).rpartition("/")[2], {}), value, definitions)
    alternatives: list[Schema] = schema.get("anyOf", schema.get("oneOf", []))
    return (
        (not alternatives or any(accepts(one, value, definitions) for one in alternatives))
        and all(accepts(one, value, definitions) for one in schema.get("allOf", []))
        and value in schema.get("enum", [value])
        and value == schema.get("const", value)
        and _is_of_type(schema.get("type"), value)
        and _is_within(schema, value)
    )


def _is_within(schema: Schema, value: object) -> bool:
    """Return whether a text has an allowed length and form, or a number is in its range."""
    if isinstance(value, str):
        is_long_enough = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        return is_long_enough and bool(re.search(schema.get("pattern", ""), value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and not ("exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"])
        and not ("exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"])
    )


def _is_of_type(kind: object, value: object) -> bool:
    match kind:
        case "integer":
            return not isinstance(value, bool) and (
                isinstance(value, int) or (isinstance(value, float) and value % 1 == 0)
            )
        case "number":
            return not isinstance(value, bool) and isinstance(value, int | float)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null" | "array" | "object":
            return False
        case _:
            return True


def takes(schema: Schema, kind: str) -> bool:
    """Return whether the schema names the type, alone or as an alternative."""
    return schema.get("type") == kind or any(takes(one, kind) for one in schema.get("anyOf", []))


def words(schema: Schema) -> str:
    """Return a description of the allowed values, such as `a whole number of at least 1 and at most 100`."""
    if "enum" in schema or "const" in schema:
        return f"one of {', '.join(map(_shown, schema.get('enum', [schema.get('const')])))}"
    if alternatives := [one for one in schema.get("anyOf", []) if one.get("type") != "null"]:
        return " or ".join(map(words, alternatives))
    limits = (
        ("minimum", "of at least"),
        ("exclusiveMinimum", "greater than"),
        ("maximum", "of at most"),
        ("exclusiveMaximum", "less than"),
        ("pattern", "that matches"),
    )
    ranges = " and ".join(f"{limit} {schema[key]}" for key, limit in limits if key in schema)
    return f"{TYPES.get(str(schema.get('type')), 'a value of the declared type')} {ranges}".strip()
