"""The program of the drift CronJob, on a real registry and a real log."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from contract.names import REFERENCE_PROFILE
from contract.tags import DRIFT_AT, DRIFT_RUN, DRIFT_STATUS, DRIFT_WINDOWS, JOB_NAME, OUTCOMES, PROPOSED, RETRAIN
from drift import job, record
from drift import look as looks
from drift.cluster import State
from tests.command import Command
from tests.drift.examples import write_customers
from tests.mlflow_server import Server
from tests.pull_requests.github_double import environment, serve
from tests.registry import MODEL, ROWS, Registry, write_sample
from training.data import reading
from training.project import Project
from training.projects import churn

DAY = datetime(2026, 11, 24, tzinfo=UTC)
NEXT = timedelta(days=1)
NUMBERS = count()


@dataclass
class Cluster:
    """Cluster whose Jobs end as soon as they are created."""

    trains: Callable[[str], None]
    jobs: list[str] = field(default_factory=list[str])

    def state(self, job: str) -> State | None:
        return "succeeded" if job in self.jobs else None

    def train(self, training: str, job: str, version: str) -> None:
        del training, version
        if job not in self.jobs:
            self.jobs.append(job)
            self.trains(job)


@dataclass(frozen=True)
class World:
    """A model whose version 1 is served, with its log."""

    client: MlflowClient
    uri: str
    model: str
    folder: Path
    table: pd.DataFrame
    cluster: Cluster

    def day(self, number: int, *, shifted: bool, redact: str = "") -> None:
        """Write the log of a day without a redacted column; shifted customers have a short tenure, and leave."""
        table = self.table.assign(tenure=self.table["tenure"] / 10) if shifted else self.table
        write_customers(
            self.folder / "log",
            table,
            DAY + number * NEXT,
            model=self.model,
            answers=["Yes"] * len(table) if shifted else self.answers,
            redact=redact,
        )

    @property
    def answers(self) -> list[str]:
        return ["Yes" if n % 5 == 0 else "No" for n in range(len(self.table))]

    def run(self, number: int, *more: object, training: str = "churn") -> str:
        """Run the program in the morning after a day."""
        words = ["churn", "--model", self.model, "--version", 1, "--log", self.folder / "log", *more]
        words += ["--tracking-uri", self.uri, "--training", training]
        options: argparse.Namespace = job.parser().parse_args([*map(str, words)])
        return job.run(options, DAY + (number + 1) * NEXT + timedelta(hours=6), self.cluster)

    @property
    def opposite(self) -> str:
        """Outcomes of the first day: the opposite of each prediction."""
        labels = ["No" if said == "Yes" else "Yes" for said in self.answers]
        lines = [f"24-{n},{label},2026-11-25T00:00:00Z" for n, label in enumerate(labels)]
        return "\n".join(["request_id,label,at", *lines])

    @property
    def joined(self) -> Path:
        """Table of the predictions with their outcomes."""
        return self.folder / "log/datasets/outcomes/churn/joined.parquet"

    def learn(self, day: str, labels: Sequence[str]) -> None:
        """Write the outcomes of a day's predictions."""
        (self.folder / "outcomes").mkdir(exist_ok=True)
        lines = [f"{day}-{n},{label},2026-12-24T00:00:00Z" for n, label in enumerate(labels)]
        (self.folder / f"outcomes/{day}.csv").write_text("\n".join(["request_id,label,at", *lines]))

    @property
    def tags(self) -> dict[str, str]:
        return self.client.get_model_version(self.model, "1").tags


@pytest.fixture
def world(registry: Registry, tmp_path: Path) -> Iterator[World]:
    client, model = MlflowClient(registry.uri), f"watched-{next(NUMBERS)}"
    (tmp_path / "log").mkdir()
    first = client.get_model_version(MODEL, "1")
    client.create_registered_model(model)
    tags = {key: value for key, value in first.tags.items() if not key.startswith(("drift", "validat"))}
    client.create_model_version(model, str(registry.files(1)), first.run_id, tags=tags)

    def trains(job: str) -> None:
        client.create_model_version(model, str(registry.files(2)), tags={JOB_NAME: job, "validation_status": "passed"})

    table = reading.load(str(registry.dataset), churn.PROJECT).table
    table = pd.concat([table, table]).sample(frac=1, random_state=1)
    yield World(client, registry.uri, model, tmp_path, table, Cluster(trains))
    client.delete_registered_model(model)


