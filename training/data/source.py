"""The bytes at a URI, as a stream that is hashed while it is read."""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol, TypedDict, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

from training.data import locations
from training.data.locations import LocationError, S3Object

S3_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 5})
S3_WAYS_OUT = {
    "NoSuchKey": "no such key; check the key, or put the file there",
    "NoSuchBucket": "no such bucket; check the bucket's name and AWS_ENDPOINT_URL_S3",
    "AccessDenied": "access denied; give the job's service account, or its access key, leave to read it",
    "InvalidAccessKeyId": "S3 does not know this access key; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
}
BLOCK = 1 << 21


class DataError(Exception):
    """The dataset cannot be learnt from, and will not be better at the next try."""


class StoreError(Exception):
    """The store of the dataset did not answer; the next try may succeed."""


class Stream:
    """What a source holds, read once from its beginning; `digest` is of all that was read."""

    closed = False

    def __init__(self, source: IO[bytes]) -> None:
        self.source = source
        self._hash = hashlib.sha256()
        self._ahead = b""

    def read(self, size: int) -> bytes:
        """The next bytes: less than `size` only at the end."""
        parts, self._ahead = [self._ahead[:size]], self._ahead[size:]
        left = size - len(parts[0])
        while left and (part := self.source.read(left)):
            self._hash.update(part)
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def peek(self, size: int) -> bytes:
        """What `read` gives next, without taking it."""
        self._ahead = self.read(size)
        return self._ahead

    def copy_to(self, file: IO[bytes]) -> None:
        """All that is left is in the file."""
        while part := self.read(BLOCK):
            file.write(part)

    @property
    def digest(self) -> str:
        """SHA-256 of what was read so far, in hexadecimal."""
        return self._hash.hexdigest()


@contextmanager
def stream(uri: str) -> Generator[Stream]:
    """The bytes at `s3://BUCKET/KEY`, `file:///PATH` or a path.

    Raises:
        DataError: there is nothing to read there, or no leave to.
        StoreError: S3 did not answer, or ceased to.
    """
    try:
        where = locations.parse(uri)
    except LocationError as error:
        raise DataError(f"{uri} cannot be read: {error}") from error
    yield from _s3(uri, where) if isinstance(where, S3Object) else _file(uri, where)


class _Answer(TypedDict):
    Body: IO[bytes]


class _S3(Protocol):
    def get_object(self, **where: str) -> _Answer: ...


class _Boto3(Protocol):
    """boto3 carries no types; this is all of it that is used here."""

    def client(self, service: str, *, config: Config) -> _S3: ...


def _s3(uri: str, where: S3Object) -> Iterator[Stream]:
    try:
        answer = cast("_Boto3", boto3).client("s3", config=S3_CONFIG).get_object(Bucket=where.bucket, Key=where.key)
        yield Stream(answer["Body"])
    except ClientError as error:
        raise _refusal(uri, error) from error
    except NoCredentialsError as error:
        raise DataError(
            f"{uri} cannot be read: no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or give the pod a role"
        ) from error
    except ParamValidationError as error:
        raise DataError(f"{uri} cannot be read: {' '.join(str(error).split())}; write s3://BUCKET/KEY") from error
    except BotoCoreError as error:
        raise StoreError(f"{uri} cannot be read: {error}; check AWS_ENDPOINT_URL_S3 and start the job again") from error


def _refusal(uri: str, error: ClientError) -> DataError | StoreError:
    answer = cast("dict[str, dict[str, str]]", error.response)["Error"]
    code = answer.get("Code", "")
    if code in S3_WAYS_OUT:
        return DataError(f"{uri} cannot be read: {S3_WAYS_OUT[code]}")
    return StoreError(f"{uri} cannot be read: S3 answered {code} {answer.get('Message', '')}; start the job again")


def _file(uri: str, path: Path) -> Iterator[Stream]:
    try:
        file = path.open("rb", buffering=0)
    except (OSError, ValueError) as error:
        fault = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{uri} cannot be read: {fault}; check the path (s3://BUCKET/KEY works too)") from error
    with file:
        yield Stream(file)
