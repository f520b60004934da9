"""Files of an artifact store: the bucket of a stack, or a folder of this machine with the same layout."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, cast

import boto3

from contract import locations
from contract.locations import LocationError, S3Object
from training.data.source import S3_CONFIG
from training.ending import BadInputError


class Store(Protocol):
    """Files by key; keys have slashes."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with the prefix, in order."""
        ...

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below the prefix, which ends with a slash."""
        ...

    def read(self, key: str) -> bytes:
        """Return the content of a file."""
        ...

    def write(self, key: str, content: bytes) -> None:
        """Write a file; readers see the old content or the new one, never a part."""
        ...


class Folder:
    """Store in a folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with the prefix, in order."""
        top = self._path / prefix.rpartition("/")[0]
        found = (file.relative_to(self._path).as_posix() for file in top.rglob("*") if file.is_file())
        yield from sorted(key for key in found if key.startswith(prefix) and not key.endswith(".part"))

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below the prefix, which ends with a slash."""
        top = self._path / prefix
        return sorted(one.name for one in top.iterdir() if one.is_dir()) if top.is_dir() else []

    def read(self, key: str) -> bytes:
        """Return the content of a file."""
        return (self._path / key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        """Write a file; readers see the old content or the new one, never a part."""
        file = self._path / key
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.part")
        part.write_bytes(content)
        part.replace(file)


class _Body(Protocol):
    def read(self) -> bytes: ...


class _Paginator(Protocol):
    def paginate(self, **which: str) -> Iterator[Mapping[str, Any]]: ...


class _S3(Protocol):
    """Typed part of boto3's client."""

    def get_paginator(self, operation_name: str) -> _Paginator: ...
    def get_object(self, **which: str) -> Mapping[str, Any]: ...
    def put_object(self, **what: object) -> object: ...


class _Boto3(Protocol):
    def client(self, service: str, *, config: object) -> _S3: ...


class Bucket:
    """Store in a bucket with an S3 API, below a prefix."""

    def __init__(self, name: str, prefix: str = "") -> None:
        self._name, self._prefix = name, prefix
        self._client = cast("_Boto3", boto3).client("s3", config=S3_CONFIG)

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with the prefix, in order."""
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._name, Prefix=self._prefix + prefix):
            for one in page.get("Contents", ()):
                yield one["Key"].removeprefix(self._prefix)

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below the prefix, which ends with a slash."""
        whole = self._prefix + prefix
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=whole, Delimiter="/")
        return [
            one["Prefix"].removeprefix(whole).rstrip("/") for page in pages for one in page.get("CommonPrefixes", ())
        ]

    def read(self, key: str) -> bytes:
        """Return the content of a file."""
        body: _Body | IO[bytes] = self._client.get_object(Bucket=self._name, Key=self._prefix + key)["Body"]
        return body.read()

    def write(self, key: str, content: bytes) -> None:
        """Write a file; readers see the old content or the new one, never a part."""
        self._client.put_object(Bucket=self._name, Key=self._prefix + key, Body=content)


def at(uri: str) -> Store:
    """Return the store at `s3://BUCKET`, `s3://BUCKET/PREFIX`, `file:///PATH` or a path.

    Raises:
        BadInputError: the address is not valid, or the folder does not exist.
    """
    try:
        # The parser wants a key; a bucket alone is the whole store.
        where = locations.parse(uri if not uri.startswith("s3://") else f"{uri.rstrip('/')}/.")
    except LocationError as error:
        raise BadInputError(f"{uri} is not the address of a store: {error}") from error
    if isinstance(where, S3Object):
        return Bucket(where.bucket, where.key.removesuffix("."))
    if not where.is_dir():
        raise BadInputError(f"{uri} is not a folder of this machine; write s3://BUCKET, or the path of a folder")
    return Folder(where)
