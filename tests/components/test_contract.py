"""The environment that the program gives a container is the environment that the code inside reads."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from components.endpoint.autoscaling import IN_FLIGHT
from components.training.job import BAD_INPUT
from contract import names
from contract.buckets import REQUEST_SECONDS
from contract.tags import JOB_NAME
from infra.config import validation
from model_server.settings import BatchSettings, FetchSettings, ServerSettings, ShipSettings
from model_server.telemetry.metrics import Metrics
from runs import state
from tests.deployed import deployed, environment, local
from tests.recording import Recording
from training import validate
from training.run import explain
from training.settings import Settings as TrainingSettings
from training.settings import SettingsError
from training.validation import limits

POD = {
    "metadata.labels['batch.kubernetes.io/job-name']": "churn-0a1b2c3d",
    "metadata.annotations['batch.kubernetes.io/job-index-failure-count']": "2",
    "metadata.name": "churn-predictor-5d9f-x7k2p",
    "limits.memory": "1073741824",
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
    """Set the environment of the process to that of the container in the test's parameters."""
    values = {key: filled_in(value) for key, value in written(local(), *request.param).items()}
    for key, value in values.items():
        monkeypatch.setenv(key, value)
    return values


def written(recording: Recording, kind: str, name: str, group: str) -> dict[str, Any]:
    spec = recording.one(f":{kind}", name).spec
    template = spec["jobTemplate"]["spec"]["template"] if kind == "CronJob" else spec["template"]
    return environment(template["spec"][group][0])


def filled_in(value: Any) -> str:
    """Return a variable's value as Kubernetes sets it: $$ becomes $, and a reference to the pod is resolved."""
    if isinstance(value, str):
        return value.replace("$$", "$")
    return POD[value["fieldRef"]["fieldPath"] if "fieldRef" in value else value["resourceFieldRef"]["resource"]]


TRAINING = ("Job", "churn", "containers")
FETCH = ("Deployment", "churn-predictor", "initContainers")
VALIDATION = ("CronJob", "churn-validation", "containers")
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
    recording = deployed(
        {
            "training.churn.sweep": sweep,
            "training.churn.parameters.name": "$(HOME)",
            "training.churn.image": "lab.local/mine:1",
        }
    )
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
    given = {
        "training.churn.parameters.api_key": {"secret": "geocoder", "key": "token"},
        "training.churn.image": "lab.local/mine:1",
    }
    (container,) = deployed(given).one(":Job", "churn").spec["template"]["spec"]["containers"]
    for key, value in environment(container).items():
        if isinstance(value, str) or "secretKeyRef" in value:
            monkeypatch.setenv(key, value if isinstance(value, str) else "hunter2")
    read = TrainingSettings.load()
    assert read.secrets == {"api_key": "hunter2"}
    assert "api_key" not in read.parameters


def test_what_make_train_looks_for_is_what_training_leaves() -> None:
    assert JOB_NAME in TrainingSettings.model_fields
    assert BAD_INPUT in state.FINAL


def test_what_make_train_changes_is_what_training_reads() -> None:
    assert {names.PARAMETERS.lower(), names.REQUESTER.lower()} <= TrainingSettings.model_fields.keys()
    assert names.PARAMETERS in environment(local().one(":Job", "churn").spec["template"]["spec"]["containers"][0])


@pytest.mark.parametrize("container", [FETCH], indirect=True)
def test_the_init_container_fetches_what_the_endpoint_says(container: Mapping[str, str]) -> None:
    read = FetchSettings.load()
    assert (read.model, read.model_version) == ("churn-predictor", 1)
    assert (read.model_source, read.model_digest) == (container["MODEL_SOURCE"], container["MODEL_DIGEST"])
    assert read.model_source
    assert read.model_digest


def test_a_pod_of_a_batch_reads_its_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = {
        "model": "churn-predictor",
        "version": 7,
        "input": "s3://mlops-artifacts/datasets/customers/part-*.parquet",
        "output": "s3://mlops-artifacts/batch/churn",
        "workers": 4,
        "deadline_minutes": 30,
    }
    (container,) = deployed({"batch": {"nightly": batch}}).one(":Job", "nightly").spec["template"]["spec"]["containers"]
    for key, value in environment(container).items():
        monkeypatch.setenv(key, filled_in(value))
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")  # Kubernetes sets it in each pod of an Indexed Job
    read = BatchSettings.load()
    assert (read.title, read.model_digest) == ("churn-predictor version 7", "0" * 64)
    bucket, folder, pattern = read.input_parts
    assert (bucket, folder) == ("mlops-artifacts", "datasets/customers/")
    assert pattern.fullmatch("part-1.parquet")
    assert not pattern.fullmatch("part-1.csv")
    assert read.output_of("part-1.parquet") == ("mlops-artifacts", "batch/churn/version=7/part-1.parquet")
    assert (read.batch_workers, read.job_completion_index) == (4, 2)


def test_the_init_container_keeps_on_its_node_what_the_stack_says(monkeypatch: pytest.MonkeyPatch) -> None:
    values = written(deployed({"model_cache": {"gib": 20}}), *FETCH)
    for key, value in values.items():
        monkeypatch.setenv(key, filled_in(value))
    read = FetchSettings.load()
    assert read.model_cache_dir
    assert read.model_cache_bytes == 20 * 1024**3
    assert values.keys() - {field.upper() for field in FetchSettings.model_fields} <= READ_BY_LIBRARIES


