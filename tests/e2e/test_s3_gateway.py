"""S3 gateway as its image starts it, with the accounts and the policy that the program gives it."""

import os
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from lab import paths
from tests.deployed import environment, local
from tests.mlflow_server import Server
from tests.registry import write_sample
from training.registry import client as versions

from .conftest import ROOT, wait_for

BUCKET = "mlops-artifacts"
MODEL, DATASET, LOG, REPORT = "mlflow/1/model", "datasets/a.csv", "predictions/a.parquet", "validations/1/report.json"
READS = {MODEL, DATASET}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Start the gateway, with one object in each folder."""
    folder = tmp_path_factory.mktemp("gateway")
    (container,) = local().one(":StatefulSet", "s3").spec["template"]["spec"]["containers"]
    (secret,) = [each for each in local().all(":Secret") if "accounts" in each.inputs["stringData"]]
    given = {
        name: value if isinstance(value, str) else secret.inputs["stringData"][value["secretKeyRef"]["key"]]
        for name, value in environment(container).items()
    }
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    own = {
        "DATA_DIR": str(folder / "data"),
        "HOME": str(folder),
        "PATH": f"{paths.binaries()}:{os.environ['PATH']}",
        "PORT": str(port),
        "TMPDIR": str(folder),
    }
    with (folder / "log").open("w") as log:
        gateway = subprocess.Popen(
            [ROOT / "images" / "s3-gateway" / "entrypoint"], env=given | own, stdout=log, stderr=subprocess.STDOUT
        )
    place = f"http://127.0.0.1:{port}"
    try:
        wait_for("the gateway", lambda: gateway.poll() is None and is_up(f"{place}/health"), seconds=30)
        owner = client(place, keys("training"))
        for key in (*READS, LOG, REPORT):
            owner.put_object(Bucket=BUCKET, Key=key, Body=b"1")
        yield place
    finally:
        gateway.terminate()
        gateway.wait()


def is_up(place: str) -> bool:
    try:
        return httpx.get(place).is_success
    except httpx.TransportError:
        return False


def keys(workload: str) -> Mapping[str, str]:
    (secret,) = [each for each in local().all(":Secret") if each.name == f"{workload}-artifact-store"]
    return secret.inputs["stringData"]


def client(place: str, given: Mapping[str, str]) -> Any:
    return cast("Any", boto3).client(
        "s3",
        endpoint_url=place,
        region_name="us-east-1",
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
    )


@pytest.mark.parametrize("key", [MODEL, DATASET, LOG, REPORT])
def test_a_validation_reads_models_and_datasets_and_writes_reports_and_nothing_else(url: str, key: str) -> None:
    validation = client(url, keys("validation"))
    calls = {
        "read": lambda: validation.get_object(Bucket=BUCKET, Key=key),
        "write": lambda: validation.put_object(Bucket=BUCKET, Key=key, Body=b"2"),
        "delete": lambda: validation.delete_object(Bucket=BUCKET, Key=key),
    }
    allowed = set[str]()
    for name, call in calls.items():
        try:
            call()
            allowed.add(name)
        except ClientError as refused:
            if refused.response["Error"]["Code"] != "AccessDenied":
                raise
    expected = {REPORT: {"read", "write"}, LOG: set[str]()}
    assert allowed == expected.get(key, {"read"})


def test_a_validation_judges_a_version_with_these_keys_and_mlflow_shows_its_report(url: str, tmp_path: Path) -> None:
    write_sample(tmp_path / "churn.csv", 2000)
    client(url, keys("training")).upload_file(str(tmp_path / "churn.csv"), BUCKET, "datasets/churn.csv")
    place = {"AWS_ENDPOINT_URL_S3": url, "AWS_REGION": "us-east-1", "MLFLOW_S3_ENDPOINT_URL": url}
    server = Server(tmp_path, f"s3://{BUCKET}/mlflow", {**place, **keys("tracking")})
    server.start()
    try:
        common = {**os.environ, **place, "MLFLOW_TRACKING_URI": server.uri, "WORK_FOLDER": str(tmp_path / "work")}
        run = {
            "DATASET": f"s3://{BUCKET}/datasets/churn.csv",
            "MODEL": "churn-predictor",
            "PARAMETERS": '{"n_estimators": 5, "max_depth": 5}',
            "PROJECT": "churn",
        }
        started("training.train", env={**common, **run, **keys("training")})
        reports = {"VALIDATION": '{"latency_ms": 10000}', "VALIDATION_REPORTS": f"s3://{BUCKET}/validations"}
        started("training.validate", "churn-predictor", env={**common, **reports, **keys("validation")})
        tags = versions.version(versions.connect(server.uri), "churn-predictor", 1).tags
        assert tags["validation_status"] == "passed"
        asked = {"run_id": tags["validation_run"], "path": "report.json"}
        assert httpx.get(f"{server.uri}/get-artifact", params=asked).json()["status"] == "passed"
    finally:
        server.kill()


def started(module: str, *arguments: str, env: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, env=env, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_validation_lists_a_model_and_cannot_change_the_policy(url: str) -> None:
    validation = client(url, keys("validation"))
    listed = validation.list_objects_v2(Bucket=BUCKET, Prefix="mlflow/")["Contents"]
    assert MODEL in [each["Key"] for each in listed]
    with pytest.raises(ClientError, match="AccessDenied"):
        validation.put_bucket_policy(Bucket=BUCKET, Policy='{"Version": "2012-10-17", "Statement": []}')


def test_its_key_is_not_the_owners_and_does_not_open_the_owners_account(url: str) -> None:
    own, owners = keys("validation"), keys("training")
    assert own["AWS_SECRET_ACCESS_KEY"] != owners["AWS_SECRET_ACCESS_KEY"]
    mixed = {"AWS_ACCESS_KEY_ID": owners["AWS_ACCESS_KEY_ID"], "AWS_SECRET_ACCESS_KEY": own["AWS_SECRET_ACCESS_KEY"]}
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client(url, mixed).get_object(Bucket=BUCKET, Key=MODEL)
