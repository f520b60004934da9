"""Reads one column of a file as the kind that a project declares. A value that does not fit is a problem.

CSV and Parquet give the same values, although a CSV holds texts and a Parquet file holds typed values. A batch is
converted in one call. If this fails, its values are converted one by one, to name the first wrong value.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Kind = Literal["integer", "number", "category", "text", "time"]
# Some exports, such as the original Telco table, write a missing number as a blank.
MISSING = ("", " ", "NA", "N/A", "NaN", "nan", "NULL", "null")
RULES: Mapping[str, str] = {
    "integer": "and must be a whole number",
    "number": "and must be a number",
    "category": "and must be a category",
    "text": "and must be a text",
    "time": "and must be a time (ISO 8601)",
}
TOO_LARGE = "and must be from -2^63 to 2^63 - 1, because whole numbers have 64 bits"
ZONED = "with a time zone, and earlier rows have none, so that their order is not known"
NOT_ZONED = "without a time zone, and earlier rows have one, so that their order is not known"
UNSPELLED = (
    "holds truth values, and the project declares no spelling of them, but true and True are different categories; "
    "declare categories=('False', 'True') as CSV files have them, or kind='integer'"
)
BATCHES = 8
"""Batches that are joined into one array, because many small arrays that live long fragment the heap."""
LONGEST = 60
"""Characters of a value that an error message shows."""
LEAST, MOST = -(2**63), 2**63 - 1
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
TRUTH = {"false": 0, "true": 1}


class _WrongError(Exception):
    """The value is not of the declared kind; the message is the rule that it breaks."""


@dataclass
class _Fault:
    row: int
    value: object
    count: int = 0


def shown(value: object) -> str:
    """Return the value as an error message shows it: on one line, cut after 60 characters."""
    text = float.__repr__(value).removesuffix(".0") if isinstance(value, float) else str(value)
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


class ColumnReader:
    """Collects one column of a file, batch by batch.

    Args:
        name: name of the column.
        kind: kind of the column's values.
        spellings: categories that the project declares. A stored truth value gets the spelling of one of them, and is
            refused if there are none: CSV files have several spellings, and each would be another category.
        is_label: whether a text such as `TRUE` gets that spelling, too.
    """

    def __init__(self, name: str, kind: Kind, spellings: Sequence[str] = (), *, is_label: bool = False) -> None:
        self.name, self.kind = name, kind
        self.rows = 0
        self._has_spellings, self._truth = bool(spellings), spelled(spellings)
        self._is_label = is_label
        self._faults: dict[str, _Fault] = {}
        self._refused = ""
        self._codes: dict[str, int] = {}
        self._zoned: bool | None = None
        self._pieces: list[tuple[NDArray[Any], NDArray[np.bool_]]] = []
        self._recent: list[tuple[NDArray[Any], NDArray[np.bool_]]] = []

    def add(self, values: pa.Array) -> None:
        """Add the next rows."""
        if isinstance(values, pa.DictionaryArray):
            values = values.dictionary_decode()
        if not self._refused and not self._is_of_a_type_for_the_kind(values.type):
            self._refused = f"is of type {values.type} {RULES[self.kind]}"
        if self.kind == "category" and pa.types.is_boolean(values.type) and not self._has_spellings:
            self._refused = UNSPELLED
        if self._refused:
            return
        try:
            piece = self._piece(values)
        except pa.ArrowInvalid as error:  # bytes that are not UTF-8
            self._refused = f"is of type {values.type} {RULES[self.kind]}: {error}"
            return
        self._recent.append(piece)
        self.rows += len(values)
        if len(self._recent) == BATCHES:
            self._pieces.append(_joined(self._recent))
            self._recent.clear()

    def problems(self) -> Iterator[str]:
        """Yield one sentence for each rule that a value of the column breaks."""
        if self._refused:
            instead = "" if self._refused == UNSPELLED else "; correct the file"
            yield f"the column {self.name} {self._refused}{instead}"
        for rule, fault in self._faults.items():
            yield (
                f"the column {self.name} holds '{shown(fault.value)}' {rule}, in row {fault.row} of {self.rows} "
                f"({fault.count} such rows); correct the file"
            )

    def series(self) -> "pd.Series[Any]":
        """Return the column: int64 (Int64 if a number is missing), float64, datetime64, category or objects (texts)."""
        pieces, self._pieces, self._recent = [*self._pieces, *self._recent], [], []
        if self.kind == "category":
            return self._category(pieces)
        if not pieces:
            return pd.Series(dtype="object" if self.kind == "text" else "float64")
        values, absent = _joined(pieces)
        del pieces
        if self.kind == "integer" and absent.any():
            return pd.Series(pd.arrays.IntegerArray(values, absent))
        return pd.Series(values, copy=False)

    def _is_of_a_type_for_the_kind(self, kind: pa.DataType) -> bool:
        types = pa.types
        is_time = types.is_timestamp(kind) or types.is_date(kind)
        if _is_text(kind) or types.is_null(kind):
            return True
        if self.kind in ("text", "time"):
            return is_time and self.kind == "time"
        is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        if is_number or types.is_boolean(kind):
            return True
        return self.kind == "category" and (is_time or types.is_binary(kind) or types.is_large_binary(kind))

    def _piece(self, values: pa.Array) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        if self.kind == "category":
            return self._categories(values)
        if self.kind == "text":
            texts = values.cast(pa.large_string()).fill_null("").to_numpy(zero_copy_only=False)
            return texts.astype(object), np.array([], dtype=bool)
        return self._numbers(values)

    def _numbers(self, values: pa.Array) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        converted = self._at_once(values)
        if self.kind == "number":
            return converted.to_numpy(zero_copy_only=False), np.array([], dtype=bool)
        absent = converted.is_null().to_numpy(zero_copy_only=False)
        numbers = converted.fill_null(0).to_numpy(zero_copy_only=False)
        if self.kind == "time":
            numbers = numbers.astype("datetime64[us]")
            numbers[absent] = np.datetime64("NaT")
        return numbers, absent

    def _at_once(self, values: pa.Array) -> pa.Array:
        """Convert the batch in one call; if Arrow refuses, convert its values one by one."""
        try:
            return self._converted(values)
        except pa.ArrowInvalid:
            if not _is_text(values.type):
                return self._one_by_one(values)
        trimmed = pc.utf8_trim_whitespace(values)
        try:
            return self._converted(trimmed)
        except pa.ArrowInvalid:
            return self._one_by_one(trimmed)

    def _converted(self, values: pa.Array) -> pa.Array:
        match self.kind:
            case "integer":
                if _is_text(values.type) and any(pc.match_substring(values, mark).true_count for mark in "xX"):
                    raise pa.ArrowInvalid("hexadecimal")  # only Arrow accepts it, no other CSV reader does
                return values.cast(pa.int64())
            case "number":
                return values.cast(pa.float64(), safe=False)
            case _:
                return self._times(values)

    def _times(self, values: pa.Array) -> pa.Array:
        """Return microseconds since 1970, in UTC if the times have a zone."""
        zoned = bool(pa.types.is_timestamp(values.type) and values.type.tz)
        try:
            converted = values.cast(options=_truncating(zoned=zoned))
        except pa.ArrowInvalid:
            if not _is_text(values.type):
                raise
            converted, zoned = values.cast(options=_truncating(zoned=True)), True
        if converted.null_count < len(converted) and not self._is_consistent(zoned=zoned):
            raise pa.ArrowInvalid("some have a time zone, and some have none")
        return converted.cast(pa.int64())

    def _is_consistent(self, *, zoned: bool) -> bool:
        """Return True if this time has a zone and all earlier ones have, or if none has."""
        if self._zoned is None:
            self._zoned = zoned
        return self._zoned == zoned

    def _one_by_one(self, values: pa.Array) -> pa.Array:
        converted: list[int | float | None] = []
        convert = _number if self.kind == "number" else _whole
        for place, scalar in enumerate(values):
            try:
                converted.append(self._time(scalar) if self.kind == "time" else convert(_plain(scalar.as_py())))
            except _WrongError as error:
                fault = self._faults.setdefault(str(error), _Fault(self.rows + place + 1, _readable(scalar)))
                fault.count += 1
                converted.append(None)
        return pa.array(converted, pa.float64() if self.kind == "number" else pa.int64())

    def _time(self, scalar: pa.Scalar) -> int | None:
        zoned = bool(pa.types.is_timestamp(scalar.type) and scalar.type.tz)
        if _is_text(scalar.type):
            text = _plain(scalar.as_py())
            if not isinstance(text, str):
                return None
            text = re.sub(r"(\.\d{6})\d+", r"\1", text.replace("z", "Z"))
            zoned = bool(re.search(r"[T ]\d\d.*(Z|[+-]\d\d(:?\d\d)?)$", text))
            scalar = pa.scalar(text)
        try:
            converted = scalar.cast(options=_truncating(zoned=zoned)).cast(pa.int64()).as_py()
        except pa.ArrowInvalid:
            raise _WrongError(RULES["time"]) from None
        if not isinstance(converted, int):
            return None
        if not self._is_consistent(zoned=zoned):
            raise _WrongError(ZONED if zoned else NOT_ZONED)
        return converted

    def _categories(self, values: pa.Array) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return a code for each category, -1 if it is missing; each distinct text is kept once."""
        if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
            values = values.cast(pa.large_string())
        encoded = values.dictionary_encode()
        words = [self._word(value, values.type) for value in encoded.dictionary.to_pylist()]
        codes = [-1 if word is None else self._codes.setdefault(word, len(self._codes)) for word in words]
        known = np.array([*codes, -1], dtype=_narrowest(len(self._codes)))
        return known[encoded.indices.fill_null(len(codes)).to_numpy(zero_copy_only=False)], np.array([], dtype=bool)

    def _word(self, value: object, stored: pa.DataType) -> str | None:
        """Return the category as a CSV of the same table holds it."""
        match value:
            case None:
                return None
            case bool():
                return self._truth.get(str(value).lower(), str(value))
            case float():
                return None if np.isnan(value) else str(stored.to_pandas_dtype()(value))
            case str() if self._is_label:
                return self._truth.get(value.lower(), value)
            case _:
                return str(value)

    def _category(self, pieces: Sequence[tuple[NDArray[Any], NDArray[np.bool_]]]) -> "pd.Series[Any]":
        words = sorted(self._codes)
        places = {word: place for place, word in enumerate(words)}
        order = np.array([*(places[word] for word in self._codes), -1], dtype=_narrowest(len(words)))
        codes = np.concatenate([order[:0], *(order[codes] for codes, _ in pieces)])
        return pd.Series(pd.Categorical.from_codes(codes, pd.Index(words)), copy=False)