def test_shifted_requests_of_two_days_end_in_one_proposal_and_quiet_ones_in_none(world: World) -> None:
    for number in range(4):
        world.day(number, shifted=number in {1, 2})
    assert world.run(0).startswith("not retrained: 0 of 2 windows")
    assert world.run(1).startswith("not retrained: 1 of 2 windows")
    assert world.run(1).startswith("not retrained: 1 of 2 windows"), "a window counts once"
    assert world.run(2).startswith("retraining began, because 2 windows in a row drifted")
    assert "version 2 passed its validation and is proposed" in world.run(2)
    world.run(3)
    assert (world.tags[DRIFT_WINDOWS], len(world.cluster.jobs)) == ("0", 1)
    assert PROPOSED in world.client.get_model_version(world.model, "2").tags


def test_a_feature_that_flaps_starts_no_training(world: World) -> None:
    for number in range(4):
        world.day(number, shifted=number % 2 == 0)
        world.run(number)
    assert world.cluster.jobs == []


def test_a_feature_that_flaps_around_a_drift_of_two_days_ends_in_one_training_and_one_proposal(world: World) -> None:
    for number in range(8):
        world.day(number, shifted=number % 3 != 2)
        world.run(number)
        world.run(number)
    assert len(world.cluster.jobs) == 1
    proposed = [each for each in world.client.search_model_versions(f"name='{world.model}'") if PROPOSED in each.tags]
    assert [int(each.version) for each in proposed] == [2]


