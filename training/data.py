"""Reads a table from S3 or a file and makes sure it is the one a model was declared for."""

import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any, Protocol, TypedDict, cast
from urllib.parse import unquote, urlsplit

import boto3
import pandas as pd
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from training.project import Column, Project, Target

# Some exports, the original of the Telco table among them, write a missing number as a blank.
BLANKS = ["", " "]
S3_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 5})


class DataError(Exception):
    """The dataset cannot be learnt from, and will not be better at the next try."""


class StoreError(Exception):
    """The store of the dataset did not answer; the next try may succeed."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A checked table: the declared columns and the target, in that order, and what it was read from."""

    uri: str
    digest: str
    """SHA-256 of the bytes, in hexadecimal."""
    table: pd.DataFrame
    ignored: tuple[str, ...]
    """Columns of the file that the model does not use."""


def load(uri: str, project: Project[Any]) -> Dataset:
    """The checked table at the URI.

    Raises:
        DataError: it is not there, not readable, or not the declared table.
        StoreError: S3 did not answer.
    """
    columns, target = project.columns, project.target
    content = read(uri)
    table = _parse(content, uri)
    names = [column.name for column in columns] + [target.name]
    _check_names(table, names, uri)
    for column in columns:
        table[column.name] = _typed(table[column.name], column, uri)
    _check_target(table[target.name], target, uri)
    return Dataset(
        uri=uri,
        digest=hashlib.sha256(content).hexdigest(),
        table=table[names],
        ignored=tuple(str(name) for name in table.columns if name not in names),
    )


def read(uri: str) -> bytes:
    """The bytes at `s3://BUCKET/KEY`, `file:///PATH` or a path."""
    parts = urlsplit(uri)
    match parts.scheme:
        case "s3":
            return _read_s3(uri, parts.netloc, parts.path.removeprefix("/"))
        case "file":
            return _read_file(uri, Path(unquote(parts.path)))
        case "":
            return _read_file(uri, Path(uri))
        case scheme:
            raise DataError(
                f"{uri} cannot be read: {scheme}:// is not known; give s3://BUCKET/KEY, file:///PATH or a path"
            )


class _Answer(TypedDict):
    Body: IO[bytes]


class _S3(Protocol):
    def get_object(self, **where: str) -> _Answer: ...


class _Boto3(Protocol):
    """boto3 carries no types; this is all of it that is used here."""

    def client(self, service: str, *, config: Config) -> _S3: ...


def _read_s3(uri: str, bucket: str, key: str) -> bytes:
    if not bucket or not key:
        raise DataError(f"{uri} cannot be read: bucket or key is missing; write s3://BUCKET/KEY")
    try:
        return cast("_Boto3", boto3).client("s3", config=S3_CONFIG).get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        raise _refusal(uri, error) from error
    except NoCredentialsError as error:
        raise DataError(
            f"{uri} cannot be read: no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or give the pod a role"
        ) from error
    except BotoCoreError as error:
        raise StoreError(f"{uri} cannot be read: {error}; check AWS_ENDPOINT_URL_S3 and start the job again") from error


S3_WAYS_OUT = {
    "NoSuchKey": "no such key; check the key, or put the file there",
    "NoSuchBucket": "no such bucket; check the bucket's name and AWS_ENDPOINT_URL_S3",
    "AccessDenied": "access denied; give the job's service account, or its access key, leave to read it",
    "InvalidAccessKeyId": "S3 does not know this access key; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
}


def _refusal(uri: str, error: ClientError) -> DataError | StoreError:
    answer = cast("dict[str, dict[str, str]]", error.response)["Error"]
    code = answer.get("Code", "")
    if code in S3_WAYS_OUT:
        return DataError(f"{uri} cannot be read: {S3_WAYS_OUT[code]}")
    return StoreError(f"{uri} cannot be read: S3 answered {code} {answer.get('Message', '')}; start the job again")


def _read_file(uri: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{uri} cannot be read: {error.strerror}; check the path (s3://BUCKET/KEY works too)"
        ) from error


def _parse(content: bytes, uri: str) -> pd.DataFrame:
    if not content.strip():
        raise DataError(f"{uri} is empty; give a CSV with a header line and rows")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{uri} is not UTF-8: byte 0x{content[error.start]:02x} in line {line}; save the file as UTF-8"
        ) from error
    try:
        with warnings.catch_warnings():
            # A row longer than the header is only a warning to pandas, which then drops what is over.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(io.StringIO(text), index_col=False, na_values=BLANKS, low_memory=False)
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(
            f"{uri} is not a CSV: {str(error).strip()}; every line needs the header's number of fields"
        ) from error
    if table.empty:
        raise DataError(f"{uri} has a header and no rows; give a table with rows")
    return table


def _check_names(table: pd.DataFrame, names: Sequence[str], uri: str) -> None:
    present = [str(name) for name in table.columns]
    missing = [name for name in names if name not in present]
    if not missing:
        return
    hints = [
        f"is {near[0]} meant as {name}?"
        for name in missing
        if (near := get_close_matches(name, set(present) - set(names), 1))
    ]
    raise DataError(
        f"{uri} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}, which the model needs; "
        f"it has {', '.join(present)}; {' '.join(hints) or 'add what is missing, or give another table'}"
    )


def _typed(values: pd.Series, column: Column, uri: str) -> pd.Series:
    """The values as int64, float64 or text."""
    if values.isna().all():
        raise DataError(f"{uri}: the column {column.name} has no value in any row; fill it, or give another table")
    if column.kind == "category":
        return values.astype(object).where(values.isna(), values.astype(str))
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    _refuse_where(numbers.isna() & values.notna(), values, column, "where a number must stand", uri)
    if column.kind == "number":
        return numbers
    _refuse_where(numbers.isna(), values, column, "where a whole number must stand", uri)
    _refuse_where(numbers % 1 != 0, values, column, "where a whole number must stand", uri)
    return numbers.astype("int64")


def _refuse_where(wrong: pd.Series, values: pd.Series, column: Column, rule: str, uri: str) -> None:
    if not wrong.any():
        return
    row = int(wrong.to_numpy().argmax())
    value = values.iloc[row]
    shown = "nothing" if pd.isna(value) else f"'{value}'"
    raise DataError(
        f"{uri}: the column {column.name} holds {shown} {rule}, in row {row + 1} of {len(values)} "
        f"({int(wrong.sum())} such rows); correct the file"
    )


def _check_target(labels: pd.Series, target: Target, uri: str) -> None:
    counts = labels.value_counts(dropna=False)
    strange = [str(label) for label in counts.index if label not in target.labels]
    if strange:
        raise DataError(
            f"{uri}: the column {target.name} holds {', '.join(strange[:5])}, and may hold only "
            f"{' or '.join(target.labels)}; correct the file"
        )
    absent = [label for label in target.labels if label not in counts.index]
    if absent:
        raise DataError(
            f"{uri}: the column {target.name} never says {absent[0]}; give rows of both labels, or a model has nothing "
            "to tell apart"
        )
