"""Reads the prediction log of a model in the order of its hours, file by file, with bounded memory."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from prediction_log.arrow import Table, pa, parquet, pc
from prediction_log.store import LogError, Store

AT_ONCE = 16
"""Number of files that are downloaded and decoded at the same time; each has at most a few MiB."""
LACKING = {"role": "champion", "experiment": None, "unit": None}
"""Columns that files of former releases lack, and the values of their rows."""
HOUR = timedelta(hours=1)
KEY = re.compile(r"/hour=(?P<hour>\d\d)/(?P<name>[^/]+)\.parquet$")
SUFFIX = "-[b-df-hj-np-tv-z2-9]{5,10}-[a-z0-9]{5}-[0-9]{8}T[0-9]{2}-[0-9a-f]+-[0-9]+"
POD = re.compile(f"(?P<deployment>.+){SUFFIX}")
"""Name of a file: that of the pod, which begins with the name of its Deployment, and that of the segment."""
ARMS = ("-challenger", "-shadow")
"""Ends of the names of Deployments beside that of the endpoint itself."""
Columns = Callable[[str], bool]
"""Function that returns whether a column of this name is read."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Part of a log: predictions of one model in one period."""

    model: str
    """Name of the registered model."""
    start: datetime
    """First moment of the period."""
    end: datetime
    """First moment after the period."""
    version: int | None = None
    """Number of the version; None for all."""
    endpoint: str = ""
    """Name of the endpoint; empty if only one endpoint serves the model."""


@dataclass(frozen=True, kw_only=True)
class LogFile:
    """One file of a log."""

    key: str
    """Key of the file in its store."""
    version: int
    """Version of the model that made the predictions."""
    hour: datetime
    """UTC hour of all its predictions."""
    role: str = ""
    """Role of the rows that belong to the endpoint; empty if all rows do."""

    @property
    def deployment(self) -> str:
        """Name of the Deployment by the file's name; empty if the name does not tell it."""
        found = POD.fullmatch(self.key.rpartition("/")[2].removesuffix(".parquet"))
        return found["deployment"] if found else ""

    @property
    def endpoint(self) -> str:
        """Name of the endpoint, if it does not end like an arm itself; empty if the file's name does not tell it."""
        name = self.deployment
        return next((name.removesuffix(arm) for arm in ARMS if name.endswith(arm)), name)


@dataclass
class Unreadable:
    """Files that are not whole Parquet files, for example because they are still being written."""

    keys: list[str] = field(default_factory=list[str])

    @property
    def notes(self) -> list[str]:
        """Sentence about the files; empty if there are none."""
        if not self.keys:
            return []
        return [f"{len(self.keys)} files of the log cannot be read and are left out; the first is {self.keys[0]}"]


def files(store: Store, part: Part) -> list[LogFile]:
    """Return the files of a part of the log, ordered by their hours; none if the log has no prediction of it.

    Raises:
        LogError: the store cannot be read, or several endpoints serve the model and the part names none of them.
        StoreError: the store did not respond.
    """
    first = part.start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    found: list[LogFile] = []
    for version, folder in _versions(store, part):
        day = first
        while day.date() <= part.end.astimezone(UTC).date():
            for key in store.keys(f"{folder}date={day:%Y-%m-%d}/"):
                if match := KEY.search(key):
                    hour = day.replace(hour=int(match["hour"]))
                    if first <= hour < part.end:
                        found.append(LogFile(key=key, version=version, hour=hour))
            day += timedelta(days=1)
    found.sort(key=lambda file: (file.hour, file.key))
    known = {file.endpoint for file in found} - {""}
    if part.endpoint:
        ours = {"": "", **{name: _role(name, part.endpoint) for name in _deployments(part.endpoint)}}
        return [replace(file, role=ours[file.deployment]) for file in found if file.deployment in ours]
    if len(known) > 1:
        raise LogError(
            f"several endpoints serve {part.model} in this period, and the predictions of one must not be mixed with "
            f"those of another: {', '.join(sorted(known))}; write --endpoint with one of them"
        )
    return found


def columns(store: Store, file: LogFile) -> dict[str, Any]:
    """Return the types of the columns of a file; all files of a version have the same.

    Raises:
        LogError: the file is not whole, or the store cannot be read.
        StoreError: the store did not respond.
    """
    try:
        schema = parquet.read_schema(io.BytesIO(store.read(file.key)))
    except (pa.ArrowException, FileNotFoundError) as error:
        raise LogError(f"{store.uri}/{file.key} cannot be read ({error}); look again when it is written") from error
    return dict(zip(schema.names, schema.types, strict=True))


def name_pattern(endpoint: str) -> str:
    """Return a regular expression (RE2) for the path of a file of the endpoint; of any endpoint if it is empty."""
    names = "|".join(_deployments(endpoint)) if endpoint else "[^/]+"
    return rf"/({names}){SUFFIX}\.parquet$"


def _deployments(endpoint: str) -> list[str]:
    return [endpoint + arm for arm in ("", *ARMS)]


def _role(deployment: str, endpoint: str) -> str:
    """Return the role of the endpoint's rows in the files of a Deployment; empty if no other endpoint has such files.

    Deployments of two endpoints have one name if one endpoint is named like the challenger or shadow of the other.
    """
    if not deployment.endswith(ARMS):
        return ""
    return "champion" if deployment == endpoint else deployment.removeprefix(f"{endpoint}-")


def tables(
    store: Store, found: Sequence[LogFile], columns: Columns, unreadable: Unreadable
) -> Iterator[tuple[LogFile, Table]]:
    """Yield each file with its table. Few files are in memory at a time.

    Files that are not whole are added to `unreadable`. A file that the store's retention deletes meanwhile is left out.

    Raises:
        LogError: the store cannot be read.
        StoreError: the store did not respond.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        remaining = iter(found)

        def ahead(count: int) -> list[tuple[LogFile, Future[Table]]]:
            return [(file, pool.submit(_read, store, file, columns)) for file in islice(remaining, count)]

        waiting = ahead(2 * AT_ONCE)
        while waiting:
            file, future = waiting.pop(0)
            waiting += ahead(1)
            try:
                yield file, future.result()
            except FileNotFoundError:
                continue
            except pa.ArrowException as error:
                unreadable.keys.append(f"{file.key}: {' '.join(str(error).split())[:200]}")


def _versions(store: Store, part: Part) -> Iterator[tuple[int, str]]:
    """Yield the versions of the model with their folders."""
    for root in store.roots:
        top = f"{root}model={part.model}/"
        numbers = [name.removeprefix("version=") for name in store.folders(top)]
        for number in sorted(int(one) for one in numbers if one.isdecimal()):
            if part.version in {None, number}:
                yield number, f"{top}version={number}/"
        if numbers:
            return


def _read(store: Store, file: LogFile, columns: Columns) -> Table:
    def is_read(name: str) -> bool:
        return columns(name) or bool(file.role and name == "role")

    opened = parquet.ParquetFile(io.BytesIO(store.read(file.key)))
    table = opened.read(columns=[name for name in opened.schema_arrow.names if is_read(name)], use_threads=False)
    for name, value in LACKING.items():
        if is_read(name):
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(len(table), pa.string()))
            if value:
                filled = pc.fill_null(table[name], value)
                table = table.set_column(table.column_names.index(name), name, filled)
    if file.role:
        table = table.filter(pc.equal(table["role"], file.role))
    return table.select([name for name in table.column_names if columns(name)])
