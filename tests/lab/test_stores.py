"""Environment that `lab env --stores` prints."""

import json
from pathlib import Path

import pytest

from lab import paths, stores
from lab.errors import LabError
from lab.stack import SECRETS
from tests.deployed import environment, local


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))


def test_a_program_here_gets_the_environment_of_a_run_in_the_cluster() -> None:
    paths.open_ports().write_text(json.dumps({"mlflow": 5001, "s3": 7071, "churn-predictor": 8080}))
    paths.secrets().write_text(json.dumps({name: f"the {name}" for name in SECRETS}))
    told = stores.environment()
    (run,) = local().one(":Job", "churn").spec["template"]["spec"]["containers"]
    own = {name: value for name, value in environment(run).items() if name.startswith(("AWS_", "MLFLOW_"))}
    keys = local().one(":Secret", "training-artifact-store").inputs["stringData"]
    assert told.keys() == (own.keys() - {"MLFLOW_DISABLE_TELEMETRY"}) | keys.keys()
    assert told["AWS_REGION"] == own["AWS_REGION"]
    assert told["AWS_ENDPOINT_URL_S3"] == told["MLFLOW_S3_ENDPOINT_URL"] == "http://localhost:7071"
    assert told["MLFLOW_TRACKING_URI"] == "http://localhost:5001"
    assert told["AWS_ACCESS_KEY_ID"] == "the artifact_store_access_key"
    assert told["AWS_SECRET_ACCESS_KEY"] == "the artifact_store_secret_key"


def test_a_lab_that_is_down_says_how_to_start_it() -> None:
    with pytest.raises(LabError, match="start it with: lab up"):
        stores.environment()
