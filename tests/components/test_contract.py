"""The environment that the program gives a container is the environment that the code inside reads."""

from collections.abc import Mapping
from typing import Any

import pytest

from components.training_job import BAD_INPUT
from serving.settings import FetchSettings, ServerSettings
from tests.deployed import environment, local
from training.settings import Settings as TrainingSettings
from training.settings import SettingsError
from training.train import explain

READ_BY_LIBRARIES = {
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "MLFLOW_DISABLE_TELEMETRY",
    "MLFLOW_S3_ENDPOINT_URL",
    "MLFLOW_TRACKING_URI",
}


@pytest.fixture
def container(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """The process has the environment of the container that the test names, and nothing else of that kind."""
    kind, name, group = request.param
    spec = local().one(f":{kind}", name).spec["template"]["spec"]
    values: dict[str, Any] = environment(spec[group][0])
    for key, value in values.items():
        monkeypatch.setenv(key, value)
    return values


TRAINING = ("Job", "churn", "containers")
FETCH = ("Deployment", "churn-predictor", "initContainers")
SERVER = ("Deployment", "churn-predictor", "containers")


@pytest.mark.parametrize("container", [TRAINING], indirect=True)
def test_training_reads_what_the_job_says(container: Mapping[str, str]) -> None:
    read = TrainingSettings.load()
    assert read.dataset == "s3://mlops-artifacts/datasets/churn.csv"
    assert read.model == read.experiment == "churn-predictor"
    assert read.project == "churn"
    assert read.parameters == {"n_estimators": 100, "max_depth": 10}
    assert read.origin == {
        name: container[name.upper()]
        for name in ("project", "git_commit", "image", "stack", "pulumi_urn", "training_job", "node_pool")
    }


@pytest.mark.parametrize("container", [FETCH], indirect=True)
def test_the_init_container_fetches_what_the_endpoint_says(container: Mapping[str, str]) -> None:
    read = FetchSettings.load()
    assert (read.model, read.model_version) == ("churn-predictor", 1)
    assert read.mlflow_tracking_uri == container["MLFLOW_TRACKING_URI"]


@pytest.mark.parametrize("container", [SERVER], indirect=True)
def test_the_server_serves_what_was_fetched(container: Mapping[str, str]) -> None:
    read = ServerSettings.load()
    assert (read.model, read.model_version) == ("churn-predictor", 1)
    assert str(read.model_dir) == container["MODEL_DIR"]
    assert read.port == 8080


@pytest.mark.parametrize(
    ("kind", "name", "group", "readers"),
    [
        (*TRAINING, [TrainingSettings]),
        (*FETCH, [FetchSettings]),
        (*SERVER, [ServerSettings]),
    ],
)
def test_no_variable_is_written_for_nobody(kind: str, name: str, group: str, readers: list[Any]) -> None:
    written = environment(local().one(f":{kind}", name).spec["template"]["spec"][group][0]).keys()
    read = {field.upper() for reader in readers for field in reader.model_fields}
    assert written - read <= READ_BY_LIBRARIES


def test_training_exits_with_the_code_that_stops_the_job() -> None:
    assert explain(SettingsError("DATASET is not set")).code == BAD_INPUT
