"""JSON Schema (2020-12) of requests, for clients and code generators."""

from collections.abc import Mapping, Sequence
from typing import Any

from model_server.predict.signature import Column, Signature
from model_server.predict.types import TYPES, Kind

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def request_schema(
    signature: Signature | None, title: str, outputs: Sequence[tuple[str, Kind, bool]] = ()
) -> Mapping[str, Any]:
    """Return a schema of the JSON bodies of POST /invocations. Without a signature it names only the forms.

    The definition `prediction` describes the prediction for one row; `outputs` are those of `read_outputs`.
    """
    forms = _forms(signature) if signature else {form: dict[str, Any]() for form in FORMS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "properties": {**forms, "params": {"type": "object"}},
        "oneOf": [{"required": [form]} for form in forms],
        "$defs": {"prediction": _prediction(outputs)},
    }


def _prediction(outputs: Sequence[tuple[str, Kind, bool]]) -> Mapping[str, Any]:
    """Return the schema of a prediction; it allows anything if the outputs are unknown or ambiguous."""
    values = {name: _list(TYPES[kind].json_schema) if many else TYPES[kind].json_schema for name, kind, many in outputs}
    if len(outputs) == 1:
        return values.get("", {})
    return {"type": "object", "properties": values, "required": list(values)} if all(values) and values else {}


def _forms(signature: Signature) -> dict[str, Any]:
    values = {column.name: _value(column) for column in signature.columns}
    if not signature.named:
        rows = _list(_tuple(list(values.values())))
        return {"instances": rows, "inputs": rows}
    required = [column.name for column in signature.columns if column.required]
    record = {"type": "object", "properties": values, "required": required}
    records = _list(record)
    lists = {name: _list(value) for name, value in values.items()}
    split = {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}, "default": signature.names},
            "data": {"type": "array", "items": {"type": "array"}},
            "index": {"type": "array"},
        },
        "required": ["columns", "data"],
        "additionalProperties": False,
    }
    return {
        "dataframe_split": split,
        "dataframe_records": records,
        "instances": records,
        "inputs": {"oneOf": [records, {"type": "object", "properties": lists, "required": required}]},
    }


def _value(column: Column) -> Mapping[str, Any]:
    truth = {"x-truth-values": column.truth_values} if column.truth_values else {}
    return {**TYPES[column.kind].json_schema, **truth}


def _list(items: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "array", "items": items}


def _tuple(items: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    return {"type": "array", "prefixItems": items, "minItems": len(items), "items": False}
