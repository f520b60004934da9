"""The column types of MLflow, and what each of them is in JSON, in memory and in the prediction log.

Nothing here imports MLflow, NumPy or Arrow: the modules that need their types look them up by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import msgspec

Kind = Literal["double", "float", "long", "integer", "boolean", "string", "datetime", "binary", "other"]
EXACT = 2**53  # every whole number up to this one is exact as a float64


@dataclass(frozen=True, kw_only=True)
class ColumnType:
    """One MLflow type. Types without the optional fields are decoded by MLflow only."""

    json_schema: Mapping[str, Any]
    """JSON Schema of one value in a request."""
    arrow: str
    """Alias of the Arrow type in the prediction log."""
    dtypes: Sequence[str] = ()
    """Names of the NumPy dtypes with these values. The first is the dtype of a column in a table."""
    decoded: Any = None
    """msgspec type of a value that needs no casting; None when only MLflow can decode it."""
    whole: bool = False
    """True if the values are whole numbers."""
    usual: Sequence[Any] = ()
    """Values that requests often hold, for comparing two implementations of a model."""
    odd: Sequence[Any] = ()
    """Missing, unknown, very small and very large values, for comparing two implementations of a model."""


TYPES: Mapping[Kind, ColumnType] = {
    "double": ColumnType(
        json_schema={"type": ["number", "null"]},
        arrow="float64",
        dtypes=("float64",),
        decoded=float | None,
        usual=(0.0, 1.0, -1.0, 0.37, 12.5, 1234.5, -7e4),
        odd=(None, None, -0.0, 1e-320, 1e30, -1e300, 2.0**24 + 1),
    ),
    "float": ColumnType(
        json_schema={"type": ["number", "null"]},
        arrow="float32",
        dtypes=("float32",),
        decoded=float | None,
        usual=(0.0, 1.0, -1.0, 0.25, 12.5, 1234.5, -7e4),
        odd=(None, -0.0, 1e30),
    ),
    "long": ColumnType(
        json_schema={"type": "integer"},
        arrow="int64",
        dtypes=("int64",),
        decoded=Annotated[int, msgspec.Meta(ge=-EXACT, le=EXACT)],
        whole=True,
        usual=(0, 1, -1, 3, 12, 1234, -70_000),
        odd=(-(2**53), 2**53, 2**31, 2**24 + 1),
    ),
    "integer": ColumnType(
        json_schema={"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
        arrow="int32",
        dtypes=("int32",),
        decoded=Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
        whole=True,
        usual=(0, 1, -1, 3, 12, 1234, -70_000),
        odd=(-(2**31), 2**31 - 1, 2**24 + 1),
    ),
    "boolean": ColumnType(
        json_schema={"type": "boolean"},
        arrow="bool",
        dtypes=("bool",),
        decoded=bool,
        usual=(True, False),
        odd=(True, False),
    ),
    "string": ColumnType(
        json_schema={"type": ["string", "null"]},
        arrow="string",
        dtypes=("str", "object"),
        decoded=str,
        usual=("a", "b", "c"),
        odd=("", "nan", "a word that nobody knows", "\N{LATIN SMALL LETTER U WITH DIAERESIS}"),
    ),
    "datetime": ColumnType(json_schema={"type": "string", "format": "date-time"}, arrow="timestamp[us]"),
    "binary": ColumnType(json_schema={"type": "string", "contentEncoding": "base64"}, arrow="binary"),
    "other": ColumnType(json_schema={}, arrow="string"),
}
WHOLE = frozenset(kind for kind, column_type in TYPES.items() if column_type.whole)
DTYPES: Mapping[str, Kind] = {dtype: kind for kind, column_type in TYPES.items() for dtype in column_type.dtypes}


def kind_of(name: object) -> Kind:
    """Return the kind with this MLflow name, or "other" for arrays, objects, maps and new types."""
    return cast("Kind", name) if name in TYPES else "other"
