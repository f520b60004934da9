"""The files between the server and the container that ships them: lines of JSON, each whole or not there.

A segment is written under `.open` by the one process that holds its lock, and is `.segment` from the moment when nobody
writes to it any more. Its name is unique, for ever, and begins with the UTC hour of everything in it.
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
    """A column of the table. With `many` its values are lists of that kind."""

    name: str
    kind: Kind
    many: bool = False


class Header(msgspec.Struct):
    """The first line: what the lists in the other lines mean. No outputs: the model does not say."""

    inputs: list[Field]
    outputs: list[Field]


class Record(msgspec.Struct, array_like=True):
    """One answered request."""

    request_id: str
    at: int
    """When it was answered, in microseconds since 1970 (UTC)."""
    latency_ms: float
    rows: list[list[Any]] | None
    """Its rows in the order of the header's inputs; None where it is no table of these."""
    body: str | None
    """What came instead of such a table, as text."""
    answer: str
    """The body that was answered."""


ENCODER = msgspec.json.Encoder(enc_hook=str)
HEADER, RECORD = msgspec.json.Decoder(Header), msgspec.json.Decoder(Record)


class Segment:
    """A file that is being written to. OSError from any method leaves whole lines alone in it."""

    def __init__(self, folder: Path, number: int, hour: int, header: Header) -> None:
        self.hour, self.born = hour, monotonic()
        name = f"{strftime('%Y%m%dT%H', gmtime(hour * HOUR / 1_000_000))}-{time_ns():x}-{number:05}"
        new, self.path = folder / f"{name}.new", folder / f"{name}{OPEN}"
        self.file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size = 0
        try:
            # Locked before anybody finds it: a file without a lock belongs to a process that is dead.
            fcntl.flock(self.file, fcntl.LOCK_EX)
            self.write(ENCODER.encode(header) + b"\n")
            new.rename(self.path)
        except OSError:
            os.close(self.file)
            with contextlib.suppress(OSError):
                new.unlink()
            raise

    def write(self, lines: bytes) -> None:
        """The lines are out of this process, all or none of them."""
        written = 0
        try:
            # A disk that fills up takes a part; the next write is refused.
            while written < len(lines):
                written += os.write(self.file, lines[written:])
        except OSError:
            os.ftruncate(self.file, self.size)
            os.lseek(self.file, self.size, os.SEEK_SET)
            raise
        self.size += written

    def close(self) -> None:
        """It can be shipped."""
        self.path.rename(self.path.with_suffix(CLOSED))
        os.close(self.file)


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a segment holds; `torn` counts the lines that a dying process left unfinished."""

    header: Header
    records: Sequence[Record]
    torn: int


def read(segment: Path) -> Content:
    """All of it up to the tear, if it has one.

    Raises:
        ValueError: it is no segment.
    """
    first, *lines, rest = segment.read_bytes().split(b"\n")
    records: list[Record] = []
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):
            records.append(RECORD.decode(line))
    torn = len(lines) - len(records) + bool(rest)
    return Content(header=HEADER.decode(first), records=records, torn=torn)


def closed(folder: Path) -> list[Path]:
    """What can be shipped, the oldest first; segments whose writer died are among it."""
    for left in folder.glob(f"*{OPEN}"):
        _adopt(left)
    return sorted(folder.glob(f"*{CLOSED}"))


def _adopt(segment: Path) -> None:
    with contextlib.suppress(FileNotFoundError, BlockingIOError), segment.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        segment.rename(segment.with_suffix(CLOSED))


def spooled(folder: Path) -> int:
    """Bytes of all files in it."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # shipped meanwhile
                yield entry.stat().st_size
