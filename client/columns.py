"""Columns that a model takes, from the endpoint's /schema, and JSON values of the cells of a file."""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import JsonValue as Json

from client.errors import InputError

Kept = TypeVar("Kept")
Read: TypeAlias = Callable[[object], Json]
Kind = Literal["number", "integer", "boolean", "text", "time", "bytes", "anything"]
MISSING = frozenset({"", " ", "NA", "N/A", "NaN", "nan", "NULL", "null"})
"""Cells that count as missing values, in a CSV file as in training."""
WORDS = {"true": True, "false": False}
TRUTH = {**WORDS, "1": True, "0": False}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
FLOATS = {"halffloat": np.float16, "float": np.float32}
"""NumPy types of Arrow's types with fewer bits than Python's float."""
INT64 = 2**63 - 1
MUST: Mapping[Kind, str] = {
    "number": "must be a number; write it as in 29.85",
    "integer": "must be a whole number; write it as in 12",
    "boolean": "must be true or false; write one of them, or 1 or 0",
    "text": "must be a text, a number or a date; write true or false as the training data writes it",
    "time": "must be a time; write it as in 2026-03-01T12:00:00",
    "bytes": "must be bytes in base64; encode them",
    "anything": "must be JSON, because the column has no simple type; write it as in [1, 2]",
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """Column that a model takes."""

    name: str
    kind: Kind
    nullable: bool
    """True if a row may leave the column empty."""
    required: bool
    """True if the model refuses a table without the column."""
    most: int = INT64
    """Largest value of a whole number; the smallest is -most - 1."""
    truth_values: Sequence[str] = ()
    """Texts that false and true of a typed file became in training; empty if they are not known."""

    @property
    def must(self) -> str:
        """Rule for a value, and what to write."""
        if self.kind == "integer" and self.most < INT64:
            return f"must be a whole number from {-self.most - 1} to {self.most}; write it as in 12"
        return MUST[self.kind] + (", or leave the cell empty" if self.nullable else "")


@dataclass(frozen=True, kw_only=True)
class ModelSchema:
    """Columns that a model takes, and the form of its predictions."""

    title: str
    """Model and version."""
    columns: Sequence[Column]
    named: bool
    """True if the model finds columns by name, False if it takes them in their order."""
    predicts: Sequence[Column] | None = None
    """Fields of a prediction, or one column without a name; None if the signature does not say it."""
    predicts_lists: bool = False
    """True if each prediction is a list of values."""


def read(schema: Mapping[str, Any]) -> ModelSchema:
    """Return the columns in a response of /schema.

    Raises:
        InputError: there are none, because the model was logged without a signature, or the response has another form.
    """
    try:
        return _read(schema)
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError("the response of /schema has another form than an endpoint's; write its address") from error


def _read(schema: Mapping[str, Any]) -> ModelSchema:
    title, forms = str(schema.get("title", "the model")), schema.get("properties", {})
    predicts, lists = _prediction(schema.get("$defs", {}).get("prediction", {}))
    items: Mapping[str, Any] = forms.get("instances", {}).get("items", {})
    if "prefixItems" in items:
        columns = [_column(str(place), each, required=True) for place, each in enumerate(items["prefixItems"])]
        return ModelSchema(title=title, columns=columns, named=False, predicts=predicts, predicts_lists=lists)
    properties: Mapping[str, Any] = items.get("properties", {})
    if not properties:
        raise InputError(
            f"{title} does not say which columns it takes, so no file can be checked; "
            "log the model with a signature (mlflow.models.infer_signature), or send requests with curl"
        )
    required = set(items.get("required", ()))
    columns = [_column(name, each, required=name in required) for name, each in properties.items()]
    return ModelSchema(title=title, columns=columns, named=True, predicts=predicts, predicts_lists=lists)


def _prediction(schema: Mapping[str, Any]) -> tuple[Sequence[Column] | None, bool]:
    if schema.get("type") == "object":
        return [_column(name, each, required=True) for name, each in schema["properties"].items()], False
    lists = schema.get("type") == "array"
    value: Mapping[str, Any] = schema["items"] if lists else schema
    return ([_column("", value, required=True)] if value else None), lists


def _column(name: str, schema: Mapping[str, Any], *, required: bool) -> Column:
    of_type = schema.get("type", [])
    kinds: list[str] = [of_type] if isinstance(of_type, str) else of_type
    return Column(
        name=name,
        kind=_kind(kinds, schema),
        nullable=not kinds or "null" in kinds,
        required=required,
        most=schema.get("maximum", INT64),
        truth_values=schema.get("x-truth-values", ()),
    )


def _kind(kinds: Sequence[str], schema: Mapping[str, Any]) -> Kind:
    if "string" in kinds:
        return "time" if schema.get("format") == "date-time" else "bytes" if "contentEncoding" in schema else "text"
    for kind in ("number", "integer", "boolean"):
        if kind in kinds:
            return kind
    return "anything"


def reader(column: Column, *, text: bool, stored: pa.DataType | None = None) -> Read:
    """Return a function that converts a cell into a JSON value: a text of a CSV file, or an object of a typed file.

    It accepts the values that training accepts (training/data/columns.py). `stored` is the column's type in a typed
    file. The function raises ValueError, TypeError or OverflowError for a value that breaks `column.must`.
    """
    of_kind = (_OF_TEXT if text else _OF_OBJECT)[column.kind]
    missing, nullable = MISSING if text else (None,), column.nullable
    if column.kind in {"number", "integer"}:
        of_kind, missing = _of_number(of_kind), (None,)
    if column.kind == "text" and str(stored) in FLOATS:
        of_kind = _short_floats(FLOATS[str(stored)])
    if column.kind == "text" and not text and column.truth_values:
        of_kind = _spelled(of_kind, column.truth_values)

    def value(cell: object) -> Json:
        found = None if cell in missing else of_kind(cell)
        if found is None and not nullable:
            raise ValueError(cell)
        return found

    def bounded(cell: object) -> Json:
        number = value(cell)
        if isinstance(number, int) and not -column.most - 1 <= number <= column.most:
            raise ValueError(cell)
        return number

    return bounded if column.kind == "integer" else value


def _of_number(of_kind: Read) -> Read:
    """Return a reader of numbers for cells that may be padded texts, truth values or missing in any spelling."""

    def value(cell: object) -> Json:
        if isinstance(cell, str):
            cell = cell.strip()
            if cell in MISSING:
                return None
            cell = WORDS.get(cell.lower(), cell)
        if isinstance(cell, float) and math.isnan(cell):
            return None
        return of_kind(cell)

    return value


def _number(cell: object) -> float:
    if not isinstance(cell, str | int | float | Decimal):
        raise TypeError(cell)
    number = float(cell)
    # float() accepts 1_000, which training refuses.
    if not math.isfinite(number) or (isinstance(cell, str) and not NUMBER.fullmatch(cell)):
        raise ValueError(cell)
    return number


def _integer(cell: object) -> int:
    if isinstance(cell, str | Decimal) and abs(_number(cell)) <= 2 * INT64:
        cell = Decimal(cell)  # exact; a float loses digits above 2^53
    # A table with missing values writes 12 as 12.0.
    if not isinstance(cell, int | float | Decimal) or cell != int(cell):
        raise ValueError(cell)
    return int(cell)


def _truth(cell: object) -> bool:
    if (truth := TRUTH.get(str(cell).strip().lower())) is None:
        raise ValueError(cell)
    return truth


def _text(cell: object) -> str:
    return _only(str, cell)


def _word(cell: object) -> str | None:
    """Return a value of a typed file as a CSV file of the same table has it.

    A truth value is refused, because CSV files have two spellings of it; `_spelled` knows that of the model.
    """
    if isinstance(cell, bool) or not isinstance(cell, str | int | float | Decimal | date | bytes):
        raise TypeError(cell)
    if isinstance(cell, bytes):
        return cell.decode()
    return None if isinstance(cell, float) and math.isnan(cell) else str(cell)


def _spelled(of_kind: Read, truth_values: Sequence[str]) -> Read:
    """Return a reader that gives a truth value the spelling that it has in training."""
    return lambda cell: truth_values[cell] if isinstance(cell, bool) else of_kind(cell)


def _short_floats(kind: type[np.floating[Any]]) -> Read:
    """Return a reader of short floats as texts: 0.1 instead of 0.10000000149011612."""

    def value(cell: object) -> str | None:
        return None if math.isnan(number := _only(float, cell)) else str(kind(number))

    return value


def _time_text(cell: object) -> str:
    datetime.fromisoformat(text := _text(cell))
    return text


def _base64_text(cell: object) -> str:
    base64.b64decode(text := _text(cell), validate=True)
    return text


def _json_text(cell: object) -> Json:
    return json.loads(_text(cell))


def _only(kind: type[Kept], cell: object) -> Kept:
    if not isinstance(cell, kind):
        raise TypeError(cell)
    return cell


def plain(value: object) -> Json:
    """Return a value that JSON has no type for: a time in ISO 8601, bytes in base64, anything else as text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, date | time) else str(value)


def as_json(value: object) -> Json:
    """Return an object of a typed file as a JSON value."""
    return json.loads(json.dumps(value, default=plain))


_OF_TEXT: Mapping[Kind, Read] = {
    "number": _number,
    "integer": _integer,
    "boolean": _truth,
    "text": _text,
    "time": _time_text,
    "bytes": _base64_text,
    "anything": _json_text,
}
_OF_OBJECT: Mapping[Kind, Read] = {
    **_OF_TEXT,
    "text": _word,
    "time": lambda cell: _time_text(cell) if isinstance(cell, str) else _only(date, cell).isoformat(),
    "bytes": lambda cell: _base64_text(cell) if isinstance(cell, str) else plain(_only(bytes, cell)),
    "anything": as_json,
}
