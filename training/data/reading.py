"""Reads the columns that a project declares from CSV or Parquet, and checks that a model can learn from them.

Other columns are not kept. A number takes 8 bytes in memory, and a category mostly 1.
"""

import codecs
import csv
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
from pyarrow import parquet

from training.data import checks, source
from training.data.columns import MISSING, ColumnReader
from training.data.source import DataError, StoreError
from training.project import Project

__all__ = ["DataError", "Dataset", "StoreError", "load"]

HEADER = 1 << 20
"""Maximum size of a CSV's header, in bytes."""
TRUTH = ("False", "True")
"""Spelling of truth values by which rows are grouped."""
LONGEST_NAME = 2**17
"""Maximum length of a column name, in characters."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A checked table and its source."""

    uri: str
    """Address that the table was read from."""
    digest: str
    """SHA-256 of the file, in hexadecimal."""
    table: pd.DataFrame
    """The declared columns, then the target: integers are int64, numbers and a target without labels float64, the
    others categories."""
    ignored: tuple[str, ...]
    """Columns of the file that the model does not use."""


def load(uri: str, project: Project[Any]) -> Dataset:
    """Read and check the table at the URI.

    Raises:
        DataError: the file is missing, unreadable, or not the declared table; the message lists the first problems.
        StoreError: S3 did not respond.
    """
    columns = _columns(project)
    present, digest = read(uri, columns)
    names = {column.name for column in columns}
    unreadable = {column.name: list(column.problems()) for column in columns}
    if not any(unreadable.values()) and not columns[0].rows:
        raise DataError(f"{uri} has a header but no rows; give a table with rows")
    table = {name: columns.pop(0).series() for name in [column.name for column in columns]}
    readable = {name: values for name, values in table.items() if not unreadable[name]}
    wrong = [problem for found in unreadable.values() for problem in found] + list(checks.problems(readable, project))
    if wrong:
        more = f"; and {len(wrong) - 5} more problems" if len(wrong) > 5 else ""
        raise DataError(f"{uri}: {'; '.join(wrong[:5])}{more}")
    return Dataset(
        uri=uri,
        digest=digest,
        table=in_nanoseconds(project, pd.DataFrame(table, copy=False)),
        ignored=tuple(name for name in present if name not in names),
    )


def read(uri: str, columns: "Columns") -> tuple[list[str], str]:
    """Read the columns of the table at the URI into the readers. Return the names of all columns, and the digest.

    Raises:
        DataError: the file is missing or unreadable, or lacks a column.
        StoreError: S3 did not respond.
    """
    with source.stream(uri) as stream:
        present = (_read_parquet if _is_parquet(uri) else _read_csv)(uri, stream, columns)
        return present, stream.digest


def names(uri: str) -> list[str]:
    """Return the names of the columns of the table at the URI.

    Raises:
        DataError: the file is missing or unreadable.
        StoreError: S3 did not respond.
    """
    with source.stream(uri) as stream:
        return _read_parquet(uri, stream, []) if _is_parquet(uri) else _header(uri, stream)


def _is_parquet(uri: str) -> bool:
    return uri.endswith((".parquet", ".pq"))


def in_nanoseconds(project: Project[Any], table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with time features as a served model gets them: with nanoseconds, whose number models learn."""
    return table.astype({c.name: "datetime64[ns]" for c in project.columns if c.kind == "time" and c.name in table})


Columns = list[ColumnReader]


def _columns(project: Project[Any]) -> Columns:
    """Return readers for the features, the target and the column that rows are split by."""
    columns = [*project.columns, *project.further]
    readers = [ColumnReader(column.name, column.kind, column.categories) for column in columns]
    target = project.target
    if not target.labels:
        readers.append(ColumnReader(target.name, "number"))
    else:
        readers.append(ColumnReader(target.name, "category", target.labels, is_label=True))
    if project.weight and project.weight not in {column.name for column in readers}:
        readers.append(ColumnReader(project.weight, "number"))
    if project.split.by and project.split.by not in {column.name for column in readers}:
        readers.append(ColumnReader(project.split.by, "time" if project.split.how == "time" else "category", TRUTH))
    return readers


def _read_csv(uri: str, stream: source.Stream, columns: Columns) -> list[str]:
    """Read every column as text; ColumnReader converts it, for CSV and Parquet alike."""
    present = _header(uri, stream)
    _check_names(uri, present, columns)
    texts = {column.name: pa.string() for column in columns}
    try:
        batches = arrow_csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            read_options=arrow_csv.ReadOptions(block_size=source.BLOCK, use_threads=False, column_names=present),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=texts, include_columns=list(texts), null_values=MISSING, strings_can_be_null=True
            ),
        )
        for batch in batches:
            _add(batch, columns)
    except pa.ArrowInvalid as error:
        raise _csv_fault(uri, str(error)) from error
    return present


def _header(uri: str, stream: source.Stream) -> list[str]:
    """Read the header from the stream and return its names; a quoted name may hold line breaks."""
    beginning = stream.peek(HEADER)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError as error:
        raise _not_utf8(uri) from error
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    lines = io.StringIO(text.removeprefix(mark), newline="")
    csv.field_size_limit(LONGEST_NAME)
    try:
        rows = (names for names in csv.reader(iter(lines.readline, "")) if any(map(str.strip, names)))
        names = next(rows, None)
    except csv.Error as error:
        raise DataError(f"{uri} has no readable header: {error}; give a CSV with a header line") from error
    if names is None:
        raise DataError(f"{uri} is empty; give a CSV with a header line and rows")
    stream.read(len((mark + text.removeprefix(mark)[: lines.tell()]).encode()))
    return names


def _add(batch: pa.RecordBatch, columns: Columns) -> None:
    for column in columns:
        column.add(batch.column(column.name))


def _csv_fault(uri: str, message: str) -> DataError:
    """Translate Arrow's message into an error about the file."""
    if "Empty CSV" in message:
        return DataError(f"{uri} has a header but no rows; give a table with rows")
    if "UTF8" in message:
        return _not_utf8(uri)
    return DataError(f"{uri} is not a CSV: {' '.join(message.split())}; give each line as many fields as the header")


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


def _read_parquet(uri: str, stream: source.Stream, columns: Columns) -> list[str]:
    with tempfile.TemporaryFile() as file:
        stream.copy_to(file)  # Parquet is read from its end, and the digest covers the whole file
        if not file.tell():
            raise DataError(f"{uri} is empty (0 bytes); give a Parquet file with rows")
        try:
            # With the default, nanoseconds, INT96 times before 1678 and after 2262 would be read as wrong times.
            opened = parquet.ParquetFile(file, coerce_int96_timestamp_unit="us")
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{uri} is not a Parquet file: {error}; write it again") from error
        present = opened.schema_arrow.names
        _check_names(uri, present, columns)
        try:
            for batch in opened.iter_batches(columns=[column.name for column in columns]):
                _add(batch, columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{uri} is a damaged Parquet file: {error}; write it again") from error
        return present


def _check_names(uri: str, present: Sequence[str], columns: Columns) -> None:
    kinds = [column.name for column in columns]
    if doubled := sorted({name for name in kinds if present.count(name) > 1}):
        raise DataError(
            f"{uri} has the column {', '.join(doubled)} more than once, so it is not clear which one to read; keep one"
        )
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
