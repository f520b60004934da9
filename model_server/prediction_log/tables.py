"""Converts a segment of the prediction log to a Parquet table with one row for each predicted row.

Columns: request_id, row, at, latency_ms; `input_<name>` for each column of the model's signature; `prediction`, or
`prediction_<name>` if there are several; `request` and `answer`, which hold JSON or text that does not fit the typed
columns; `role`, `experiment` and `unit`. The signature sets the type of each column, so it is the same in every file.
Files of former releases lack the last three columns: add new columns at the end, and never change or remove one.
"""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from itertools import chain
from typing import Any, Protocol, cast

from model_server.predict.types import TYPES, Kind
from model_server.prediction_log.segments import Content, Field, Record

# pyarrow has no type annotations.
pa, parquet = (cast("Any", import_module(name)) for name in ("pyarrow", "pyarrow.parquet"))
KINDS: Mapping[type, Kind] = {bool: "boolean", int: "long", float: "double", str: "string"}
WRONG = (pa.ArrowException, TypeError, ValueError, OverflowError)


class _Array(Protocol):
    def to_pylist(self) -> list[Any]: ...


@dataclass
class _Rows:
    """The table, column by column. `request` and `response` hold what does not fit a typed column."""

    ids: list[str] = field(default_factory=list[str])
    positions: list[int] = field(default_factory=list[int])
    times: list[int] = field(default_factory=list[int])
    latencies: list[float] = field(default_factory=list[float])
    experiments: list[str | None] = field(default_factory=list[str | None])
    units: list[str | None] = field(default_factory=list[str | None])
    inputs: list[Sequence[Any] | None] = field(default_factory=list[Sequence[Any] | None])
    outputs: list[Any] = field(default_factory=list[Any])
    request: list[str | None] = field(default_factory=list[str | None])
    response: list[str | None] = field(default_factory=list[str | None])


def as_parquet(content: Content, metadata: Mapping[str, str]) -> bytes:
    """Return the Parquet file; equal segments give equal bytes. `metadata` is stored beside the schema."""
    rows = _Rows()
    for record in content.records:
        _add(rows, record)
    columns: dict[str, Any] = {
        "request_id": pa.array(rows.ids, pa.string()),
        "row": pa.array(rows.positions, pa.int32()),
        "at": pa.array(rows.times, pa.timestamp("us", tz="UTC")),
        "latency_ms": pa.array(rows.latencies, pa.float64()),
    }
    for position, one in enumerate(content.header.inputs):
        values = [None if row is None else row[position] for row in rows.inputs]
        columns[f"input_{one.name}"] = _column(values, one, rows.inputs, rows.request)
    outputs = content.header.outputs or [_guess(rows.outputs)]
    for position, one in enumerate(outputs):
        values = [_output(prediction, one.name, position, len(outputs)) for prediction in rows.outputs]
        title = f"prediction_{one.name or position}" if len(outputs) > 1 else "prediction"
        columns[title] = _column(values, one, rows.outputs, rows.response)
    columns["request"] = pa.array(rows.request, pa.string())
    columns["answer"] = pa.array(rows.response, pa.string())
    columns["role"] = pa.array([content.header.role] * len(rows.ids), pa.string())
    columns["experiment"] = pa.array(rows.experiments, pa.string())
    columns["unit"] = pa.array(rows.units, pa.string())
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(columns).replace_schema_metadata(dict(metadata)), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _add(rows: _Rows, record: Record) -> None:
    body = json.loads(record.response)
    predictions = cast("dict[str, Any]", body).get("predictions", body) if isinstance(body, dict) else body
    by_row = cast("list[Any]", predictions) if isinstance(predictions, list) else None
    inputs = record.rows or [None] * (len(by_row) if by_row else 1)
    fits = by_row is not None and len(by_row) == len(inputs)
    padding = [None] * (len(inputs) - 1)
    rows.ids += [record.request_id] * len(inputs)
    rows.positions += range(len(inputs))
    rows.times += [record.at] * len(inputs)
    rows.latencies += [record.latency_ms] * len(inputs)
    rows.experiments += [record.experiment] * len(inputs)
    rows.units += [record.unit] * len(inputs)
    rows.inputs += inputs
    rows.outputs += by_row if by_row and fits else [None, *padding]
    rows.request += [record.body, *padding]
    rows.response += [None if fits else record.response, *padding]


def _guess(values: Sequence[object]) -> Field:
    """Guess the type of a prediction that the model does not declare: the common type of all values, else text."""
    some = [value for value in values if value is not None]
    lists = [cast("list[object]", value) for value in some if isinstance(value, list)]
    many = bool(lists) and len(lists) == len(some)
    found = {type(one) for one in (chain.from_iterable(lists) if many else some) if one is not None}
    if found == {int, float}:
        return Field(name="", kind="double", many=many)
    return Field(name="", kind=KINDS.get(found.pop(), "other") if len(found) == 1 else "other", many=many)


def _output(prediction: object, name: str, position: int, of: int) -> object:
    """Return one of the named outputs for a row, or the whole prediction if there is only one output."""
    if isinstance(prediction, dict):
        values = cast("dict[str, object]", prediction)
        return values.get(name, None if of > 1 else values)
    if of == 1:
        return prediction
    values = cast("list[object]", prediction) if isinstance(prediction, list) else []
    return values[position] if len(values) == of else None


def _column(values: list[Any], of: Field, whole: Sequence[Any], elsewhere: list[str | None]) -> _Array:
    """Return the values with their column's type.

    A value of another type becomes null, and its row goes to `elsewhere`.
    """
    one = pa.type_for_alias(TYPES[of.kind].arrow)
    kind = pa.list_(one) if of.many else one
    try:
        return pa.array([_plain(value, of.kind) for value in values], kind)
    except WRONG:
        fitting: list[Any] = []
        for position, value in enumerate(values):
            try:
                fitting.append(pa.scalar(_plain(value, of.kind), kind))
            except WRONG:
                fitting.append(pa.scalar(None, kind))
                elsewhere[position] = elsewhere[position] or json.dumps(whole[position])
        return pa.array([one.as_py() for one in fitting], kind)


def _plain(value: object, kind: Kind) -> object:
    """Convert a JSON value to the Python value that Arrow expects."""
    if value is None:
        return None
    if kind == "datetime":
        return datetime.fromisoformat(str(value))
    if kind == "binary":
        return b64decode(str(value), validate=True)
    if kind == "other":
        return value if isinstance(value, str) else json.dumps(value)
    return value
