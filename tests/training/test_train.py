import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, cast

import mlflow
import mlflow.artifacts
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from model_server.predict import model as served_model
from tests.registry import MODEL, ROWS, Registry
from training import mlflow_logging, project, train
from training.data import reading, split
from training.fit.metrics import predict
from training.project import Project, Rows, Target
from training.projects import churn
from training.settings import Settings

pytestmark = pytest.mark.long


class Metadata(Protocol):
    flavors: dict[str, dict[str, object]]


class Model(Protocol):
    """Typed part of MLflow's pyfunc model."""

    input_example: pd.DataFrame
    metadata: Metadata

    def predict(self, data: pd.DataFrame) -> list[str]: ...

    def get_raw_model(self) -> Any: ...


Training = Callable[..., tuple[int, list[str]]]
ORDERS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def run(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Training]:
    """Return a function that trains in this process and returns the exit code and the log."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "training")
    (tmp_path / "why").touch()
    before = {order: signal.getsignal(order) for order in ORDERS}

    def run(**environment: object) -> tuple[int, list[str]]:
        known = {
            "project": "churn",
            "dataset": registry.dataset,
            "model": "tried",
            "experiment": tmp_path.name,
            "mlflow_tracking_uri": registry.uri,
            "parameters": {"n_estimators": 2},
            "work_folder": tmp_path / "work",
            "termination_log": tmp_path / "why",
        }
        for name, value in (known | environment).items():
            monkeypatch.setenv(name.upper(), json.dumps(value) if isinstance(value, dict) else str(value))
        return train.main(), caplog.messages

    yield run
    for order, handler in before.items():
        signal.signal(order, handler)


def last_run(registry: Registry, experiment: str) -> Run:
    client = MlflowClient(registry.uri)
    found = client.get_experiment_by_name(experiment)
    assert found
    return client.search_runs([found.experiment_id])[0]


def version_of(registry: Registry, name: str, number: int) -> ModelVersion:
    return MlflowClient(registry.uri).get_model_version(name, str(number))


def test_a_run_ends_with_the_version_that_it_registered(registry: Registry, run: Training, tmp_path: Path) -> None:
    code, log = run(parameters={"n_estimators": 2, "max_depth": 3}, requester="ada")
    number = max(int(v.version) for v in MlflowClient(registry.uri).search_model_versions("name = 'tried'"))
    assert (code, log[-1]) == (0, f"registered tried version {number}")
    assert f"{ROWS} rows" in "\n".join(log)
    assert "columns not used: rownames" in log

    told = last_run(registry, tmp_path.name)
    assert told.info.status == "FINISHED"
    assert told.data.params | {"n_estimators": "2", "max_depth": "3", "dataset_size": str(ROWS)} == told.data.params
    metrics = told.data.metrics
    for name in ("accuracy", "f1", "roc_auc"):
        assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"]
    assert metrics["cost_wall_seconds"] > 0
    assert metrics["cost_cpu_seconds"] > 0
    assert metrics["cost_peak_memory_mib"] > 50
    assert told.data.tags["requester"] == "ada"
    assert not list((tmp_path / "work").iterdir())
    assert told.inputs
    assert [entry.dataset.name for entry in told.inputs.dataset_inputs] == ["churn"]
    assert told.info.artifact_uri
    folder = Path(told.info.artifact_uri)
    for picture in ("confusion_matrix", "roc", "feature_importance"):
        assert (folder / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
    assert f"scikit-learn=={version('scikit-learn')}" in (folder / "environment.txt").read_text().splitlines()
    importance = json.loads((folder / "feature_importance.json").read_text())
    assert importance.keys() == set(project.load("churn").features)
    assert max(importance, key=lambda name: importance[name]) in {"contract", "tenure", "internet_service"}


def test_a_parameter_put_back_is_reported_as_a_duplicate(registry: Registry, run: Training) -> None:
    first, other = {"n_estimators": 2, "max_depth": 3}, {"n_estimators": 2, "max_depth": 2}
    made = {"model": "put-back", "image": "lab.local/training:1", "git_commit": "3f2a9c1"}
    said = "version 1 was trained with the same parameters, dataset and code; this run makes a duplicate of it"
    for parameters in (first, other):
        assert said not in run(parameters=parameters, **made)[1]
    for _ in range(2):
        assert said in run(parameters=first, **made)[1]
    run(parameters=first, **{**made, "image": "lab.local/training:2"})
    tags = [version_of(registry, "put-back", number).tags.get("duplicate_of") for number in range(1, 6)]
    assert tags == [None, None, "1", "1", None]


def test_a_version_can_be_traced_to_code_and_data(registry: Registry) -> None:
    made = version_of(registry, MODEL, 1)
    tags = made.tags
    assert tags["git_commit"] == "3f2a9c1"
    assert tags["training_job"] == "churn"
    assert tags["dataset"] == str(registry.dataset)
    assert len(tags["dataset_digest"]) == len(tags["model_digest"]) == 64
    assert 0.5 < float(tags["accuracy"]) <= 1
    assert made.description
    assert made.description.startswith("n_estimators=3, max_depth=4 on 400 rows of ")
    assert tags["project"] == "churn"
    assert tags["seed"] == "7"
    assert made.run_id


def test_other_hyperparameters_make_another_version(registry: Registry) -> None:
    first, second = (version_of(registry, MODEL, number) for number in (1, 2))
    assert first.tags["dataset_digest"] == second.tags["dataset_digest"]
    assert (first.description or "").startswith("n_estimators=3, max_depth=4 on 400 rows of ")
    assert (second.description or "").startswith("n_estimators=5, max_depth=4 on 400 rows of ")


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
    assert flavor["skops_trusted_types"] == list(mlflow_logging.TRUSTED)


def test_a_version_carries_the_distributions_that_it_was_trained_on(registry: Registry) -> None:
    mlflow.set_tracking_uri(registry.uri)
    file = mlflow.artifacts.download_artifacts(f"models:/{MODEL}/1/extra_files/reference_profile.json")
    profile = json.loads(Path(file).read_text())
    known = split.divide(project.load("churn"), reading.load(str(registry.dataset), project.load("churn")).table)[0]
    assert profile["rows"] == len(known)
    features = profile["features"]
    assert list(features) == project.load("churn").features
    assert features["contract"]["counts"] == known["contract"].value_counts().to_dict()
    assert features["tenure"]["quantiles"]["0.5"] == known["tenure"].median()
    assert features["total_charges"]["missing"] == known["total_charges"].isna().sum() > 0
    assert sum(features["total_charges"]["histogram"]["counts"]) == known["total_charges"].notna().sum()
    assert sum(profile["prediction"]["label"]["counts"].values()) == ROWS - len(known)
    assert profile["prediction"]["probability"]["histogram"]["edges"][::20] == [0, 1]


def test_the_server_of_a_version_knows_the_ranges_that_it_learnt_from(registry: Registry) -> None:
    mlflow.set_tracking_uri(registry.uri)
    served = served_model.load(Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/1")), MODEL)
    known = split.divide(churn.PROJECT, reading.load(str(registry.dataset), churn.PROJECT).table)[0]
    numbers = known.select_dtypes("number")
    assert served.ranges == dict(zip(numbers, zip(numbers.min(), numbers.max(), strict=True), strict=True))
    assert len(served.ranges) == 9


@pytest.mark.parametrize("name", ["churn", "churn_boosted"])
def test_the_same_input_makes_the_same_model(registry: Registry, name: str) -> None:
    declared = project.load(name)
    parameters = project.read_parameters(declared, {"n_estimators": 3})
    known, unseen = split.divide(declared, reading.load(str(registry.dataset), declared).table)
    one, two = (
        predict(declared, declared.fit(split.rows(declared, known), parameters), unseen).outputs for _ in range(2)
    )
    assert np.array_equal(one, two)


def test_boosted_trees_stop_by_themselves_and_say_what_they_ran_on(
    registry: Registry, run: Training, tmp_path: Path
) -> None:
    code, log = run(project="churn_boosted", model="boosted", parameters={"patience": 5, "learning_rate": 0.3})
    assert (code, log[-1]) == (0, "registered boosted version 1")
    said = last_run(registry, tmp_path.name).data.params
    assert said["device"] in {"cpu", "gpu"}
    assert f"facts of the fit: device={said['device']}, trees={said['trees']}" in log
    assert 0 < int(said["trees"]) < 1000
    mlflow.set_tracking_uri(registry.uri)
    boosted = cast("Model", mlflow.pyfunc.load_model("models:/boosted/1"))
    assert set(boosted.predict(boosted.input_example.assign(contract="Ten years"))) <= {"No", "Yes"}
    needed = mlflow.artifacts.download_artifacts("models:/boosted/1/requirements.txt")
    assert "lightgbm==" in Path(needed).read_text()


PARTS = {
    "plots": "training.fit.plots.draw",
    "feature importance": "training.fit.evaluation._importance",
    "reference profile": "training.fit.reference_profile.describe",
    "ranges of features": "training.fit.reference_profile.ranges",
    "list of packages": "training.fit.evaluation.distributions",
}


def test_what_is_nice_to_have_fails_no_run(
    registry: Registry, run: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("it broke")

    def fit(rows: Rows, parameters: churn.Forest) -> Pipeline:
        rows.facts["n_estimators"] = "a name that the run has already"
        return churn.fit(rows, parameters)

    for place in PARTS.values():
        monkeypatch.setattr(place, broken)
    monkeypatch.setattr(churn, "PROJECT", replace(churn.PROJECT, fit=fit))
    code, log = run(model="bare")
    assert (code, log[-1]) == (0, "registered bare version 1")
    for said in (version_of(registry, "bare", 1).tags, last_run(registry, tmp_path.name).data.tags):
        for part in PARTS:
            assert f"{part}: it broke" in said["extras_failed"]
            assert f"{part} could not be made (it broke); the run goes on without it" in log
        assert "facts: " in said["extras_failed"]
    assert "extras_failed" not in version_of(registry, MODEL, 1).tags


@pytest.mark.parametrize(
    ("gpus", "device", "is_unused"), [(2, "", True), (1, "cpu", True), (1, "gpu", False), (0, "", False)]
)
def test_gpus_that_the_fit_did_not_use_are_named_in_the_log_and_with_the_version(
    run: Training, monkeypatch: pytest.MonkeyPatch, gpus: int, device: str, *, is_unused: bool
) -> None:
    def fit(rows: Rows, parameters: churn.Forest) -> Pipeline:
        if device:
            rows.facts["device"] = device
        return churn.fit(rows, parameters)

    monkeypatch.setattr(churn, "PROJECT", replace(churn.PROJECT, fit=fit))
    model = f"with-{gpus}-{device}-gpus"
    code, log = run(model=model, gpus=gpus)
    assert code == 0
    warned = [line for line in log if line.startswith(f"GPUs of the pod: {gpus};")]
    assert [f"is {device or 'missing'}, so they were not used" in line for line in warned] == [True] * is_unused
    version = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_model_version(model, "1")
    assert version.tags.get("unused_gpus") == (str(gpus) if is_unused else None)


def test_a_run_that_is_stopped_while_it_draws_ends(run: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("training.fit.plots.draw", stopped)
    code, log = run()
    assert code == 1
    assert log[-1].startswith("stopped by a signal")


def test_a_name_may_hold_what_is_markup_elsewhere(registry: Registry, run: Training, tmp_path: Path) -> None:
    odd = {"tenure": "ten$ure_$", "total_charges": "[red]$x_{", "contract": "con\\tract\n'\"`%"}
    named = tmp_path / "odd.csv"
    pd.read_csv(registry.dataset).rename(columns=odd).replace({"churn": {"Yes": "$Yes_$"}}).to_csv(named, index=False)
    columns = [replace(column, name=odd.get(column.name, column.name)) for column in churn.COLUMNS]
    numeric = [column.name for column in columns if column.kind != "category"]
    words = [column.name for column in columns if column.kind == "category"]

    def fit(rows: Rows, parameters: churn.Forest) -> Pipeline:
        prepare = ColumnTransformer(
            [("n", SimpleImputer(strategy="median"), numeric), ("w", OneHotEncoder(handle_unknown="ignore"), words)]
        )
        forest = RandomForestClassifier(parameters.n_estimators, max_depth=3, random_state=rows.seed, n_jobs=1)
        return Pipeline([("prepare", prepare), ("forest", forest)]).fit(rows.features, rows.labels)

    target = Target(name="churn", labels=("No", "$Yes_$"))
    declared = Project(
        model="odd", columns=columns, target=target, parameters=churn.Forest, fit=fit, slices=[odd["contract"]]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(churn, "PROJECT", declared)
        code, log = run(dataset=named, model="odd")
    assert (code, log[-1]) == (0, "registered odd version 1")
    assert "extras_failed" not in version_of(registry, "odd", 1).tags


def test_columns_that_the_project_does_not_know_are_counted_and_change_nothing(
    registry: Registry, run: Training, tmp_path: Path
) -> None:
    wide = tmp_path / "wide.csv"
    table = pd.read_csv(registry.dataset)
    table.assign(**{f"more_{number}": 1 for number in range(11)}).to_csv(wide, index=False)
    code, log = run(dataset=wide)
    assert code == 0
    (named,) = (line for line in log if line.startswith("columns not used: rownames, more_0, "))
    assert named.endswith(" and 2 more")


Change = Callable[[pd.DataFrame], pd.DataFrame | str | bytes]
# A change of the good table, and a part of the message about it.
UNFIT: dict[str, tuple[str, Change, str]] = {
    "a column renamed": (
        "t.csv",
        lambda good: good.rename(columns={"total_charges": "charges_in_total"}),
        "lacks the column total_charges",
    ),
    "no row": ("t.csv", lambda good: good.head(0), "has a header but no rows; give a table with rows"),
    "no byte": ("t.csv", lambda _: "", "is empty; give a CSV with a header line and rows"),
    "no byte of Parquet": ("t.parquet", lambda _: "", "is empty (0 bytes)"),
    "one label": ("t.csv", lambda good: good.assign(churn="No"), "the column churn never holds Yes"),
    "another label": (
        "t.csv",
        lambda good: good.replace({"churn": {"Yes": "Perhaps"}}),
        "the column churn holds Perhaps, and may hold only No or Yes",
    ),
    "a column of gaps": (
        "t.csv",
        lambda good: good.assign(total_charges=np.nan),
        "the column total_charges is empty in all rows",
    ),
    "Latin-1": (
        "t.csv",
        lambda good: good.assign(contract="J\xe4hrlich").to_csv(index=False).encode("latin-1"),
        "is not UTF-8: byte 0xe4 in line 2; save the file as UTF-8",
    ),
}


@pytest.mark.parametrize(("name", "change", "said"), UNFIT.values(), ids=UNFIT)
def test_an_unfit_table_ends_with_one_sentence_everywhere_and_no_retry(
    registry: Registry, run: Training, tmp_path: Path, *, name: str, change: Change, said: str
) -> None:
    unfit = change(pd.read_csv(registry.dataset))
    text = unfit.to_csv(index=False) if isinstance(unfit, pd.DataFrame) else unfit
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    code, log = run(dataset=tmp_path / name)
    assert code == 2
    assert log[-1].startswith(str(tmp_path / name))
    assert said in log[-1]
    assert (tmp_path / "why").read_text() == log[-1]
    told = last_run(registry, tmp_path.name)
    assert told.info.status == "FAILED"
    assert told.data.tags["mlflow.note.content"] == log[-1]


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("key", "expected", "said"),
    [
        ("gone.csv", 2, "the bucket has no such key"),
        ("secret.csv", 2, "access is denied"),
        ("odd.csv", 1, "S3 responded Odd it is so"),
    ],
)
def test_a_key_that_cannot_be_read_ends_with_one_sentence_and_is_tried_again_if_that_may_help(
    run: Training, tmp_path: Path, *, key: str, expected: int, said: str
) -> None:
    code, log = run(dataset=f"s3://bucket/{key}")
    assert code == expected
    assert log[-1].startswith(f"s3://bucket/{key} cannot be read: {said}")
    assert (tmp_path / "why").read_text() == log[-1]


def test_a_name_that_the_registry_has_for_something_else_ends_with_its_reason(
    registry: Registry, run: Training, tmp_path: Path
) -> None:
    MlflowClient(registry.uri).register_prompt("taken", "Answer {{ question }}.")
    code, log = run(model="taken")
    assert code == 1
    assert log[-1].startswith("a call to MLflow failed: ")
    assert "taken" in log[-1]
    assert (tmp_path / "why").read_text() == log[-1]
    assert last_run(registry, tmp_path.name).info.status == "FAILED"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"parameters": {"n_estimator": 300}},
            "the parameter n_estimator is not known; the project has n_estimators, max_depth",
        ),
        ({"parameters": {"n_estimators": "many"}}, "the parameter n_estimators='many' is wrong"),
        ({"parameters": "n_estimators=3"}, "PARAMETERS='n_estimators=3' is wrong"),
        (
            {"project": "chrn"},
            "there is no project chrn; projects that exist: churn, churn_boosted, churn_net, diamonds, ",
        ),
    ],
)
def test_a_wrong_setting_ends_before_anything_is_touched(
    registry: Registry, run: Training, tmp_path: Path, *, wrong: dict[str, object], said: str
) -> None:
    code, log = run(**wrong)
    assert code == 2
    assert log[-1].startswith(said)
    assert (tmp_path / "why").read_text() == log[-1]
    assert MlflowClient(registry.uri).get_experiment_by_name(tmp_path.name) is None


def test_a_parameter_from_a_secret_is_used_and_not_printed(
    registry: Registry, run: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARAMETER_MAX_DEPTH", "37")
    code, log = run(model="discreet")
    assert code == 0
    mlflow.set_tracking_uri(registry.uri)
    model = cast("Model", mlflow.pyfunc.load_model("models:/discreet/1"))
    assert model.get_raw_model().get_params()["forest__max_depth"] == 37
    said = (last_run(registry, tmp_path.name).data, version_of(registry, "discreet", 1).description, log)
    assert "n_estimators" in str(said)
    assert "max_depth" not in str(said)


def goes_away(monkeypatch: pytest.MonkeyPatch, times: float) -> None:
    """Make MLflow refuse a model's files, that many times."""
    really, refusals = MlflowClient.log_model_artifacts, [times]

    def answer(client: MlflowClient, model_id: str, folder: str) -> None:
        refusals[0] -= 1
        if refusals[0] >= 0:
            raise MlflowException("connection refused")
        really(client, model_id, folder)

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", answer)


