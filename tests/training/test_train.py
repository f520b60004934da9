import errno
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, cast

import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from tests.registry import MODEL, ROWS, Registry
from training import churn, data, tracking, train
from training.settings import Settings


class Metadata(Protocol):
    flavors: dict[str, dict[str, object]]


class Model(Protocol):
    """What MLflow loads, of which its own types tell little."""

    input_example: pd.DataFrame
    metadata: Metadata

    def predict(self, data: pd.DataFrame) -> list[str]: ...


Training = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Training]:
    """Trains in this process, a failure if not told otherwise, and gives the exit code and the log."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "training")
    (tmp_path / "why").touch()
    before = signal.getsignal(signal.SIGTERM)

    def run(**environment: object) -> tuple[int, list[str]]:
        known = {
            "dataset": registry.dataset,
            "model": "tried",
            "experiment": tmp_path.name,
            "mlflow_tracking_uri": registry.uri,
            "n_estimators": 2,
            "termination_log": tmp_path / "why",
        }
        for name, value in (known | environment).items():
            monkeypatch.setenv(name.upper(), str(value))
        return train.main(), caplog.messages

    yield run
    signal.signal(signal.SIGTERM, before)


def last_run(registry: Registry, experiment: str) -> Run:
    client = MlflowClient(registry.uri)
    found = client.get_experiment_by_name(experiment)
    assert found
    return client.search_runs([found.experiment_id])[0]


def version_of(registry: Registry, name: str, number: int) -> ModelVersion:
    return MlflowClient(registry.uri).get_model_version(name, str(number))


def test_a_run_ends_with_the_version_that_it_registered(registry: Registry, run: Training, tmp_path: Path) -> None:
    code, log = run(max_depth=3)
    number = max(int(v.version) for v in MlflowClient(registry.uri).search_model_versions("name = 'tried'"))
    assert (code, log[-1]) == (0, f"registered tried version {number}")
    assert f"{ROWS} rows" in "\n".join(log)
    assert "columns not used: rownames" in log

    told = last_run(registry, tmp_path.name)
    assert told.info.status == "FINISHED"
    assert told.data.params | {"n_estimators": "2", "max_depth": "3", "dataset_size": str(ROWS)} == told.data.params
    assert set(told.data.metrics) == {"accuracy", "f1", "roc_auc"}
    assert told.inputs
    assert [entry.dataset.name for entry in told.inputs.dataset_inputs] == ["churn"]
    assert told.info.artifact_uri
    assert (Path(told.info.artifact_uri) / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_a_version_can_be_traced_to_code_and_data(registry: Registry) -> None:
    version = version_of(registry, MODEL, 1)
    tags = version.tags
    assert tags["git_commit"] == "3f2a9c1"
    assert tags["training_job"] == "churn"
    assert tags["dataset"] == str(registry.dataset)
    assert len(tags["dataset_digest"]) == 64
    assert 0.5 < float(tags["accuracy"]) <= 1
    assert version.description
    assert version.description.startswith("n_estimators=3, max_depth=4 on 400 rows of ")
    assert version.run_id


def test_other_hyperparameters_make_another_version(registry: Registry) -> None:
    first, second = (version_of(registry, MODEL, number) for number in (1, 2))
    assert first.tags["dataset_digest"] == second.tags["dataset_digest"]
    assert (first.description or "").replace("n_estimators=3", "") != (second.description or "")


@pytest.fixture(scope="module")
def model(registry: Registry) -> Model:
    mlflow.set_tracking_uri(registry.uri)
    return cast("Model", mlflow.pyfunc.load_model(f"models:/{MODEL}/1"))


def test_a_registered_model_answers_its_own_example_in_the_words_of_the_table(model: Model) -> None:
    assert set(model.predict(model.input_example)) <= {"No", "Yes"}


def test_a_registered_model_takes_a_customer_without_a_total_and_a_new_word(model: Model) -> None:
    rows = model.input_example.assign(total_charges=np.nan, contract="Ten years")
    assert set(model.predict(rows)) <= {"No", "Yes"}


def test_a_registered_model_loads_without_running_code_from_its_files(model: Model) -> None:
    flavor = model.metadata.flavors["sklearn"]
    assert flavor["serialization_format"] == "skops"
    assert flavor["skops_trusted_types"] == list(tracking.TRUSTED)


def test_the_same_input_makes_the_same_model(registry: Registry) -> None:
    table = data.load(str(registry.dataset), churn.COLUMNS, churn.TARGET).table
    features, labels = table[churn.FEATURES], table["churn"]
    one, two = (
        churn.pipeline(n_estimators=3, max_depth=4, seed=7)
        .fit(features, labels)
        .set_params(forest__n_jobs=1)  # as it is registered: several threads add up in any order
        .predict_proba(features)
        for _ in range(2)
    )
    assert np.array_equal(one, two)


def test_a_dataset_without_a_column_ends_with_its_name_and_no_retry(
    registry: Registry, run: Training, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text(registry.dataset.read_text().replace("total_charges", "charges_in_total"))
    code, log = run(dataset=broken)
    assert code == 2
    assert f"{broken} lacks the column total_charges" in log[-1]
    assert (tmp_path / "why").read_text() == log[-1]
    told = last_run(registry, tmp_path.name)
    assert told.info.status == "FAILED"
    assert told.data.tags["mlflow.note.content"] == log[-1]


def test_a_wrong_setting_ends_before_anything_is_touched(registry: Registry, run: Training, tmp_path: Path) -> None:
    code, log = run(n_estimators="many")
    assert code == 2
    assert log[-1].startswith("N_ESTIMATORS='many'")
    assert (tmp_path / "why").read_text() == log[-1]
    assert MlflowClient(registry.uri).get_experiment_by_name(tmp_path.name) is None


def test_an_mlflow_that_is_not_there_is_waited_for_and_told(run: Training) -> None:
    code, log = run(mlflow_tracking_uri="http://127.0.0.1:9", mlflow_patience_seconds=0.2)
    assert code == 1
    assert "does not answer ([Errno 111] Connection refused); trying for" in log[0]
    assert log[-1].startswith("MLflow at http://127.0.0.1:9 does not answer")
    assert "check MLFLOW_TRACKING_URI" in log[-1]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/model"), "no space left while writing /tmp/model"),
        (data.StoreError("s3://b/k cannot be read: asleep"), "asleep"),
        (ZeroDivisionError("division by zero"), "unexpected ZeroDivisionError: division by zero"),
    ],
)
def test_what_breaks_a_run_is_its_last_line_and_its_status_in_mlflow(
    registry: Registry, run: Training, monkeypatch: pytest.MonkeyPatch, *, error: Exception, said: str
) -> None:
    def broken(*_: object) -> data.Dataset:
        raise error

    monkeypatch.setattr(data, "load", broken)
    code, log = run()
    assert code == 1
    assert said in log[-1]
    assert last_run(registry, Path.cwd().name).info.status == "FAILED"


def test_a_run_that_is_stopped_from_outside_does_not_stay_running_in_mlflow(
    registry: Registry, run: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def endless(*_: object) -> data.Dataset:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError

    monkeypatch.setattr(data, "load", endless)
    code, log = run()
    assert code == 1
    assert log[-1].startswith("stopped from outside")
    assert last_run(registry, tmp_path.name).info.status == "FAILED"


def test_the_process_needs_no_pulumi_and_ends_with_the_sentence_and_its_code(tmp_path: Path) -> None:
    without_pulumi = (
        "import runpy, sys; sys.modules['pulumi'] = None; runpy.run_module('training.train', {}, '__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", without_pulumi], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout.splitlines()[-1].startswith("DATASET is not set; ")
