"""What the served model said is found in the bucket, once, though pods leave and the store stops."""

import io
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast
from uuid import uuid4

import boto3
import httpx
import pandas as pd
import pytest
from botocore.config import Config

from lab import dataset
from tests.e2e.conftest import ENDPOINT, Platform, pods, wait_for

pytestmark = pytest.mark.e2e

CUSTOMERS = dataset.customers(3)
BUCKET = "mlops-artifacts"
OUTAGE_SECONDS = 60


class _Body(Protocol):
    def read(self) -> bytes: ...


class _Client(Protocol):
    """boto3 carries no types; this is all of it that is used here."""

    def list_objects_v2(self, **which: str) -> Mapping[str, Any]: ...
    def get_object(self, **which: str) -> Mapping[str, _Body]: ...


@pytest.fixture(scope="module")
def logged(platform: Platform) -> Iterator[Platform]:
    """The platform with two pods that log every request."""
    platform.lab("up", timeout=3000)
    with platform.config_restored():
        endpoint = f"endpoints.{ENDPOINT}"
        replicas = {f"{endpoint}.replicas.min": 2, f"{endpoint}.replicas.max": 2}
        platform.set({f"{endpoint}.prediction_log.sample": 1, **replicas})
        platform.up()
        yield platform
    platform.up()


@pytest.fixture(scope="module")
def store(logged: Platform) -> _Client:
    gateway = logged.get("service", "s3", "-n", "mlops-platform")["spec"]
    access, secret = (
        logged.pulumi("config", "get", f"mlops:artifact_store_{name}_key").stdout.strip()
        for name in ("access", "secret")
    )
    return cast("Any", boto3).client(
        "s3",
        endpoint_url=f"http://{gateway['clusterIP']}:{gateway['ports'][0]['port']}",
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )


def ask(platform: Platform, requests: int) -> dict[str, list[Any]]:
    """What was predicted, by the request's name."""
    url, said = f"{platform.endpoint_url()}/invocations", dict[str, list[Any]]()
    for number in range(requests):
        name, rows = f"{uuid4()}", CUSTOMERS[: 1 + number % len(CUSTOMERS)]
        answer = httpx.post(url, json={"dataframe_records": rows}, headers={"x-request-id": name}, timeout=30)
        answer.raise_for_status()
        said[name] = answer.json()["predictions"]
    return said


def found(store: _Client, names: Mapping[str, object]) -> dict[str, list[Any]]:
    """What the bucket holds of these requests; a request that is there twice has its predictions twice."""
    listed = store.list_objects_v2(Bucket=BUCKET, Prefix=f"predictions/model={ENDPOINT}/").get("Contents", [])
    bodies = (store.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in listed)
    tables = [pd.read_parquet(io.BytesIO(body)) for body in bodies]
    if not tables:
        return {}
    log = pd.concat(tables).sort_values(["request_id", "row"])
    ours = log[log.request_id.isin(list(names))]
    return {str(name): rows.prediction.tolist() for name, rows in ours.groupby("request_id")}


def test_pods_that_leave_ship_what_they_have(logged: Platform, store: _Client) -> None:
    said = ask(logged, 200)
    logged.kubectl("delete", "pod", "-n", "ml-serving", "-l", f"app.kubernetes.io/instance={ENDPOINT}")
    assert found(store, said) == said


def test_a_store_that_stops_for_a_minute_costs_neither_a_request_nor_a_line(logged: Platform, store: _Client) -> None:
    wait_for("two pods", lambda: len([p for p in pods(logged, "ml-serving", ENDPOINT) if ready(p)]) == 2, seconds=120)
    began = time.monotonic()
    logged.kubectl("scale", "statefulset", "s3", "-n", "mlops-platform", "--replicas=0")
    try:
        wait_for("the end of the store", lambda: not pods(logged, "mlops-platform", "s3"), seconds=60)
        said = ask(logged, 200)
        wait_for("a minute", lambda: time.monotonic() > began + OUTAGE_SECONDS, seconds=OUTAGE_SECONDS)
        said |= ask(logged, 20)
    finally:
        logged.kubectl("scale", "statefulset", "s3", "-n", "mlops-platform", "--replicas=1")
    logged.kubectl("rollout", "status", "statefulset/s3", "-n", "mlops-platform", "--timeout=120s")
    # A segment is closed after a minute, and a store that did not answer is left alone for half of one.
    wait_for("every request in the bucket", lambda: found(store, said) == said, seconds=180)


def ready(pod: Mapping[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]
