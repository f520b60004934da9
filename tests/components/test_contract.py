"""The environment that the program gives a container is the environment that the code inside reads."""

from collections.abc import Mapping
from typing import Any

import pytest

from components import names
from components.autoscaling import IN_FLIGHT
from components.training_job import BAD_INPUT
from runs import state, tracking
from serving.metrics import Metrics
from serving.settings import FetchSettings, ServerSettings
from tests.deployed import deployed, environment, local
from training.settings import Settings as TrainingSettings
from training.settings import SettingsError
from training.train import explain

POD = {
    "metadata.labels['batch.kubernetes.io/job-name']": "churn-0a1b2c3d",
    "metadata.annotations['batch.kubernetes.io/job-index-failure-count']": "2",
}
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
    values = {key: filled_in(value) for key, value in environment(spec[group][0]).items()}
    for key, value in values.items():
        monkeypatch.setenv(key, value)
    return values


def filled_in(value: Any) -> str:
    """As Kubernetes would: a dollar is written as two, and a reference to the pod becomes what stands there."""
    return value.replace("$$", "$") if isinstance(value, str) else POD[value["fieldRef"]["fieldPath"]]


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
        for name in ("project", "git_commit", "image", "stack", "pulumi_urn", "training_job", "node_pool", "job_name")
    }


def test_a_pod_of_a_sweep_reads_its_point(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = {"grid": {"max_depth": [5, 10]}, "max_parallel": 1, "goal": "minimize"}
    recording = deployed({"training.churn.sweep": sweep, "training.churn.parameters.name": "$(HOME)"})
    for key, value in environment(recording.one(":Job", "churn").spec["template"]["spec"]["containers"][0]).items():
        monkeypatch.setenv(key, filled_in(value))
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")  # Kubernetes sets it in each pod of an Indexed Job
    read = TrainingSettings.load()
    assert read.point == {"max_depth": 10}
    assert read.parameters["name"] == "$(HOME)"
    assert read.sweep
    assert (read.sweep.metric, read.sweep.goal, read.sweep.retries) == ("roc_auc", "minimize", 1)
    assert read.index_failures == 2


def test_a_secret_reaches_the_code_under_the_parameters_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"training.churn.parameters.api_key": {"secret": "geocoder", "key": "token"}}
    (container,) = deployed(given).one(":Job", "churn").spec["template"]["spec"]["containers"]
    for key, value in environment(container).items():
        if isinstance(value, str) or "secretKeyRef" in value:
            monkeypatch.setenv(key, value if isinstance(value, str) else "hunter2")
    read = TrainingSettings.load()
    assert read.secrets == {"api_key": "hunter2"}
    assert "api_key" not in read.parameters


def test_what_make_train_looks_for_is_what_training_leaves() -> None:
    assert tracking.JOB_TAG in TrainingSettings.model_fields
    assert BAD_INPUT in state.FINAL


def test_what_make_train_changes_is_what_training_reads() -> None:
    assert {names.PARAMETERS.lower(), names.REQUESTER.lower()} <= TrainingSettings.model_fields.keys()
    assert names.PARAMETERS in environment(local().one(":Job", "churn").spec["template"]["spec"]["containers"][0])


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


def test_the_autoscaler_follows_a_number_that_the_server_tells() -> None:
    told = Metrics({"model": "m", "version": "1", "role": "primary"}, None, {}).text().decode()
    assert f"# TYPE {IN_FLIGHT} gauge" in told


def test_training_exits_with_the_code_that_stops_the_job() -> None:
    assert explain(SettingsError("DATASET is not set")).code == BAD_INPUT
