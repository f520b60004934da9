"""Reads the prediction log of one version, hour by hour and file by file, with bounded memory."""

import io
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

import pyarrow as pa
from botocore.exceptions import ClientError
from pyarrow import parquet

from drift.store import Store

AT_ONCE = 16
"""Number of files that are downloaded and decoded at the same time; each has at most a few MiB."""
HOUR = timedelta(hours=1)


@dataclass
class Trouble:
    """Files that could not be used."""

    unreadable: list[str] = field(default_factory=list[str])
    """Keys of files that are not whole Parquet files, for example because they are still being written."""

    @property
    def notes(self) -> list[str]:
        """Sentence about the unreadable files; empty if there are none."""
        if not self.unreadable:
            return []
        count, first = len(self.unreadable), self.unreadable[0]
        return [f"{count} files of the log cannot be read and are left out; the first is {first}"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Part of the log: one version in one window."""

    model: str
    """Name of the registered model."""
    version: int
    """Number of the version."""
    start: datetime
    """First moment of the window."""
    end: datetime
    """First moment after the window."""


def tables(store: Store, part: Part, trouble: Trouble | None = None, *, keys: bool = False) -> Iterator[pa.Table]:
    """Yield a table for each file of this part of the log.

    Rows near the borders may lie outside of the window. Files that cannot be read are left out and noted in `trouble`.

    Args:
        store: store with the folder `predictions`.
        part: version and window.
        trouble: list that unreadable files are added to; None: such a file is left out silently.
        keys: True: the columns `request_id`, `row` and `latency_ms` are read, too.
    """
    names = {"at", "request_id", "row", "latency_ms"} if keys else {"at"}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting: deque[tuple[str, Future[pa.Table]]] = deque()
        for key in _keys(store, part):
            waiting.append((key, pool.submit(_read, store, key, names)))
            if len(waiting) >= 2 * AT_ONCE:
                yield from _done(*waiting.popleft(), trouble)
        while waiting:
            yield from _done(*waiting.popleft(), trouble)


def versions(store: Store, model: str) -> list[int]:
    """Return the numbers of the versions that the log has."""
    found = [name.removeprefix("version=") for name in store.folders(f"predictions/model={model}/")]
    return sorted(int(name) for name in found if name.isdecimal())


def count_files(store: Store, part: Part) -> int:
    """Return how many files this part of the log has."""
    return sum(1 for _ in _keys(store, part))


def _keys(store: Store, part: Part) -> Generator[str]:
    # A file lies in the hour in which its segment began, so the hour before may hold rows of the window.
    hour = part.start.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - HOUR
    while hour < part.end:
        folder = f"predictions/model={part.model}/version={part.version}/date={hour:%Y-%m-%d}/hour={hour:%H}/"
        for key in store.keys(folder):
            if key.endswith(".parquet"):
                yield key
        hour += HOUR


def _read(store: Store, key: str, names: set[str]) -> pa.Table:
    file = parquet.ParquetFile(io.BytesIO(store.read(key)))
    wanted = [
        name
        for name in file.schema_arrow.names
        if name in names or name == "prediction" or name.startswith(("input_", "prediction_"))
    ]
    return file.read(columns=wanted, use_threads=False)


def _done(key: str, future: Future[pa.Table], trouble: Trouble | None) -> Iterator[pa.Table]:
    try:
        yield future.result()
    except (pa.ArrowException, FileNotFoundError) as error:
        if trouble is not None:
            trouble.unreadable.append(f"{key}: {' '.join(str(error).split())[:200]}")
    except ClientError as error:
        # The store's retention deleted the file after it was listed.
        if cast("dict[str, dict[str, str]]", error.response)["Error"].get("Code") != "NoSuchKey":
            raise
