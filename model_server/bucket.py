"""The way to an S3 bucket, as everything in this room goes it."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Protocol, cast


class _Paginator(Protocol):
    def paginate(self, **which: str) -> Iterable[Mapping[str, Any]]: ...


class Client(Protocol):
    """boto3 carries no types; this is all of its client that is used here."""

    def get_paginator(self, operation_name: str) -> _Paginator:
        """Of an operation that answers in pages."""
        ...

    def download_file(self, bucket: str, key: str, filename: str) -> None:
        """The object is in the file."""
        ...

    def put_object(self, **what: object) -> object:
        """The body is in the bucket, under the key."""
        ...


def client() -> Client:
    """One that tries once: pauses between tries belong to whoever asks, with a line for each.

    Imported here: who has nothing to fetch or to ship needs neither the memory nor the time.
    """
    config = import_module("botocore.config").Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"total_max_attempts": 1},
        request_checksum_calculation="when_required",
    )
    return cast("Any", import_module("boto3")).client("s3", config=config)


def errors() -> tuple[type[Exception], ...]:
    """What a client raises when the store does not do what it was asked for."""
    theirs = import_module("botocore.exceptions")
    return (theirs.BotoCoreError, theirs.ClientError, import_module("boto3.exceptions").Boto3Error, OSError)
