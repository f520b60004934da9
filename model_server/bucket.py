"""S3 client for the model server's containers."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Protocol, cast


class _Paginator(Protocol):
    def paginate(self, **which: str) -> Iterable[Mapping[str, Any]]: ...


class Client(Protocol):
    """The methods of boto3's S3 client that this package uses. boto3 has no type annotations."""

    def get_paginator(self, operation_name: str) -> _Paginator:
        """Return a paginator for an operation that returns its result in pages."""
        ...

    def download_file(self, bucket: str, key: str, filename: str) -> None:
        """Download the object to the file."""
        ...

    def head_object(self, **which: str) -> Mapping[str, Any]:
        """Return the metadata of an object."""
        ...

    def put_object(self, **what: object) -> object:
        """Upload the body under the key."""
        ...


def client() -> Client:
    """Return an S3 client that tries each request once; the callers retry, and log each retry.

    boto3 is imported here, because it costs memory and time that a process without S3 access does not need.
    """
    config = import_module("botocore.config").Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"total_max_attempts": 1},
        request_checksum_calculation="when_required",
    )
    return cast("Any", import_module("boto3")).client("s3", config=config)


def errors() -> tuple[type[Exception], ...]:
    """Return the exception types that a client raises when a request fails."""
    theirs = import_module("botocore.exceptions")
    return (theirs.BotoCoreError, theirs.ClientError, import_module("boto3.exceptions").Boto3Error, OSError)