def test_an_mlflow_that_comes_back_gets_the_model_once(run: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_away(monkeypatch, times=1)
    code, log = run(model="patient")
    assert (code, log[-1]) == (0, "registered patient version 1")
    assert any(line.startswith("MLflow does not respond (connection refused); retrying for 60 more") for line in log)


def test_a_model_that_mlflow_does_not_take_is_kept_and_the_last_line_says_where(
    registry: Registry, run: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    goes_away(monkeypatch, times=float("inf"))
    code, log = run(mlflow_patience_seconds=0)
    kept = tmp_path / "work" / last_run(registry, tmp_path.name).info.run_id / "model"
    assert code == 1
    assert log[-1].startswith(f"MLflow at {registry.uri}, or its artifact store, stopped responding during the run")
    assert f"the trained model is kept in {kept}" in log[-1]
    assert last_run(registry, tmp_path.name).info.status == "FAILED"
    model = cast("Model", mlflow.pyfunc.load_model(str(kept)))
    assert set(model.predict(model.input_example)) <= {"No", "Yes"}


class Unknown(BaseEstimator):
    """Pipeline step of a type that is not trusted."""

    def fit(self, _features: pd.DataFrame, _labels: object = None) -> "Unknown":
        return self

    def transform(self, features: pd.DataFrame) -> pd.DataFrame:
        return features


def test_a_model_of_an_undeclared_type_is_refused_with_its_name(run: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(rows: Rows, parameters: churn.Forest) -> Pipeline:
        return Pipeline([("own", Unknown()), ("churn", churn.fit(rows, parameters))])

    monkeypatch.setattr(churn, "PROJECT", replace(churn.PROJECT, fit=fit))
    code, log = run()
    assert code == 2
    assert f"the model contains '{Unknown.__module__}.Unknown', and only trusted types are loaded" in log[-1]


def test_a_version_is_registered_once_however_often_it_is_asked_for(registry: Registry) -> None:
    first = version_of(registry, MODEL, 1)
    mlflow.set_tracking_uri(registry.uri)
    again = mlflow_logging.Version(model_uri=first.source or "", description=first.description or "", tags={})
    assert mlflow_logging.register(MODEL, again) == 1
    assert version_of(registry, MODEL, 1).tags == first.tags


def test_an_mlflow_that_is_not_there_is_waited_for_and_reported(run: Training) -> None:
    code, log = run(mlflow_tracking_uri="http://127.0.0.1:9", mlflow_patience_seconds=0.2)
    assert code == 1
    assert "does not respond ([Errno 111] Connection refused); retrying for" in log[1]
    assert log[-1].startswith("MLflow at http://127.0.0.1:9 does not respond")
    assert "check MLFLOW_TRACKING_URI" in log[-1]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/model"), "no space left while writing /tmp/model"),
        (reading.StoreError("s3://b/k cannot be read: asleep"), "asleep"),
        (ZeroDivisionError("division by zero"), "unexpected ZeroDivisionError: division by zero"),
    ],
)
def test_what_breaks_a_run_is_its_last_line_and_its_status_in_mlflow(
    registry: Registry, run: Training, monkeypatch: pytest.MonkeyPatch, *, error: Exception, said: str
) -> None:
    def broken(*_: object) -> reading.Dataset:
        raise error

    monkeypatch.setattr(reading, "load", broken)
    code, log = run()
    assert code == 1
    assert said in log[-1]
    assert last_run(registry, Path.cwd().name).info.status == "FAILED"


@pytest.mark.parametrize("order", ORDERS)
def test_a_run_that_is_stopped_from_outside_does_not_stay_running_in_mlflow(
    registry: Registry, run: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, order: signal.Signals
) -> None:
    def endless(*_: object) -> reading.Dataset:
        signal.raise_signal(order)
        raise AssertionError

    monkeypatch.setattr(reading, "load", endless)
    code, log = run()
    assert code == (130 if order == signal.SIGINT else 1)
    assert log[-1].startswith("stopped by a signal")
    assert last_run(registry, tmp_path.name).info.status == "FAILED"


def test_the_first_line_comes_before_anything_that_takes_seconds_to_import(tmp_path: Path) -> None:
    slow = ["boto3", "lightgbm", "matplotlib", "mlflow", "numpy", "pandas", "pyarrow", "scipy", "sklearn"]
    without = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({slow})); "
        "runpy.run_module('training.train', {}, '__main__')"
    )
    given = {"PROJECT": "churn", "DATASET": "a.csv", "MODEL": "m", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    ended = subprocess.run(
        [sys.executable, "-c", without], cwd=tmp_path, env=given, capture_output=True, text=True, check=False
    )
    assert ended.stdout.splitlines() == ["churn: training a model with a.csv"]
    assert "ModuleNotFoundError" in ended.stderr


def test_the_process_needs_no_pulumi_and_ends_with_the_sentence_and_its_code(tmp_path: Path) -> None:
    without_pulumi = (
        "import runpy, sys; sys.modules['pulumi'] = None; runpy.run_module('training.train', {}, '__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", without_pulumi], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout.splitlines()[-1].startswith("PROJECT is not set; ")
