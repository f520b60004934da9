"""Points of a sweep share only MLflow: they get one parent run, and only the best run is registered."""

import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from tests.registry import Registry
from training import mlflow_logging, train
from training.data import reading
from training.fit.sweep import Sweep
from training.mlflow_logging import Version
from training.settings import Settings, SweepPlan

pytestmark = pytest.mark.long

NUMBERS = count()


@pytest.fixture
def client(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(registry.uri)
    return MlflowClient(registry.uri)


@pytest.fixture
def points(client: MlflowClient, registry: Registry) -> list[Sweep]:
    """Return the four points of a sweep in a new experiment."""
    name = f"swept-{next(NUMBERS)}-{id(client)}"
    plan = SweepPlan(
        points=tuple({"max_depth": depth} for depth in range(4)), metric="roc_auc", goal="maximize", retries=0
    )
    experiment_id = client.create_experiment(name)
    return [
        Sweep(
            plan=plan,
            index=index,
            job=name,
            model=name,
            experiment_id=experiment_id,
            origin={"job_name": name},
            client=client,
            patiently=mlflow_logging.Patience(seconds=0, uri=registry.uri),
        )
        for index in range(4)
    ]


def trained(point: Sweep, roc_auc: float) -> str:
    """Create a run of the point as a training does, and return its ID."""
    client = point.client
    run_id = client.create_run(point.experiment_id, tags=dict(point.tags())).info.run_id
    client.log_metric(run_id, "roc_auc", roc_auc)
    model = client.create_logged_model(point.experiment_id, "model", source_run_id=run_id)
    client.finalize_logged_model(model.model_id, "READY")
    uri = f"models:/{model.model_id}"
    point.keep(run_id, Version(model_uri=uri, description=f"depth {point.index}", tags={"roc_auc": str(roc_auc)}))
    client.set_terminated(run_id)
    return run_id


def parents(point: Sweep) -> Sequence[Run]:
    return point.client.search_runs([point.experiment_id], f"tags.sweep = '{point.job}'")


def children(point: Sweep) -> Sequence[Run]:
    (parent,) = parents(point)
    return point.client.search_runs([point.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")


def versions(point: Sweep) -> Sequence[ModelVersion]:
    return point.client.search_model_versions(f"name = '{point.model}'")


def test_the_point_that_ends_last_registers_the_best_and_nothing_else(points: list[Sweep]) -> None:
    runs = [trained(point, score) for point, score in zip(points, (0.7, 0.9, 0.8, 0.6), strict=True)]
    numbers = [point.done(run) for point, run in zip(points, runs, strict=True)]
    assert numbers == [None, None, None, 1]
    (version,) = versions(points[0])
    assert version.run_id == runs[1]
    assert version.description == "depth 1; the best of 4 points by roc_auc"
    (parent,) = parents(points[0])
    assert version.tags == {"roc_auc": "0.9", "sweep_run": parent.info.run_id}
    assert {run.info.run_id for run in children(points[0])} == set(runs)
    assert [run.info.run_id for run in children(points[0]) if "best_of_sweep" in run.data.tags] == [runs[1]]
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {"roc_auc": 0.9}
    assert (parent.data.tags["best_run"], parent.data.tags["best_point"]) == (runs[1], '{"max_depth": 1}')


def test_points_that_run_at_once_share_a_parent_and_register_once(points: list[Sweep]) -> None:
    def run(point: Sweep) -> int | None:
        return point.done(trained(point, 0.5 + point.index / 10))

    with ThreadPoolExecutor(len(points)) as pods:
        numbers = list(pods.map(run, points))
    assert sorted(number or 0 for number in numbers) == [0, 0, 0, 1]
    assert len(versions(points[0])) == 1
    assert len(children(points[0])) == 4


def test_a_second_parent_made_at_the_same_moment_is_not_there_in_the_end(points: list[Sweep]) -> None:
    first = trained(points[0], 0.9)
    points[0].done(first)
    # As if this point had looked for a parent before the first one's was there
    one = points[1]
    one.client.create_run(one.experiment_id, tags={"sweep": one.job})
    rest = [trained(point, 0.5) for point in points[1:]]
    assert [point.done(run) for point, run in zip(points[1:], rest, strict=True)] == [None, None, 1]
    assert {run.info.run_id for run in children(points[0])} == {first, *rest}
    assert versions(points[0])[0].run_id == first


def test_a_point_that_failed_delays_no_other(points: list[Sweep]) -> None:
    for point in points[:3]:
        assert point.done(trained(point, 0.7 + point.index / 10)) is None
    assert points[3].failed("max_depth must be 1 or more") == 1
    (parent,) = parents(points[0])
    note = parent.data.tags["mlflow.note.content"]
    assert note == "3 of 4 points have a result\n\npoint 3 failed: max_depth must be 1 or more"
    assert versions(points[0])[0].description == "depth 2; the best of 3 points by roc_auc"


def test_a_sweep_without_any_result_has_failed(points: list[Sweep]) -> None:
    assert [point.failed("no such dataset") for point in points] == [None] * 4
    (parent,) = parents(points[0])
    assert parent.info.status == "FAILED"
    assert versions(points[0]) == []


def test_the_point_that_was_to_register_and_was_killed_does_it_when_started_again(
    points: list[Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    for point in points[:3]:
        point.done(trained(point, 0.5))

    def killed(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_logging, "register", killed)
        with pytest.raises(KeyboardInterrupt):
            points[3].done(trained(points[3], 0.9))
    assert points[2].done(trained(points[2], 0.5)) is None, "another one leaves it to the point that took it on"
    assert points[3].done(trained(points[3], 0.9)) == 1


@pytest.mark.parametrize(("goal", "best"), [("maximize", 2), ("minimize", 1)])
def test_a_loss_is_better_the_smaller_and_what_is_no_number_is_worst(points: list[Sweep], goal: str, best: int) -> None:
    plan = points[0].plan.model_copy(update={"goal": goal})
    points = [replace(point, plan=plan) for point in points]
    runs = [trained(point, score) for point, score in zip(points, (float("nan"), 0.1, 0.3, 0.2), strict=True)]
    assert [point.done(run) for point, run in zip(points, runs, strict=True)][-1] == 1
    assert versions(points[0])[0].run_id == runs[best]


Training = Callable[..., int]


@pytest.fixture
def train_point(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Training]:
    """Run the training program as the pod of one point does, and return its exit code."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    two = {"points": [{"max_depth": 1}, {"max_depth": 5}], "metric": "roc_auc", "goal": "maximize", "retries": 1}
    before = signal.getsignal(signal.SIGTERM)

    def run(index: int, plan: Mapping[str, object] | None = None, **changes: object) -> int:
        environment = {
            "project": "churn",
            "dataset": registry.dataset,
            "model": "swept",
            "experiment": tmp_path.name,
            "mlflow_tracking_uri": registry.uri,
            "work_folder": tmp_path / "work",
            "parameters": '{"n_estimators": 2, "max_depth": 1}',
            "job_name": tmp_path.name,
            "sweep": json.dumps({**two, **(plan or {})}),
            "job_completion_index": index,
            "index_failures": "",
            "mlflow_patience_seconds": 1,
        }
        for name, value in (environment | changes).items():
            monkeypatch.setenv(name.upper(), str(value))
        return train.main()

    yield run
    signal.signal(signal.SIGTERM, before)


def runs_of(client: MlflowClient, experiment: str) -> Sequence[Run]:
    found = client.get_experiment_by_name(experiment)
    assert found
    return client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"])


def test_two_pods_train_their_points_and_the_second_registers_the_better_one(
    client: MlflowClient, train_point: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert [train_point(0), train_point(1)] == [0, 0]
    (version,) = client.search_model_versions("name = 'swept'")
    parent, *points = runs_of(client, tmp_path.name)
    assert [run.data.params["max_depth"] for run in points] == ["1", "5"]
    best = max(points, key=lambda run: run.data.metrics["roc_auc"])
    assert version.run_id == best.info.run_id == parent.data.tags["best_run"]
    assert parent.data.tags["job_name"] == tmp_path.name
    assert caplog.messages[-1] == "registered swept version 1"


def test_a_point_of_wrong_parameters_is_over_and_the_last_one_registers_another(
    client: MlflowClient, train_point: Training, tmp_path: Path
) -> None:
    plan = {"points": [{"max_depth": 5}, {"max_depth": -1}]}
    assert [train_point(0, plan=plan), train_point(1, plan=plan)] == [0, 2]
    parent, *_ = runs_of(client, tmp_path.name)
    assert "point 1 failed: " in parent.data.tags["mlflow.note.content"]
    assert "max_depth" in parent.data.tags["mlflow.note.content"]
    assert parent.data.tags["best_point"] == '{"max_depth": 5}'


def test_a_point_is_over_when_it_will_not_be_tried_again(
    client: MlflowClient, train_point: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asleep(*_: object) -> reading.Dataset:
        raise reading.StoreError("s3://b/k cannot be read: asleep")

    monkeypatch.setattr(reading, "load", asleep)
    assert [train_point(0, index_failures=failures) for failures in (0, 1)] == [1, 1]
    assert train_point(1, index_failures=0) == 1
    parent, *_ = runs_of(client, tmp_path.name)
    assert parent.data.tags["point.0"].startswith("failed: s3://b/k cannot be read")
    assert "point.1" not in parent.data.tags


def test_a_metric_that_no_run_has_ends_the_point_with_those_there_are(
    train_point: Training, caplog: pytest.LogCaptureFixture
) -> None:
    assert train_point(0, plan={"metric": "auc"}) == 2
    assert (
        "the sweep's metric is auc, and no run has a metric of that name; write one of accuracy" in caplog.messages[-1]
    )


def test_a_pod_beyond_the_last_point_says_so(train_point: Training, caplog: pytest.LogCaptureFixture) -> None:
    assert train_point(2) == 2
    assert caplog.messages[-1].startswith("JOB_COMPLETION_INDEX=2 is too large: SWEEP has 2 points")
