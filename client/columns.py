"""What a model takes, as the endpoint's /schema says, and values of a file in the types of JSON."""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal, TypeAlias, TypeVar

from pydantic import JsonValue as Json

from client.errors import InputError

Kept = TypeVar("Kept")
Read: TypeAlias = Callable[[object], Json]
Kind = Literal["number", "integer", "boolean", "text", "time", "bytes", "anything"]
MISSING = frozenset({"", " ", "NA", "N/A", "NaN", "nan", "NULL", "null"})
"""Cells without a value; the same as when the model was trained."""
TRUTH = {"true": True, "false": False, "1": True, "0": False}
WHOLE = re.compile(r"\s*[+-]?\d{1,19}\s*", re.ASCII)
INT64 = 2**63 - 1
MUST: Mapping[Kind, str] = {
    "number": "must be a number; write it as in 29.85",
    "integer": "must be a whole number; write it as in 12",
    "boolean": "must be true or false; write one of them, or 1 or 0",
    "text": "must be a text; write it as one",
    "time": "must be a time; write it as in 2026-03-01T12:00:00",
    "bytes": "must be bytes in base64; encode them",
    "anything": "must be JSON, as this column is no single value; write it as in [1, 2]",
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """`nullable`: a row may be without a value. `required`: a table may not be without the column."""

    name: str
    kind: Kind
    nullable: bool
    required: bool
    most: int = INT64

    @property
    def must(self) -> str:
        """The rule and the way out."""
        if self.kind == "integer" and self.most < INT64:
            return f"must be a whole number from {-self.most - 1} to {self.most}; write it as in 12"
        return MUST[self.kind] + (", or leave the cell empty" if self.nullable else "")


@dataclass(frozen=True, kw_only=True)
class Takes:
    """`title` is the model with its version; a table that is not `named` is known by the order of its columns.

    `gives` is what it says of its predictions: the fields of a record, or one without a name; None where it says
    nothing. With `gives_lists` a prediction is a list of it.
    """

    title: str
    columns: Sequence[Column]
    named: bool
    gives: Sequence[Column] | None = None
    gives_lists: bool = False


def read(schema: Mapping[str, Any]) -> Takes:
    """What /schema says of the rows.

    Raises:
        InputError: it says nothing, as of a model that was logged without a signature.
    """
    title, forms = str(schema.get("title", "the model")), schema.get("properties", {})
    gives, lists = _prediction(schema.get("$defs", {}).get("prediction", {}))
    items: Mapping[str, Any] = forms.get("instances", {}).get("items", {})
    if "prefixItems" in items:
        columns = [_column(str(place), each, required=True) for place, each in enumerate(items["prefixItems"])]
        return Takes(title=title, columns=columns, named=False, gives=gives, gives_lists=lists)
    properties: Mapping[str, Any] = items.get("properties", {})
    if not properties:
        raise InputError(
            f"{title} does not say which columns it takes, so no file can be checked; "
            "log the model with a signature (mlflow.models.infer_signature), or ask it with curl"
        )
    required = set(items.get("required", ()))
    columns = [_column(name, each, required=name in required) for name, each in properties.items()]
    return Takes(title=title, columns=columns, named=True, gives=gives, gives_lists=lists)


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
    )


def _kind(kinds: Sequence[str], schema: Mapping[str, Any]) -> Kind:
    if "string" in kinds:
        return "time" if schema.get("format") == "date-time" else "bytes" if "contentEncoding" in schema else "text"
    for kind in ("number", "integer", "boolean"):
        if kind in kinds:
            return kind
    return "anything"


def reader(column: Column, *, text: bool) -> Read:
    """Makes the JSON value of a cell: of the text in a CSV file, or of the object in a typed one.

    It raises ValueError, TypeError or OverflowError for a value that breaks `column.must`.
    """
    of_kind = (_OF_TEXT if text else _OF_OBJECT)[column.kind]
    missing, nullable = MISSING if text else (None,), column.nullable

    def value(cell: object) -> Json:
        if cell in missing:
            if not nullable:
                raise ValueError(cell)
            return None
        return of_kind(cell)

    def bounded(cell: object) -> Json:
        number = value(cell)
        if isinstance(number, int) and not -column.most - 1 <= number <= column.most:
            raise ValueError(cell)
        return number

    return bounded if column.kind == "integer" else value


def _number(cell: object) -> float | None:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float | Decimal):
        raise TypeError(cell)
    number = float(cell)
    # Python reads 1_000 as a number, and nothing else does.
    if math.isinf(number) or (isinstance(cell, str) and "_" in cell):
        raise ValueError(cell)
    return None if math.isnan(number) else number


def _integer(cell: object) -> int:
    if isinstance(cell, int) and not isinstance(cell, bool):
        return cell
    if isinstance(cell, str) and WHOLE.fullmatch(cell):
        return int(cell)
    # 12.0 is how a table with gaps writes 12.
    number = _number(cell)
    if number is None or number != int(number):
        raise ValueError(cell)
    return int(number)


def _truth(cell: object) -> bool:
    if (truth := TRUTH.get(str(cell).strip().lower())) is None:
        raise ValueError(cell)
    return truth


def _text(cell: object) -> str:
    return _only(str, cell)


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
    """What JSON has no type for, as it takes it: times in ISO 8601, bytes in base64, all else as text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, date | time) else str(value)


def as_json(value: object) -> Json:
    """An object of a typed file as it is sent."""
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
    "boolean": lambda cell: _only(bool, cell),
    "time": lambda cell: _only(date, cell).isoformat(),
    "bytes": lambda cell: plain(_only(bytes, cell)),
    "anything": as_json,
}
