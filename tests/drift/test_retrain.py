"""Retraining as a state in a real registry; the cluster keeps Jobs by name, as Kubernetes does."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from contract.stages import BROKEN, PASSED, REFUSED, RUNNING
from contract.tags import DRIFT_WINDOWS, JOB_NAME, OUTCOMES, PROPOSED, VALIDATION_STATUS
from drift import retrain
from drift.cluster import State
from drift.measured import Measured
from drift.retrain import Plan, Retraining
from tests.registry import Registry
from training.registry import client as versions

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
WEEK = timedelta(days=7)
NUMBERS = count()


@dataclass
class Cluster:
    """Jobs by name."""

    jobs: dict[str, State] = field(default_factory=dict[str, State])

    def state(self, job: str) -> State | None:
        return self.jobs.get(job)

    def train(self, training: str, job: str, version: str) -> None:
        assert (training, version.rsplit(maxsplit=1)[-1]) == ("churn", "1")
        self.jobs.setdefault(job, "active")


@dataclass
class World:
    """A model with one served version, its registry, and the cluster."""

    client: MlflowClient
    uri: str
    model: str
    cluster: Cluster = field(default_factory=Cluster)

    def register(self, **tags: str) -> int:
        made = self.client.create_model_version(self.model, "file:///nowhere", tags=tags)
        return int(made.version)

    def tag(self, version: int, key: str, value: str) -> None:
        self.client.set_model_version_tag(self.model, str(version), key, value)

    def tags(self, version: int = 1) -> dict[str, str]:
        return self.client.get_model_version(self.model, str(version)).tags

    def step(self, now: datetime = NOW, version: int = 1) -> str:
        plan = Plan(endpoint="churn", model=self.model, version=version, training="churn", after=2, pause=WEEK)
        return retrain.step(versions.connect(self.uri), self.cluster, plan, now)

    @property
    def state(self) -> Retraining | None:
        return retrain.of(self.client.get_model_version(self.model, "1"))

    @property
    def versions(self) -> list[ModelVersion]:
        return versions.versions(versions.connect(self.uri), self.model)

    @property
    def job(self) -> str:
        (name,) = self.cluster.jobs
        return name

    def trained(self, status: str = "", **tags: str) -> int:
        """End the Job with a version, whose validation says `status`."""
        made = self.register(**{JOB_NAME: self.job, **({VALIDATION_STATUS: status} if status else {}), **tags})
        self.cluster.jobs[self.job] = "succeeded"
        return made


@pytest.fixture
def world(registry: Registry) -> Iterator[World]:
    client = MlflowClient(registry.uri)
    model = f"drifting-{next(NUMBERS)}"
    client.create_registered_model(model)
    made = World(client, registry.uri, model)
    made.register()
    yield made
    client.delete_registered_model(model)


@pytest.fixture
def drifted(world: World) -> World:
    """Two windows in a row had an effect on the model."""
    world.tag(1, DRIFT_WINDOWS, "2")
    return world


def test_one_window_with_an_effect_trains_nothing(world: World) -> None:
    world.tag(1, DRIFT_WINDOWS, "1")
    assert world.step() == "not retrained: 1 of 2 windows in a row had an effect on the model"
    assert world.cluster.jobs == {}


def test_two_windows_in_a_row_train_once_and_propose_what_passed(drifted: World) -> None:
    assert "because 2 windows in a row drifted" in drifted.step()
    assert "trains since 2026-11-25 08:00 UTC" in drifted.step()
    made = drifted.trained()
    assert drifted.step() == "version 2 is trained, and waits for its validation"
    drifted.tag(made, VALIDATION_STATUS, PASSED)
    said = drifted.step()
    assert "version 2 passed its validation and is proposed" in said
    evidence = json.loads(drifted.tags(made)[PROPOSED])
    assert (evidence["instead_of"], evidence["windows"], evidence["job"]) == (1, 2, drifted.job)
    assert "may be no remedy" in evidence["note"], "no outcome is known"
    assert drifted.state
    assert (drifted.state.status, drifted.state.version, drifted.state.said) == ("proposed", 2, said)


def test_outcomes_that_are_certainly_worse_train_without_drift(world: World) -> None:
    found = Measured(at=NOW, predictions=900, rows=600, metrics={}, worse=["f1"])
    world.tag(1, OUTCOMES, found.model_dump_json())
    assert "because outcomes show f1 certainly worse than what the training measured" in world.step()
    made = world.trained(PASSED)
    world.step()
    evidence = json.loads(world.tags(made)[PROPOSED])
    assert (evidence["outcomes"]["rows"], evidence["note"]) == (600, "")


@pytest.mark.parametrize("status", [RUNNING, BROKEN])
def test_a_validation_that_may_still_pass_is_waited_for(drifted: World, status: str) -> None:
    drifted.step()
    made = drifted.trained(status)
    assert "waits for its validation" in drifted.step()
    drifted.tag(made, VALIDATION_STATUS, PASSED)
    assert "is proposed" in drifted.step()


def _refused(world: World) -> None:
    world.trained(REFUSED)


def _failed(world: World) -> None:
    world.cluster.jobs[world.job] = "failed"


def _deleted(world: World) -> None:
    world.cluster.jobs.clear()


def _silent(world: World) -> None:
    world.cluster.jobs[world.job] = "succeeded"


def _repeated(world: World) -> None:
    world.trained(PASSED, duplicate_of="1")


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (_refused, "the validation of version 2 says refused"),
        (_failed, "failed; look at its log"),
        (_deleted, "was deleted before it registered a version"),
        (_silent, "registered no version"),
        (_repeated, "version 2 repeats version 1, because the table is the same; give the training job new rows"),
    ],
)
def test_a_training_without_a_better_version_is_reported_and_not_tried_again_at_once(
    drifted: World, ends: Callable[[World], None], said: str
) -> None:
    drifted.step()
    ends(drifted)
    assert said in drifted.step()
    assert not [one for one in drifted.versions if PROPOSED in one.tags]
    jobs = dict(drifted.cluster.jobs)
    assert "not retrained before 2026-12-02 08:00 UTC although 2 windows" in drifted.step(NOW + timedelta(days=6))
    assert drifted.cluster.jobs == jobs
    assert "retraining began" in drifted.step(NOW + WEEK)
    assert len(drifted.cluster.jobs) == len(jobs) + 1


def test_a_proposed_version_is_not_followed_by_another(drifted: World) -> None:
    made = drifted.register(**{PROPOSED: "by hand"})
    assert f"version {made} is proposed already" in drifted.step()
    assert drifted.cluster.jobs == {}


def test_the_version_that_follows_is_not_trained_again_within_the_pause(drifted: World) -> None:
    drifted.step()
    made = drifted.trained(PASSED)
    drifted.step()
    drifted.tag(made, DRIFT_WINDOWS, "5")
    assert "not retrained before 2026-12-02" in drifted.step(NOW + timedelta(days=2), version=made)


def test_a_call_that_was_killed_after_it_created_the_job_trains_once(
    drifted: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retrain, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            drifted.step()
    drifted.tag(1, DRIFT_WINDOWS, "3")
    drifted.step(NOW + timedelta(days=1))
    assert drifted.state
    assert drifted.state.job == drifted.job


def test_a_call_that_was_killed_before_it_wrote_the_end_proposes_the_same_version(
    drifted: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    drifted.step()
    made = drifted.trained(PASSED)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retrain, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            drifted.step()
    before = drifted.tags(made)[PROPOSED]
    assert "is proposed" in drifted.step()
    assert drifted.tags(made)[PROPOSED] == before


def test_a_tag_that_was_written_by_hand_is_no_state(drifted: World) -> None:
    drifted.tag(1, "retrain", "please")
    assert "retraining began" in drifted.step()