def spelled(words: Sequence[str]) -> dict[str, str]:
    """Return the declared spelling of `false` and `true`, each if there is exactly one."""
    declared = {lower: [word for word in words if word.lower() == lower] for lower in TRUTH}
    return {lower: found[0] for lower, found in declared.items() if len(found) == 1}


def _is_text(stored: pa.DataType) -> bool:
    return pa.types.is_string(stored) or pa.types.is_large_string(stored) or pa.types.is_string_view(stored)


def _truncating(*, zoned: bool) -> pc.CastOptions:
    """Return cast options that drop nanoseconds and refuse times out of range."""
    return pc.CastOptions(pa.timestamp("us", "UTC" if zoned else None), allow_time_truncate=True)


def _readable(scalar: pa.Scalar) -> object:
    """Return the Python value; an integer for a time after the year 9999, which Python cannot hold."""
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return scalar.cast(pa.int64()).as_py()


def _plain(value: object) -> object:
    """Return the value without surrounding blanks; None if it is missing."""
    if isinstance(value, str):
        value = value.strip()
        return None if value in MISSING or value.lstrip("+-").lower() == "nan" else value
    return None if isinstance(value, float) and np.isnan(value) else value


def _whole(value: object) -> int | None:
    if value is None:
        return None
    exact = _decimal(value, RULES["integer"])
    if exact.is_finite() and not LEAST <= exact <= MOST:
        raise _WrongError(TOO_LARGE)
    if not exact.is_finite() or exact != exact.to_integral_value():
        raise _WrongError(RULES["integer"])
    return int(exact)


def _number(value: object) -> float | None:
    return None if value is None else float(_decimal(value, RULES["number"]))


def _decimal(value: object, rule: str) -> Decimal:
    """Return the exact number; raise _WrongError with the rule if the value is not a number."""
    match value:
        case str() if value.lower() in TRUTH:
            return Decimal(TRUTH[value.lower()])
        case str() if NUMBER.fullmatch(value):
            return Decimal(value)
        case bool() | int() | float() | Decimal():
            return Decimal(value)
        case _:
            raise _WrongError(rule)


def _narrowest(words: int) -> "np.dtype[Any]":
    """Return the smallest signed type that holds the codes of that many categories."""
    return np.min_scalar_type(-max(words, 1))


def _joined(pieces: Sequence[tuple[NDArray[Any], NDArray[np.bool_]]]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    values, absent = zip(*pieces, strict=True)
    return np.concatenate(values), np.concatenate(absent)
