"""Reads the files of a prediction log in the order of their hours, from a folder or from a prefix of an S3 bucket."""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from contract import locations

# pyarrow has no type annotations.
pa, pc, parquet = (cast("Any", import_module(name)) for name in ("pyarrow", "pyarrow.compute", "pyarrow.parquet"))
Table: TypeAlias = Any
"""Table of pyarrow."""
Column: TypeAlias = Any
"""Column of a table of pyarrow."""
KEY = re.compile(
    r"(?:^|/)model=(?P<model>[^/]+)/version=(?P<version>\d+)/date=(?P<date>[\d-]{10})/hour=(?P<hour>\d\d)/"
)
AHEAD = 8
"""Number of files that are read at the same time."""
LACKING = {"role": "champion", "experiment": None, "unit": None}
"""Columns that files of former releases lack, and the values of their rows."""
S3 = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 5})


class LogError(Exception):
    """The log or the outcomes cannot be read; another try fails in the same way."""


class StoreError(Exception):
    """The store did not respond; another try may succeed."""


class _Paginator(Protocol):
    def paginate(self, **which: str) -> Iterable[Mapping[str, Any]]: ...


class _Client(Protocol):
    """Typed part of boto3's client."""

    def get_paginator(self, operation_name: str) -> _Paginator: ...
    def get_object(self, **which: str) -> Mapping[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class LogFile:
    """One file of the log."""

    name: str
    """Path or key of the file."""
    version: int
    """Version of the model that made the predictions."""
    hour: datetime
    """UTC hour of the predictions."""
    read: Callable[[], bytes]
    """Function that returns the content."""


def files(uri: str, model: str, since: datetime, until: datetime) -> list[LogFile]:
    """Return the files with predictions of the model from `since` to `until`, ordered by their hours.

    Args:
        uri: folder, or `s3://BUCKET/PREFIX`, that holds the folders `model=...`.
        model: name of the registered model.
        since: start of the period.
        until: end of the period.

    Raises:
        LogError: there is no such log, or it has no such file.
        StoreError: the store did not respond.
    """
    found: list[LogFile] = []
    for name, read in _listed(uri, model):
        match = KEY.search(name)
        if not match or match["model"] != model or not name.endswith(".parquet"):
            continue
        hour = datetime.fromisoformat(f"{match['date']}T{match['hour']}:00:00+00:00")
        if since - timedelta(hours=1) < hour <= until:
            found.append(LogFile(name=name, version=int(match["version"]), hour=hour, read=read))
    if not found:
        raise LogError(
            f"{uri} has no predictions of {model} from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC; check the "
            "name, --log and --since, and that the endpoint has a `prediction_log`"
        )
    return sorted(found, key=lambda file: (file.hour, file.name))


def tables(found: Sequence[LogFile]) -> Iterator[tuple[LogFile, Table | None]]:
    """Yield each file with its table, or with None if it is not Parquet. Few files are in memory at a time.

    Raises:
        StoreError: the store did not respond.
    """
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting = iter(found)
        ahead = [(file, pool.submit(_table, file)) for file in islice(waiting, AHEAD)]
        while ahead:
            file, future = ahead.pop(0)
            ahead += [(file, pool.submit(_table, file)) for file in islice(waiting, 1)]
            yield file, future.result()


def contents(uri: str) -> list[tuple[str, bytes]]:
    """Return name and content of the file at the URI, or of all files in it if it is a folder or ends in a slash.

    Raises:
        LogError: there is no such file.
        StoreError: the store did not respond.
    """
    if uri.startswith("s3://") and uri.endswith("/"):
        return [(name, read()) for name, read in _objects(uri) if not name.endswith("/")]
    try:
        where = locations.parse(uri)
        if isinstance(where, Path):
            found = sorted(path for path in where.rglob("*") if path.is_file()) if where.is_dir() else [where]
            return [(str(file), file.read_bytes()) for file in found]
    except (locations.LocationError, OSError) as error:
        raise LogError(f"{uri} cannot be read: {error}") from error
    return [(uri, _get(_client(), where.bucket, where.key))]


def _table(file: LogFile) -> Table | None:
    try:
        table = parquet.read_table(io.BytesIO(file.read()))
    except pa.ArrowException:
        return None
    for name, value in LACKING.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), pa.string()))
        if value:
            filled = pc.fill_null(table[name], value)
            table = table.set_column(table.column_names.index(name), name, filled)
    return table


def _listed(uri: str, model: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if not uri.startswith("s3://"):
        try:
            folder = locations.parse(uri)
        except locations.LocationError as error:
            raise LogError(f"{uri} cannot be read: {error}") from error
        if not isinstance(folder, Path) or not folder.is_dir():
            raise LogError(f"{uri} is not a folder; write the folder that holds model=..., or s3://BUCKET/predictions")
        for path in folder.glob(f"model={model}/**/*.parquet"):
            yield path.as_posix(), path.read_bytes
        return
    yield from _objects(f"{uri.rstrip('/')}/model={model}/")


def _objects(uri: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    client = _client()
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                yield entry["Key"], partial(_get, client, bucket, entry["Key"])
    except (ClientError, BotoCoreError) as error:
        raise _failure(uri, error) from error


def _client() -> _Client:
    return cast("Any", boto3).client("s3", config=S3)


def _get(client: _Client, bucket: str, key: str) -> bytes:
    try:
        return client.get_object(Bucket=bucket, Key=key)["Body"].read()
    except (ClientError, BotoCoreError) as error:
        raise _failure(f"s3://{bucket}/{key}", error) from error


def _failure(uri: str, error: ClientError | BotoCoreError) -> LogError | StoreError:
    reason = " ".join(str(error).split())
    known = (
        cast("dict[str, dict[str, str]]", cast("Any", error).response)["Error"]
        if isinstance(error, ClientError)
        else {}
    )
    if known.get("Code") in {"NoSuchBucket", "NoSuchKey", "AccessDenied", "InvalidAccessKeyId", "404", "403"}:
        return LogError(f"{uri} cannot be read ({reason}); correct the address, or use credentials that may read it")
    return StoreError(f"{uri} cannot be read now ({reason}); check the network and AWS_ENDPOINT_URL_S3, and try again")


def utc(text: str) -> datetime:
    """Return the time in ISO 8601; without a zone it is UTC. ValueError if it is none."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