@pytest.mark.parametrize("container", [SERVER], indirect=True)
def test_the_server_serves_what_was_fetched(container: Mapping[str, str]) -> None:
    read = ServerSettings.load()
    assert (read.model, read.model_version) == ("churn-predictor", 1)
    assert str(read.model_dir) == container["MODEL_DIR"]
    assert (read.port, read.probe_port) == (8080, 8081)
    assert (read.max_request_bytes, read.body_budget) == (10 << 20, (1 << 30) // 8)


def test_the_server_takes_bodies_as_large_as_the_endpoint_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"endpoints.churn-predictor.max_body_mib": 50, "endpoints.churn-predictor.memory": "2Gi"}
    for key, value in written(deployed(asked), *SERVER).items():
        monkeypatch.setenv(key, filled_in(value))
    assert ServerSettings.load().max_request_bytes == 50 << 20


def test_server_and_shipper_of_a_prediction_log_read_what_the_endpoint_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"sample": 0.5, "redact": ["$(HOME)", "email"]}
    recording = deployed({"endpoints.churn-predictor.prediction_log": asked})
    pod = recording.one(":Deployment", "churn-predictor").spec["template"]["spec"]
    server, shipper = environment(pod["containers"][0]), environment(pod["initContainers"][1])
    for key, value in (server | shipper).items():
        monkeypatch.setenv(key, filled_in(value))
    read, shipping = ServerSettings.load(), ShipSettings.load()
    assert read.prediction_log_dir == shipping.prediction_log_dir
    assert (read.prediction_log_sample, read.prediction_log_redact) == (0.5, ("$(HOME)", "email"))
    assert (shipping.artifact_bucket, shipping.pod_name) == ("mlops-artifacts", "churn-predictor-5d9f-x7k2p")
    assert server.keys() <= {field.upper() for field in ServerSettings.model_fields}
    assert shipper.keys() - {field.upper() for field in ShipSettings.model_fields} <= READ_BY_LIBRARIES


def test_the_server_sends_its_traces_where_the_endpoint_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"endpoint": "http://collector.observability:4318", "sample": 0.25}
    values = written(deployed({"endpoints.churn-predictor.tracing": asked}), *SERVER)
    for key, value in values.items():
        monkeypatch.setenv(key, filled_in(value))
    read = ServerSettings.load()
    assert (read.otel_exporter_otlp_endpoint, read.otel_traces_sampler_arg) == tuple(asked.values())
    assert values.keys() <= {field.upper() for field in ServerSettings.model_fields}


@pytest.mark.parametrize(
    ("kind", "name", "group", "readers"),
    [
        (*TRAINING, [TrainingSettings]),
        (*FETCH, [FetchSettings]),
        (*SERVER, [ServerSettings]),
        (*VALIDATION, [limits.Environment]),
    ],
)
def test_no_variable_is_written_without_a_reader(kind: str, name: str, group: str, readers: list[Any]) -> None:
    read = {field.upper() for reader in readers for field in reader.model_fields}
    assert written(local(), kind, name, group).keys() - read <= READ_BY_LIBRARIES


EVERY_LIMIT: Mapping[str, Any] = {
    "least": {"accuracy": 0.5, "f1": 0.1, "roc_auc": 0.7},
    "most": {},
    "compared": ["f1", "roc_auc"],
    "certain_loss": 0.01,
    "any_loss": 0.02,
    "slice_least": {"roc_auc": 0.5},
    "slice_loss": 0.1,
    "slice_rows": 40,
    "slice_label_rows": 5,
    "latency_ms": 100,
    "size_mb": 20.5,
    "skew": "minor",
    "resamples": 200,
}


def test_every_limit_of_a_validation_can_be_written_in_a_stack_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EVERY_LIMIT.keys() == limits.Limits.model_fields.keys()
    recording = deployed({"training.churn.validation": {"limits": EVERY_LIMIT, "deadline_minutes": 3}})
    for key, value in written(recording, *VALIDATION).items():
        monkeypatch.setenv(key, filled_in(value))
    read = limits.from_environment()
    assert read.validation == limits.Limits.model_validate(EVERY_LIMIT)
    assert read.validation_deadline_seconds == 180
    assert read.endpoint == "http://churn-predictor.ml-serving"


NUMBERS = [name for name, value in EVERY_LIMIT.items() if isinstance(value, int | float)]


def is_taken(kind: type[BaseModel], name: str, value: float) -> bool:
    try:
        return bool(kind.model_validate({name: value}))
    except ValidationError:
        return False


@pytest.mark.parametrize("name", NUMBERS)
def test_a_preview_takes_the_limits_that_a_validation_takes_and_no_other(name: str) -> None:
    for value in (-1, 0, 0.001, 0.5, 1, 1.001, 2, 99, 100, 10_000, 10_001):
        assert is_taken(validation.Limits, name, value) is is_taken(limits.Limits, name, value), value


def test_validation_gets_values_that_it_knows() -> None:
    (container,) = (
        local().one(":CronJob", "churn-validation").spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    )
    assert validate.parser().parse_args([*container["command"][3:], *container["args"]]).training_job == "churn"
    assert validate.parser().parse_args([*container["command"][3:], "7"]).version == 7


def test_the_autoscaler_follows_a_number_that_the_server_tells() -> None:
    told = Metrics({"model": "m", "version": "1", "role": "champion"}, None, {}).text().decode()
    assert f"# TYPE {IN_FLIGHT} gauge" in told


def test_training_exits_with_the_code_that_stops_the_job() -> None:
    assert explain(SettingsError("DATASET is not set")).code == BAD_INPUT


def test_an_objective_is_a_bound_of_the_servers_histogram() -> None:
    told = Metrics({"model": "m", "version": "1", "role": "champion"}, None, {}).text().decode()
    bounds = re.findall(r'^serving_request_seconds_bucket{le="([0-9.]+)"', told, re.MULTILINE)
    assert [float(bound) for bound in bounds] == list(REQUEST_SECONDS)
