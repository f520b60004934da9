"""Files of an artifact store: the bucket of a stack, or a folder of this machine with the same layout."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from contract import locations
from contract.exit_codes import ExitCode, UserError
from contract.locations import LocationError, S3Object

S3 = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 5})
GONE = {"NoSuchKey", "404"}
REFUSED = {"NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"}
"""Codes of errors that another try does not mend."""


class LogError(UserError):
    """A file of the log or the outcomes cannot be read or written; another try fails in the same way."""

    code = ExitCode.BAD_INPUT


class StoreError(UserError):
    """The store did not respond; another try may succeed."""


class Store(Protocol):
    """Files by key; keys have slashes. Each method raises LogError or StoreError."""

    uri: str
    """Address of the store, for messages."""
    roots: tuple[str, ...]
    """Prefixes below which a prediction log may lie."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with the prefix, in order."""
        ...

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below the prefix, which ends with a slash."""
        ...

    def read(self, key: str) -> bytes:
        """Return the content of a file. FileNotFoundError if there is none."""
        ...

    def write(self, key: str, content: bytes) -> None:
        """Write a file as a whole: a reader gets the old content or the new one."""
        ...


class Folder:
    """Store in a folder of this machine."""

    roots: tuple[str, ...] = ("predictions/", "")

    def __init__(self, path: Path) -> None:
        self.uri, self._path = str(path), path

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with the prefix, in order."""
        top = self._path / prefix.rpartition("/")[0]
        found = (file.relative_to(self._path).as_posix() for file in top.rglob("*") if file.is_file())
        yield from sorted(key for key in found if key.startswith(prefix))

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below the prefix, which ends with a slash."""
        top = self._path / prefix
        return sorted(one.name for one in top.iterdir() if one.is_dir()) if top.is_dir() else []

    def read(self, key: str) -> bytes:
        """Return the content of a file."""
        try:
            return (self._path / key).read_bytes()
        except (PermissionError, IsADirectoryError) as error:
            raise LogError(f"{self.uri}/{key} cannot be read: {error.strerror}; write another address") from error

    def write(self, key: str, content: bytes) -> None:
        """Write a file as a whole: a reader gets the old content or the new one."""
        file = self._path / key
        unfinished = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(content)
            unfinished.replace(file)
        except OSError as error:
            raise LogError(f"{self.uri}/{key} cannot be written: {error.strerror}; write another address") from error


class _Paginator(Protocol):
    def paginate(self, **which: str) -> Iterator[Mapping[str, Any]]: ...


class _S3(Protocol):
    """Typed part of boto3's client."""

    def get_paginator(self, operation_name: str) -> _Paginator: ...
    def get_object(self, **which: str) -> Mapping[str, Any]: ...
    def put_object(self, **what: str | bytes) -> object: ...


class Bucket:
    """Store in a bucket with an S3 API, below a prefix that is empty or ends with a slash."""

    def __init__(self, name: str, prefix: str = "") -> None:
        self.uri = f"s3://{name}/{prefix}".rstrip("/")
        # Rights may end at `predictions/`, so the top of a bucket is not listed.
        self.roots: tuple[str, ...] = ("predictions/", "") if prefix else ("predictions/",)
        self._name, self._prefix = name, prefix
        self._client: _S3 = cast("Any", boto3).client("s3", config=S3)

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with the prefix, in order."""
        for page in self._pages(prefix):
            for one in page.get("Contents", ()):
                yield one["Key"].removeprefix(self._prefix)

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below the prefix, which ends with a slash."""
        return [
            one["Prefix"].rstrip("/").rpartition("/")[2]
            for page in self._pages(prefix, Delimiter="/")
            for one in page.get("CommonPrefixes", ())
        ]

    def read(self, key: str) -> bytes:
        """Return the content of a file."""
        try:
            return self._client.get_object(Bucket=self._name, Key=self._prefix + key)["Body"].read()
        except (ClientError, BotoCoreError) as error:
            raise self._failure(key, error) from error

    def write(self, key: str, content: bytes) -> None:
        """Write a file as a whole: a reader gets the old content or the new one."""
        try:
            self._client.put_object(Bucket=self._name, Key=self._prefix + key, Body=content)
        except (ClientError, BotoCoreError) as error:
            raise self._failure(key, error, "written") from error

    def _pages(self, prefix: str, **more: str) -> Iterator[Mapping[str, Any]]:
        pages = self._client.get_paginator("list_objects_v2")
        try:
            yield from pages.paginate(Bucket=self._name, Prefix=self._prefix + prefix, **more)
        except (ClientError, BotoCoreError) as error:
            raise self._failure(prefix, error) from error

    def _failure(self, key: str, error: ClientError | BotoCoreError, done: str = "read") -> Exception:
        reason, where = " ".join(str(error).split()), f"{self.uri}/{key}"
        code = cast("Any", error).response["Error"].get("Code") if isinstance(error, ClientError) else None
        if code in GONE:
            return FileNotFoundError(f"{where} does not exist")
        if code in REFUSED:
            return LogError(f"{where} cannot be {done} ({reason}); correct the address, or use other credentials")
        return StoreError(f"{where} cannot be {done} now ({reason}); check the network and AWS_ENDPOINT_URL_S3")


def at(uri: str) -> Store:
    """Return the store at `s3://BUCKET`, `s3://BUCKET/PREFIX`, `file:///PATH` or a path.

    Raises:
        LogError: the address is not valid, or the folder does not exist.
    """
    try:
        # The parser wants a key; a bucket alone is the whole store.
        where = locations.parse(uri if not uri.startswith("s3://") else f"{uri.rstrip('/')}/.")
    except LocationError as error:
        raise LogError(f"{uri} is not the address of a store: {error}") from error
    if isinstance(where, S3Object):
        return Bucket(where.bucket, where.key.removesuffix("."))
    if not where.is_dir():
        raise LogError(f"{uri} is not a folder of this machine; write s3://BUCKET, or the path of a folder")
    return Folder(where)
