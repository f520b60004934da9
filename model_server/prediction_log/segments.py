"""Segment files, which pass the prediction log from the server to the container that uploads it.

A file holds lines of JSON, and each line is complete or absent. A segment is called `.open` while one process writes it
and holds its lock, and `.segment` afterwards. Its name is unique, and begins with the UTC hour of its records.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import gmtime, monotonic, strftime, time_ns
from typing import Any

import msgspec

from model_server.predict.types import Kind

OPEN, CLOSED, UNREADABLE = ".open", ".segment", ".unreadable"
HOUR = 3_600_000_000  # in microseconds


class Field(msgspec.Struct, array_like=True):
    """Column of the table. If `many` is true, each value is a list of values of this kind."""

    name: str
    kind: Kind
    many: bool = False


class Header(msgspec.Struct):
    """First line of a segment, which names the values in the lines after it. `outputs` is empty if unknown."""

    inputs: list[Field]
    outputs: list[Field]
    role: str | None = None
    """Role of the server. None in a segment of a former release."""


class Record(msgspec.Struct, array_like=True):
    """One request with its response."""

    request_id: str
    """ID of the request."""
    at: int
    """Time of the response, in microseconds since 1970 (UTC)."""
    latency_ms: float
    """Milliseconds from the request to the response."""
    rows: list[list[Any]] | None
    """Rows in the order of the header's inputs; None if the body is no table of these columns."""
    body: str | None
    """Body as text, if it is not a table of the model's columns."""
    response: str
    """Body of the response."""
    experiment: str | None = None
    """Name of the experiment that the request belongs to. None: no experiment, or a record of a former release."""
    unit: str | None = None
    """Keyed hash of the caller's key. None: the caller sent no key, or a record of a former release."""


ENCODER = msgspec.json.Encoder(enc_hook=str)
HEADER, RECORD = msgspec.json.Decoder(Header), msgspec.json.Decoder(Record)


class Segment:
    """Segment that is being written. Each method may raise OSError, and then leaves only complete lines in the file.

    Each method may raise OSError, and then leaves only complete lines in the file.
    """

    def __init__(self, folder: Path, number: int, hour: int, header: Header) -> None:
        self.hour, self.born = hour, monotonic()
        name = f"{strftime('%Y%m%dT%H', gmtime(hour * HOUR / 1_000_000))}-{time_ns():x}-{number:05}"
        new, self.path = folder / f"{name}.new", folder / f"{name}{OPEN}"
        self.file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size = 0
        try:
            # Locked before it gets its final name, because an open segment without a lock belongs to a dead process.
            fcntl.flock(self.file, fcntl.LOCK_EX)
            self.write(ENCODER.encode(header) + b"\n")
            new.rename(self.path)
        except OSError:
            os.close(self.file)
            with contextlib.suppress(OSError):
                new.unlink()
            raise

    def write(self, lines: bytes) -> None:
        """Write all of the lines to the file, or none."""
        written = 0
        try:
            # A full disk accepts a part of the lines, and refuses the next write.
            while written < len(lines):
                written += os.write(self.file, lines[written:])
        except OSError:
            os.ftruncate(self.file, self.size)
            os.lseek(self.file, self.size, os.SEEK_SET)
            raise
        self.size += written

    def close(self) -> None:
        """Close the segment, so that it can be uploaded."""
        self.path.rename(self.path.with_suffix(CLOSED))
        os.close(self.file)


@dataclass(frozen=True, kw_only=True)
class Content:
    """Content of a segment. `torn` counts the lines that a killed process left incomplete."""

    header: Header
    records: Sequence[Record]
    torn: int


def read(segment: Path) -> Content:
    """Read the segment without its incomplete lines.

    Raises:
        ValueError: the file is no segment.
    """
    first, *lines, rest = segment.read_bytes().split(b"\n")
    records: list[Record] = []
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):
            records.append(RECORD.decode(line))
    torn = len(lines) - len(records) + bool(rest)
    return Content(header=HEADER.decode(first), records=records, torn=torn)


def closed(folder: Path) -> list[Path]:
    """Return the segments to upload, the oldest first, including those whose writer has died."""
    for orphan in folder.glob(f"*{OPEN}"):
        _adopt(orphan)
    return sorted(folder.glob(f"*{CLOSED}"))


def _adopt(segment: Path) -> None:
    with contextlib.suppress(FileNotFoundError, BlockingIOError), segment.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        segment.rename(segment.with_suffix(CLOSED))


def spooled(folder: Path) -> int:
    """Return the size of all files in the folder in bytes."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # uploaded and deleted meanwhile
                yield entry.stat().st_size
