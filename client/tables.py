"""Tables in files, read as a stream: CSV in UTF-8 with a header, or Parquet."""

import csv
import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from pyarrow import parquet

from client.errors import InputError

LONGEST = 10 * 1024 * 1024
"""Largest number of characters of a cell; a request to an endpoint may not have more bytes."""


class Table(Protocol):
    """Table in a file. Only a part of it is in memory at a time."""

    path: Path
    names: list[str]
    """Names of the columns."""
    types: Sequence[pa.DataType] | None
    """Types of the columns; None if all cells are text."""
    counted: str
    """Unit of the row numbers: `line` for a text file, else `row`."""

    def rows(self) -> Iterator[tuple[int, Sequence[object]]]:
        """Yield each row with its number in the file, from the first row at each call."""
        ...


def opened(path: Path) -> Table:
    """Open the table in a file.

    Raises:
        InputError: the file cannot be read, or has no table.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
        table = _Parquet(path) if start == b"PAR1" else _Csv(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; write the path of a CSV or Parquet file") from None
    twice = sorted({name for name in table.names if table.names.count(name) > 1})
    if twice:
        raise InputError(f"{path} has more than one column {', '.join(twice)}; rename or remove all but one")
    return table


def digest(path: Path) -> str:
    """Return the SHA-256 of the file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Csv:
    counted = "line"

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._reader() as reader:
            header = next((row for row in reader if row), None)
        if header is None:
            raise InputError(f"{path} is empty; its first line must name the columns")
        self.names = header
        self.types: Sequence[pa.DataType] | None = None
        other = next((mark for mark in ";\t|" if len(header) == 1 and mark in header[0]), None)
        if other:
            raise InputError(
                f"{path} separates its columns by {other!r}, but only commas are read; write it with commas"
            )

    def rows(self) -> Iterator[tuple[int, Sequence[object]]]:
        """Yield each row with the number of its first line."""
        width = len(self.names)
        with self._reader() as reader:
            next(row for row in reader if row)
            start = reader.line_num + 1
            for row in reader:
                if len(row) == width:
                    yield start, row
                elif row:
                    raise InputError(
                        f"{self.path}: line {start} has {len(row)} values, but the header has {width} columns; put a "
                        "value that contains a comma or a line break in double quotes"
                    )
                start = reader.line_num + 1

    @contextmanager
    def _reader(self) -> Generator["_Reader"]:
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            csv.field_size_limit(LONGEST)
            reader = csv.reader(file, strict=True)
            try:
                yield reader
            except UnicodeDecodeError:
                raise InputError(
                    f"{self.path} is not UTF-8 from line {reader.line_num + 1} on; convert it, as in "
                    "iconv -f WINDOWS-1252 -t UTF-8"
                ) from None
            except csv.Error as error:
                fault = f"has a value of more than {LONGEST:,} characters" if "limit" in str(error) else "is not CSV"
                raise InputError(
                    f"{self.path}: line {reader.line_num} {fault} ({error}); look there, or some lines before, "
                    "for a double quote that is not closed or not doubled"
                ) from None


class _Reader(Protocol):
    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...


class _Parquet:
    counted = "row"

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._file() as file:
            self.names = file.schema_arrow.names
            self.types: Sequence[pa.DataType] | None = file.schema_arrow.types

    def rows(self) -> Iterator[tuple[int, Sequence[object]]]:
        """Yield each row with its number, from 1."""
        with self._file() as file:
            batches = file.iter_batches(batch_size=4096)
            cells = (zip(*(column.to_pylist() for column in batch.columns), strict=True) for batch in batches)
            yield from enumerate(chain.from_iterable(cells), 1)

    @contextmanager
    def _file(self) -> Generator[parquet.ParquetFile]:
        with self.path.open("rb") as file:
            try:
                yield parquet.ParquetFile(file)
            except (pa.ArrowInvalid, OSError) as error:
                fault = " ".join(str(error).split())[:200]
                raise InputError(f"{self.path} is not a complete Parquet file: {fault}; write it again") from None
