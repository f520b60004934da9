"""Opens the file at a URI as a stream that computes the file's digest while it is read."""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol, TypedDict, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

from contract import locations
from contract.locations import LocationError, S3Object

S3_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 5})
S3_FAULTS = {
    "NoSuchKey": "the bucket has no such key; correct the key, or upload the file",
    "NoSuchBucket": "there is no such bucket; correct the bucket's name or AWS_ENDPOINT_URL_S3",
    "AccessDenied": "access is denied; allow the job's service account, or its access key, to read it",
    "InvalidAccessKeyId": "S3 does not know this access key; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
}
BLOCK = 1 << 21
"""Bytes that are read at a time."""


class DataError(Exception):
    """The dataset cannot be used; another try would fail in the same way."""


class StoreError(Exception):
    """The store of the dataset did not respond; another try may succeed."""


class Stream:
    """Reads a source once, from its beginning, and computes the digest of all bytes read."""

    closed = False

    def __init__(self, source: IO[bytes]) -> None:
        self.source = source
        self._hash = hashlib.sha256()
        self._ahead = b""

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer only at the end."""
        parts, self._ahead = [self._ahead[:size]], self._ahead[size:]
        left = size - len(parts[0])
        while left and (part := self.source.read(left)):
            self._hash.update(part)
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def peek(self, size: int) -> bytes:
        """Return the bytes that `read` returns next, without consuming them."""
        self._ahead = self.read(size)
        return self._ahead

    def copy_to(self, file: IO[bytes]) -> None:
        """Copy the remaining bytes to the file."""
        while part := self.read(BLOCK):
            file.write(part)

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes read so far, in hexadecimal."""
        return self._hash.hexdigest()


@contextmanager
def stream(uri: str) -> Generator[Stream]:
    """Open the file at `s3://BUCKET/KEY`, `file:///PATH` or a path.

    Raises:
        DataError: the file does not exist or may not be read.
        StoreError: S3 did not respond, or the connection broke.
    """
    try:
        where = locations.parse(uri)
    except LocationError as error:
        raise DataError(f"{uri} cannot be read: {error}") from error
    yield from _s3(uri, where) if isinstance(where, S3Object) else _file(uri, where)


class _Response(TypedDict):
    Body: IO[bytes]


class _S3(Protocol):
    def get_object(self, **where: str) -> _Response: ...


class _Boto3(Protocol):
    """Typed part of boto3, which has no types of its own."""

    def client(self, service: str, *, config: Config) -> _S3: ...


def _s3(uri: str, where: S3Object) -> Iterator[Stream]:
    try:
        response = cast("_Boto3", boto3).client("s3", config=S3_CONFIG).get_object(Bucket=where.bucket, Key=where.key)
        yield Stream(response["Body"])
    except ClientError as error:
        raise _refusal(uri, error) from error
    except NoCredentialsError as error:
        raise DataError(
            f"{uri} cannot be read: there are no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or give the pod a role"
        ) from error
    except ParamValidationError as error:
        raise DataError(f"{uri} cannot be read: {' '.join(str(error).split())}; write s3://BUCKET/KEY") from error
    except BotoCoreError as error:
        raise StoreError(f"{uri} cannot be read: {error}; check AWS_ENDPOINT_URL_S3 and start the job again") from error


def _refusal(uri: str, error: ClientError) -> DataError | StoreError:
    fault = cast("dict[str, dict[str, str]]", error.response)["Error"]
    code = fault.get("Code", "")
    if code in S3_FAULTS:
        return DataError(f"{uri} cannot be read: {S3_FAULTS[code]}")
    return StoreError(f"{uri} cannot be read: S3 responded {code} {fault.get('Message', '')}; start the job again")


def _file(uri: str, path: Path) -> Iterator[Stream]:
    try:
        file = path.open("rb", buffering=0)
    except (OSError, ValueError) as error:
        fault = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{uri} cannot be read: {fault}; correct the path, or write s3://BUCKET/KEY") from error
    with file:
        yield Stream(file)
