"""Reads the columns that a project declares, from CSV or Parquet, and makes sure they can be learnt from.

Only what is declared is kept, a column at a time and in the narrowest form: 8 bytes for a number, mostly 1 for a word.
"""

import codecs
import csv
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
from pandas.api.types import union_categoricals
from pyarrow import parquet

from training import checks, source
from training.project import Project
from training.source import DataError, StoreError

__all__ = ["DataError", "Dataset", "StoreError", "load"]

# Some exports, the original of the Telco table among them, write a missing number as a blank.
MISSING = ["", " ", "NA", "N/A", "NaN", "nan", "NULL", "null"]
ARROW = {
    "integer": pa.float64(),  # so that a missing or a broken one can be told by its row
    "number": pa.float64(),
    "category": pa.dictionary(pa.int32(), pa.string()),
    "time": pa.timestamp("us"),
}
BATCHES = 8  # joined at a time: pieces of few kilobytes that live as long as the reading would tear the heap
HEADER = 1 << 20  # bytes in which the header of a CSV ends


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A checked table: the declared columns and the target, in that order, and what it was read from."""

    uri: str
    digest: str
    """SHA-256 of the bytes, in hexadecimal."""
    table: pd.DataFrame
    """Integers are int64, numbers float64, words and labels categories."""
    ignored: tuple[str, ...]
    """Columns of the file that the model does not use."""


def load(uri: str, project: Project[Any]) -> Dataset:
    """The checked table at the URI.

    Raises:
        DataError: it is not there, not readable, or not the declared table; all that is wrong, in one line.
        StoreError: S3 did not answer.
    """
    kinds = _kinds(project)
    with source.stream(uri) as stream:
        read = _read_parquet if uri.endswith((".parquet", ".pq")) else _read_csv
        present, columns = read(uri, stream, kinds)
        digest = stream.digest
    if not len(columns[project.target.name]):
        raise DataError(f"{uri} has a header and no rows; give a table with rows")
    if wrong := list(checks.problems(columns, project)):
        more = f"; and {len(wrong) - 5} problems more" if len(wrong) > 5 else ""
        raise DataError(f"{uri}: {'; '.join(wrong[:5])}{more}")
    for column in project.columns:
        if column.kind == "integer":
            columns[column.name] = columns[column.name].astype("int64")
    return Dataset(
        uri=uri,
        digest=digest,
        table=pd.DataFrame(columns, copy=False),
        ignored=tuple(name for name in present if name not in kinds),
    )


Columns = dict[str, "pd.Series[Any]"]


def _kinds(project: Project[Any]) -> dict[str, str]:
    """What to read: features, label, and what rows are divided by."""
    kinds: dict[str, str] = {column.name: column.kind for column in project.columns} | {project.target.name: "category"}
    if project.split.by:
        kinds.setdefault(project.split.by, "time" if project.split.how == "time" else "category")
    return kinds


def _read_csv(uri: str, stream: source.Stream, kinds: Mapping[str, str]) -> tuple[list[str], Columns]:
    present = _header(uri, stream, kinds)
    try:
        return present, _gather(_csv_batches(stream, {name: ARROW[kind] for name, kind in kinds.items()}), kinds)
    except pa.ArrowInvalid as error:
        raise _csv_fault(uri, str(error), kinds) from error


def _header(uri: str, stream: source.Stream, kinds: Mapping[str, str]) -> list[str]:
    beginning = stream.peek(HEADER)
    if not beginning.strip():
        raise DataError(f"{uri} is empty; give a CSV with a header line and rows")
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(beginning)
    except UnicodeDecodeError as error:
        raise _not_utf8(uri) from error
    present = next(csv.reader(line for line in text.splitlines() if line.strip()))
    _check_names(uri, present, kinds)
    return present


def _csv_batches(stream: source.Stream, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    yield from arrow_csv.open_csv(
        pa.PythonFile(stream, mode="r"),
        read_options=arrow_csv.ReadOptions(block_size=source.BLOCK, use_threads=False),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=types, include_columns=list(types), null_values=MISSING, strings_can_be_null=True
        ),
    )


def _csv_fault(uri: str, said: str, kinds: Mapping[str, str]) -> DataError:
    """What Arrow means, in words of the file; for a value that does not fit, the file is read once more as text."""
    if "Empty CSV" in said:
        return DataError(f"{uri} has a header and no rows; give a table with rows")
    if "UTF8" in said:
        return _not_utf8(uri)
    if "conversion error" in said:
        typed = {name: kind for name, kind in kinds.items() if kind != "category"}
        with source.stream(uri) as stream:
            texts = _gather(_csv_batches(stream, dict.fromkeys(typed, pa.string())), typed)
        wrong = [problem for name, kind in typed.items() for problem in checks.unreadable(name, kind, texts[name])]
        return DataError(f"{uri}: {'; '.join(wrong) or said}")
    return DataError(f"{uri} is not a CSV: {' '.join(said.split())}; every line needs the header's number of fields")


def _not_utf8(uri: str) -> DataError:
    with source.stream(uri) as stream:
        decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
        while part := stream.read(source.BLOCK):
            try:
                line += decoder.decode(part).count("\n")
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                return DataError(
                    f"{uri} is not UTF-8: byte 0x{error.object[error.start]:02x} in line {line}; save the file as UTF-8"
                )
    return DataError(f"{uri} is not UTF-8; save the file as UTF-8")


def _read_parquet(uri: str, stream: source.Stream, kinds: Mapping[str, str]) -> tuple[list[str], Columns]:
    with tempfile.TemporaryFile() as file:
        stream.copy_to(file)  # a Parquet is read from its end, and the digest is of all of it
        if not file.tell():
            raise DataError(f"{uri} is empty (0 bytes); give a Parquet file with rows")
        try:
            opened = parquet.ParquetFile(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{uri} is not a Parquet file: {error}; write it again") from error
        present = opened.schema_arrow.names
        _check_names(uri, present, kinds)
        return present, _gather(_parquet_batches(uri, opened, kinds), kinds)


def _parquet_batches(uri: str, opened: parquet.ParquetFile, kinds: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    for batch in opened.iter_batches(columns=list(kinds)):
        columns = {name: _cast(uri, name, kind, batch.column(name)) for name, kind in kinds.items()}
        yield pa.RecordBatch.from_pydict(columns)


def _cast(uri: str, name: str, kind: str, values: pa.Array) -> pa.Array:
    try:
        if kind == "category":
            return values.cast(pa.string()).dictionary_encode()
        return values.cast(ARROW[kind], safe=kind != "time")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{uri}: the column {name} is of type {values.type} {checks.RULES[kind]}: {error}; correct the file"
        ) from error


def _gather(batches: Iterator[pa.RecordBatch], kinds: Mapping[str, str]) -> Columns:
    """Each column in one piece. A batch's words become codes at once: its texts are not kept."""
    pieces: dict[str, list[pd.Series[Any]]] = {name: [] for name in kinds}
    recent: dict[str, list[pd.Series[Any]]] = {name: [] for name in kinds}
    for batch in batches:
        for name, there in recent.items():
            there.append(batch.column(name).to_pandas())
            if len(there) == BATCHES:
                pieces[name].append(_joined(there, kinds[name]))
                there.clear()
    return {name: _joined(pieces.pop(name) + recent.pop(name), kind) for name, kind in kinds.items()}


def _joined(pieces: "list[pd.Series[Any]]", kind: str) -> "pd.Series[Any]":
    if kind != "category":
        return pd.concat(pieces, ignore_index=True) if pieces else pd.Series(dtype="float64")
    categories = [piece.cat.rename_categories(list(piece.cat.categories)) for piece in pieces]
    return pd.Series(union_categoricals(categories, sort_categories=True) if pieces else pd.Categorical([]))


def _check_names(uri: str, present: Sequence[str], kinds: Mapping[str, str]) -> None:
    if doubled := sorted({name for name in kinds if present.count(name) > 1}):
        raise DataError(f"{uri} has the column {', '.join(doubled)} more than once; leave one of each")
    missing = [name for name in kinds if name not in present]
    if not missing:
        return
    hints = [
        f"is {near[0]} meant as {name}?"
        for name in missing
        if (near := get_close_matches(name, set(present) - set(kinds), 1))
    ]
    raise DataError(
        f"{uri} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}, which the model needs; "
        f"it has {', '.join(present)}; {' '.join(hints) or 'add what is missing, or give another table'}"
    )
