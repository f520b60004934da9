"""A batch on the lab: an Indexed Job over Parquet partitions, whose pods are killed, and the endpoint's answers."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pytest

from contract import names
from lab import dataset
from tests.e2e.conftest import ENDPOINT, Platform, store_client, wait_for

pytestmark = pytest.mark.e2e
NAME, WORKERS, PARTITIONS = "customers", 2, 120
FOLDER, OUTPUT = f"datasets/batch-{NAME}", f"batch/{NAME}"
COPIES = 10
"""Number of copies of the churn table (7,043 rows) in one partition; all partitions together have 8,451,600 rows."""


@pytest.fixture
def table(platform: Platform) -> Iterator[pd.DataFrame]:
    """Customers in partitions, and a batch that predicts them when it is started by hand."""
    store = store_client()
    for key in (*keys(store, FOLDER), *keys(store, OUTPUT)):
        store.delete_object(Bucket=names.LOCAL_BUCKET, Key=key)
    customers = dataset.churn_table().drop(columns="churn")
    rows = pd.concat([customers] * COPIES, ignore_index=True)
    for number in range(PARTITIONS):
        body = io.BytesIO()
        rows.assign(customer=range(number * len(rows), (number + 1) * len(rows))).to_parquet(body, index=False)
        put = {"Bucket": names.LOCAL_BUCKET, "Key": f"{FOLDER}/part-{number:03}.parquet", "Body": body.getvalue()}
        store.put_object(**put)
    settings: Mapping[str, str | int] = {
        "model": ENDPOINT,
        "version": 1,
        "input": f"s3://{names.LOCAL_BUCKET}/{FOLDER}/*.parquet",
        "output": f"s3://{names.LOCAL_BUCKET}/{OUTPUT}",
        "workers": WORKERS,
        "cpu": "200m",
        "memory": "768Mi",
        "deadline_minutes": 10,
        "schedule": "0 0 1 1 *",
    }
    with platform.config_restored():
        platform.set({f"batch.{NAME}.{key}": value for key, value in settings.items()})
        platform.up()
        yield customers
        platform.kubectl("delete", "job", NAME, "-n", names.SERVING, "--ignore-not-found")
    platform.up()


def keys(store: Any, folder: str) -> list[str]:
    """Return the keys of the objects in a folder of the bucket."""
    found = store.list_objects_v2(Bucket=names.LOCAL_BUCKET, Prefix=f"{folder}/")
    return sorted(entry["Key"] for entry in found.get("Contents", []))


def test_a_batch_whose_pods_are_lost_predicts_each_row_once_and_as_the_endpoint_does(
    platform: Platform, table: pd.DataFrame
) -> None:
    store, space = store_client(), ("-n", names.SERVING)
    platform.kubectl("create", "job", f"--from=cronjob/{NAME}", NAME, *space)
    lost = set[str]()

    def at_work() -> set[str]:
        pods = platform.items("pods", *space, "-l", f"batch.kubernetes.io/job-name={NAME}")
        return {pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"} - lost

    for _ in range(2):
        wait_for("pods at work", at_work, seconds=120)
        before = len(keys(store, OUTPUT))
        wait_for("another result", lambda before=before: len(keys(store, OUTPUT)) > before, seconds=60)
        lost |= (found := at_work())
        platform.kubectl("delete", "pod", *found, *space, "--grace-period=0", "--force", "--wait=false")
    assert len(keys(store, OUTPUT)) < PARTITIONS, "the pods were lost before the end"
    assert len(lost) >= 3
    platform.kubectl("wait", "job", NAME, *space, "--for=condition=complete", "--timeout=300s")

    made = keys(store, OUTPUT)
    assert made == [f"{OUTPUT}/version=1/part-{number:03}.parquet" for number in range(PARTITIONS)]
    asked: list[dict[str, object]] = json.loads(table.to_json(orient="records"))
    answered = list[object]()
    for start in range(0, len(asked), 1000):
        answered += platform.predict(asked[start : start + 1000]).raise_for_status().json()["predictions"]
    rows = COPIES * len(table)
    for number, key in enumerate(made):
        body = store.get_object(Bucket=names.LOCAL_BUCKET, Key=key)["Body"].read()
        found = pd.read_parquet(io.BytesIO(body))
        assert found.customer.tolist() == [*range(number * rows, (number + 1) * rows)]
        assert found.prediction.tolist() == COPIES * answered