def test_a_run_that_was_killed_before_it_wrote_the_window_counts_it_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.day(0, shifted=True)
    write = MlflowClient.set_model_version_tag

    def killed(client: MlflowClient, name: str, version: str, key: str, *rest: Any) -> None:
        if key == DRIFT_AT:
            raise KeyboardInterrupt
        write(client, name, version, key, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_model_version_tag", killed)
        with pytest.raises(KeyboardInterrupt):
            world.run(0)
    assert world.tags[DRIFT_WINDOWS] == "1"
    world.run(0)
    assert (world.tags[DRIFT_WINDOWS], world.tags[DRIFT_STATUS]) == ("1", "drift")


def test_reports_are_written_to_the_folder_that_the_job_may_write_to(world: World) -> None:
    world.day(0, shifted=False)
    world.run(0, "--reports", world.folder / "reports")
    run = world.client.get_run(world.tags[DRIFT_RUN])
    assert world.client.get_experiment(run.info.experiment_id).name == record.SCHEDULED
    assert list((world.folder / "reports").rglob("report.html"))


def test_outcomes_are_measured_once_for_each_window(world: World) -> None:
    world.day(0, shifted=False)
    (world.folder / "outcomes").mkdir()
    (world.folder / "outcomes/day.csv").write_text(world.opposite)
    said = world.run(0, "--outcomes", world.folder / "outcomes")
    found = json.loads(world.tags[OUTCOMES])
    assert (found["rows"], found["predictions"]) == (800, 800)
    assert found["metrics"]["accuracy"][0] == 0
    assert {"accuracy", "f1"} <= set(found["worse"])
    assert "because outcomes show" in said
    assert json.loads(world.tags[RETRAIN])["status"] == "training"


def test_the_joined_rows_are_a_table_for_the_training_and_are_replaced_at_each_look(world: World) -> None:
    world.learn("24", world.answers)
    world.day(0, shifted=False)
    world.run(0, "--outcomes", world.folder / "outcomes", training="")
    table = reading.load(str(world.joined), churn.PROJECT).table
    assert (len(table), table["churn"].value_counts()["Yes"]) == (800, 160)
    world.learn("25", world.answers)
    world.day(1, shifted=False)
    world.run(1, "--outcomes", world.folder / "outcomes", "--outcomes-days", 1, training="")
    assert {name[:3] for name in pd.read_parquet(world.joined)["request_id"]} == {"25-"}
    assert [file.name for file in world.joined.parent.iterdir()] == ["joined.parquet"]


def test_the_table_stays_while_a_version_is_trained_and_validated_on_it(world: World) -> None:
    world.day(0, shifted=False)
    (world.folder / "outcomes").mkdir()
    (world.folder / "outcomes/day.csv").write_text(world.opposite)
    said = world.run(0, "--outcomes", world.folder / "outcomes")
    assert said.startswith("retraining began")
    trained_on = world.joined.read_bytes()
    world.learn("25", world.answers)
    world.day(1, shifted=False)
    world.run(1, "--outcomes", world.folder / "outcomes")
    assert world.joined.read_bytes() == trained_on
    assert json.loads(world.tags[RETRAIN])["status"] == "proposed"
    world.day(2, shifted=False)
    world.run(2, "--outcomes", world.folder / "outcomes")
    assert len(pd.read_parquet(world.joined)) == 1600


def test_a_run_that_is_killed_while_it_writes_the_table_leaves_the_former_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(file: Path, target: Path) -> Path:
        del file, target
        raise KeyboardInterrupt

    world.learn("24", world.answers)
    world.day(0, shifted=False)
    where = ("--outcomes", world.folder / "outcomes")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            world.run(0, *where)
    assert not world.joined.exists()
    world.run(0, *where)
    assert len(pd.read_parquet(world.joined)) == 800


def test_outcomes_are_measured_although_the_log_has_no_values_of_a_column(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    world.day(0, shifted=False, redact="tenure")
    (world.folder / "outcomes").mkdir()
    (world.folder / "outcomes/day.csv").write_text(world.opposite)
    world.run(0, "--outcomes", world.folder / "outcomes")
    assert {"accuracy", "f1"} == json.loads(world.tags[OUTCOMES])["metrics"].keys()
    assert "roc_auc is not computed, because the log does not have tenure" in caplog.text
    assert "joined.parquet is not written, because the joined rows lack tenure, which a training reads" in caplog.text
    assert world.tags[DRIFT_STATUS] == "none"


def test_outcomes_without_weights_start_no_training_of_a_model_whose_training_measured_with_weights(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weighted(name: str) -> Project[Any]:
        del name
        return replace(churn.PROJECT, weight="amount")

    monkeypatch.setattr(looks.project, "load", weighted)
    world.day(0, shifted=False)
    (world.folder / "outcomes").mkdir()
    (world.folder / "outcomes/day.csv").write_text(world.opposite)
    said = world.run(0, "--outcomes", world.folder / "outcomes")
    found = json.loads(world.tags[OUTCOMES])
    assert (found["rows"], found["metrics"]["accuracy"][0], found["worse"]) == (800, 0, [])
    assert said.startswith("not retrained")


def test_without_a_training_job_nothing_is_trained(world: World) -> None:
    for number in range(2):
        world.day(number, shifted=True)
        assert "drift in 800 rows" in world.run(number, training="")
    assert (world.tags[DRIFT_WINDOWS], world.cluster.jobs) == ("2", [])


@pytest.mark.parametrize("outcomes", [False, True])
def test_a_model_of_several_labels_is_loaded_only_to_join_outcomes(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, outcomes: bool
) -> None:
    caplog.set_level("INFO")
    target = replace(churn.PROJECT.target, labels=("No", "Yes", "Perhaps"))
    several = replace(churn.PROJECT, task="multiclass", target=target)

    def load(name: str) -> Project[Any]:
        del name
        return several

    monkeypatch.setattr(looks.project, "load", load)
    files = shutil.copytree(world.client.get_model_version_download_uri(world.model, "1"), world.folder / "files")
    profile = json.loads((files / REFERENCE_PROFILE).read_text())
    del profile["prediction"]["calibration"]
    (files / REFERENCE_PROFILE).write_text(json.dumps(profile))
    (files / "MLmodel").write_text("flavors: {}\n")  # loading fails, and a note says so
    made = world.client.create_model_version(world.model, str(files), tags=world.tags)
    (world.folder / "outcomes").mkdir()
    joins = ("--outcomes", world.folder / "outcomes") if outcomes else ()
    world.run(0, "--version", made.version, *joins, training="")
    assert ("nothing is computed from the model's probabilities" in caplog.text) is outcomes


def test_a_version_without_profile_fails_as_bad_input(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / "other").mkdir()
    (world.folder / "other/MLmodel").write_text("flavors: {}\n")
    made = world.client.create_model_version(world.model, str(world.folder / "other"))
    words = ["churn", "--model", world.model, "--version", made.version, "--log", str(world.folder / "log")]
    assert job.main([*map(str, words), "--tracking-uri", world.uri]) == 2
    assert "has no reference profile" in capsys.readouterr().err


TRAINED = "churn-predictor"
STACK = "config: {mlops:endpoints: {churn-predictor: {version: 1}}}\n"
LAX: Mapping[str, object] = {
    "latency_ms": 10_000,
    "resamples": 100,
    "any_loss": 1,
    "certain_loss": 1,
    "slice_loss": 1,
    "slice_least": {},
}


@pytest.mark.long
def test_shifted_requests_end_in_a_trained_validated_and_proposed_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlops: Command
) -> None:
    for name in ("mlflow", "log"):
        (tmp_path / name).mkdir()
    server, table, log = Server(tmp_path / "mlflow"), tmp_path / "churn.csv", tmp_path / "log"
    server.start()
    try:
        training = {
            **os.environ,
            "DATASET": str(table),
            "PROJECT": "churn",
            "MODEL": TRAINED,
            "MLFLOW_TRACKING_URI": server.uri,
            "PARAMETERS": '{"n_estimators": 5, "max_depth": 4}',
            "TRAINING_JOB": "churn",
            "GIT_COMMIT": "3f2a9c1",
            "WORK_FOLDER": str(tmp_path / "work"),
            "PYTHONPATH": str(Path(job.__file__).parents[1]),
        }

        def program(*words: str, **variables: str) -> None:
            command = [sys.executable, "-m", *words]
            subprocess.run(command, env={**training, **variables}, cwd=tmp_path, check=True, capture_output=True)

        write_sample(table)
        program("training.train")
        client = MlflowClient(server.uri)
        customers = reading.load(str(table), churn.PROJECT).table
        shifted = customers.assign(tenure=customers["tenure"] / 10)
        for day in (DAY, DAY + NEXT):
            write_customers(log, pd.concat([shifted, shifted]), day, model=TRAINED, answers=["Yes"] * 2 * len(shifted))
        write_sample(table, ROWS + 50)
        cluster = Cluster(lambda name: program("training.train", JOB_NAME=name))
        world = World(client, server.uri, TRAINED, tmp_path, customers, cluster)
        assert world.run(0).startswith("not retrained: 1 of 2 windows")
        assert world.run(1).startswith("retraining began")
        assert world.run(1) == "version 2 is trained, and waits for its validation"
        program("training.validate", TRAINED, "2", VALIDATION=json.dumps(LAX))
        assert "version 2 passed its validation and is proposed" in world.run(1)

        checkout = tmp_path / "checkout"
        subprocess.run(["git", "init", "--quiet", checkout], check=True)
        (checkout / "Pulumi.yaml").write_text("name: mlops\n")
        (checkout / "Pulumi.prod.yaml").write_text(STACK)
        monkeypatch.chdir(checkout)
        with serve(tmp_path) as github:
            github.commit("main", {"Pulumi.prod.yaml": STACK})
            for name, value in environment(github).items():
                monkeypatch.setenv(name, value)
            where = ("--tagged", "--stack", "prod", "--tracking-uri", server.uri)
            assert mlops("propose", TRAINED, *where)[1].endswith("version 1 -> 2 in prod (opened)\n")
            assert mlops("propose", TRAINED, *where)[1].endswith("version 1 -> 2 in prod (unchanged)\n")
            (pull,) = github.pulls
            assert "trained again, because 2 windows in a row drifted" in pull["body"]
            assert "may be no remedy" in pull["body"]
    finally:
        server.kill()
