"""What `lab up` does, in which order, from whatever it finds; engine, cluster and registry are played."""

import io
import json
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typing_extensions import override

from components import names
from lab import dataset, flow, paths, registry
from lab.board import Board
from lab.errors import LabError
from lab.flow import MODEL, Flow, Prediction
from lab.recovery import engine_arguments, recover
from lab.registry import Version
from lab.stack import Stack
from runs.cluster import Cluster
from runs.state import Pod, Run

JOB = "churn-1a2b3c"
POOLS = {"cpu": {"labels": {"a": "b"}}, "gpu": {"gpu": {"max": 1}}}
CHURN = {"model": MODEL, "node_pool": "cpu"}


@dataclass
class World:
    """A cluster, an engine and a registry that behave, and write down what was asked of them."""

    flow: Flow = field(init=False)
    updates: list[str] = field(default_factory=list[str])
    kubectl: list[str] = field(default_factory=list[str])
    components: set[str] = field(default_factory=set[str])
    endpoints: dict[str, Any] = field(default_factory=dict[str, Any])
    trainings: dict[str, dict[str, str]] = field(default_factory=lambda: {"churn": CHURN})
    versions: int = 0
    job: str | None = None
    failed: bool = False
    dataset: bool = False
    images: bool = False
    trained: int = 0
    steps_left: dict[str, int] = field(default_factory=dict[str, int])
    """How often a step works before the user interrupts it."""

    def step(self, name: str) -> None:
        if name in self.steps_left:
            self.steps_left[name] -= 1
            if self.steps_left[name] < 0:
                raise KeyboardInterrupt

    def config(self) -> dict[str, Any]:
        gpu, other = {**CHURN, "node_pool": "gpu"}, {**CHURN, "model": "other"}
        return {
            "foundation": {"node_pools": POOLS},
            "training": {**self.trainings, "on-gpu": gpu, "other": other},
            "endpoints": self.endpoints,
            "artifact_store_access_key": "key",
            "artifact_store_secret_key": "secret",
        }

    def update(self, exclude: Sequence[str], replace: Sequence[str]) -> str:
        """An update that trains at once: what it is told to leave out does not come to be."""
        self.step("up")
        without = [name for name in (flow.TRAINING_JOB, flow.MODEL_ENDPOINT) if f"**{name}**" in exclude]
        self.updates.append(
            " ".join([*(f"without {name}" for name in without), *(f"replace {urn}" for urn in replace)])
        )
        self.components.add("mlops:index:MlflowServer")
        if flow.TRAINING_JOB not in without:
            self.components.add(flow.TRAINING_JOB)
            if self.job is None or "urn:job" in replace:
                assert self.dataset, "trained before the dataset was there"
                assert self.images, "trained before the image was there"
                self.job, self.failed = f"{JOB}{self.trained}", False
                self.trained += 1
                self.versions += 1
        if flow.MODEL_ENDPOINT not in without and self.endpoints:
            assert self.endpoints[MODEL]["version"] <= self.versions, "served a version that does not exist"
            self.components.add(flow.MODEL_ENDPOINT)
        self.record()
        return "1 create"

    def record(self, *pending: Mapping[str, Any]) -> None:
        """Writes what the engine has on record, where the real one writes it."""
        job = [{"type": "Job", "urn": "urn:job", "id": f"{names.TRAINING}/{self.job}"}] if self.job else []
        resources = [*({"type": kind, "urn": f"urn:{kind}"} for kind in self.components), *job]
        file = paths.pulumi_backend() / ".pulumi" / "stacks" / "mlops" / "local.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        latest = {"resources": resources, "pending_operations": pending}
        file.write_text(json.dumps({"checkpoint": {"latest": latest}}))

    def runs(self) -> list[Run]:
        """A Job of each training run; only that of `churn` ever ends."""
        kind = "Failed" if self.failed else "Complete"
        self.step("runs")
        ours = [run("churn", self.job, {"type": kind, "status": "True", "reason": "BackoffLimitExceeded"})]
        return (ours if self.job else []) + [run("on-gpu", "on-gpu-1"), run("other", "other-1")]


def run(training: str, job: str | None, *conditions: Mapping[str, str]) -> Run:
    labels = {names.INSTANCE: training, names.MANAGED_BY: "pulumi"}
    words = {"terminated": {"exitCode": 2, "message": "s3://x/churn.csv lacks the column tenure"}}
    pod = {"status": {"containerStatuses": [{"state": words}]}}
    made = {"metadata": {"name": job, "labels": labels}, "status": {"conditions": conditions}}
    return Run(job=made, pods=[Pod(pod=pod)] if training == "churn" else [])


class PlayedStack(Stack):
    """The stack's file and the engine, as far as the flow sees them."""

    world: World

    @override
    def config(self) -> dict[str, Any]:
        return world_of(self).config()

    @override
    def set(self, values: Mapping[str, object]) -> None:
        world_of(self).step("set")
        version = values[f"endpoints.{MODEL}.version"]
        world_of(self).endpoints = {MODEL: {"version": version}}

    @override
    def up(self, *, exclude: Sequence[str], replace: Sequence[str], log: Path, line: Callable[[str], None]) -> str:
        return world_of(self).update(exclude, replace)

    @override
    def refresh(self) -> None:
        world_of(self).updates.append("refresh")


WORLDS: dict[Path, World] = {}


def world_of(stack: Stack) -> World:
    return WORLDS[stack.checkout]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    world = WORLDS[tmp_path] = World()

    def kubectl(*arguments: str) -> str:
        world.step(arguments[0])
        world.kubectl.append(" ".join(arguments))
        return ""

    def images() -> None:
        world.images = True

    world.flow = Flow(
        board=Board(Console(file=io.StringIO())), stack=PlayedStack(checkout=tmp_path), cluster=Cluster(),
        kubectl=kubectl, logs=tmp_path, wait_for_images=images,
    )  # fmt: skip

    @contextmanager
    def forwarded(*_: object) -> Generator[str]:
        yield "http://127.0.0.1:1"

    def put(*_: object) -> bool:
        there, world.dataset = world.dataset, True
        return not there

    def predict(_: str, customer: Mapping[str, Any]) -> Prediction:
        return Prediction(customer=customer, answer="No", model_version=world.endpoints[MODEL]["version"])

    def version(_: Cluster, __: str, number: int) -> Version:
        return Version(number, {"accuracy": 0.8})

    def newest(*_: object) -> int | None:
        return world.versions or None

    def customers(_: int) -> list[dict[str, Any]]:
        return [{"tenure": 1}]

    def all_runs(_: Cluster) -> list[Run]:
        return world.runs()

    monkeypatch.setattr(Cluster, "forwarded", forwarded)
    monkeypatch.setattr(dataset, "put", put)
    monkeypatch.setattr(dataset, "customers", customers)
    monkeypatch.setattr(registry, "newest_version", newest)
    monkeypatch.setattr(registry, "version", version)
    monkeypatch.setattr(flow, "predict", predict)
    monkeypatch.setattr(flow, "all_runs", all_runs)
    return world


WITHOUT_TRAINING = "without mlops:index:TrainingJob without mlops:index:ModelEndpoint"


def test_an_empty_cluster_gets_platform_dataset_training_and_endpoint_in_this_order(world: World) -> None:
    served = world.flow.up()
    assert world.updates == [WITHOUT_TRAINING, "without mlops:index:ModelEndpoint", ""]
    assert (served.version.number, served.newest, world.trained) == (1, 1, 1)


def test_a_second_time_it_is_one_update_and_no_training(world: World) -> None:
    world.flow.up()
    before = len(world.updates)
    world.flow.up()
    assert world.updates[before:] == [""]
    assert world.trained == 1


@pytest.mark.parametrize("step", ["up", "runs", "set", "wait"])
@pytest.mark.parametrize("how_often_it_works", [0, 1, 2])
def test_interrupted_anywhere_it_goes_on_and_trains_once(world: World, step: str, how_often_it_works: int) -> None:
    world.steps_left = {step: how_often_it_works}
    with suppress(KeyboardInterrupt):
        world.flow.up()
    world.steps_left = {}
    assert world.flow.up().version.number == 1
    assert world.trained == 1


def test_a_version_that_the_owner_chose_stays(world: World) -> None:
    world.flow.up()
    world.versions, world.endpoints = 2, {MODEL: {"version": 1}}
    served = world.flow.up()
    assert (served.version.number, served.newest) == (1, 2)


def test_after_a_destroy_the_file_names_a_version_of_the_new_registry(world: World) -> None:
    world.endpoints = {MODEL: {"version": 7}}
    assert world.flow.up().version.number == 1


def test_a_training_that_gave_up_is_tried_again(world: World) -> None:
    world.flow.up()
    world.failed = True
    world.flow.up()
    assert world.updates[-1] == "replace urn:job"
    assert world.trained == 2


def test_a_training_that_fails_ends_with_the_last_words_of_its_pod(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.flow.up()
    world.failed = True

    def changes_nothing(*_: object, **__: object) -> str:
        return ""

    monkeypatch.setattr(PlayedStack, "up", changes_nothing)
    with pytest.raises(LabError, match=r"Training failed: s3://x/churn.csv lacks the column tenure\n.*kubectl logs"):
        world.flow.up()


def test_without_any_training_of_the_model_it_says_what_is_missing(world: World) -> None:
    world.components, world.job, world.dataset = {"mlops:index:TrainingJob"}, JOB, True
    world.record()
    with pytest.raises(LabError, match=f"Nothing registered {MODEL}"):
        world.flow.up()


def test_pods_that_never_run_are_shown(world: World, tmp_path: Path) -> None:
    def kubectl(*arguments: str) -> str:
        if arguments[0] == "wait":
            raise LabError("timed out")
        return "mlflow-0  0/1  ImagePullBackOff"

    broken = Flow(
        board=world.flow.board, stack=world.flow.stack, cluster=world.flow.cluster, kubectl=kubectl, logs=tmp_path,
        wait_for_images=world.flow.wait_for_images,
    )  # fmt: skip
    with pytest.raises(LabError, match=r"(?s)mlops-platform .*describe pods.*ImagePullBackOff"):
        broken.up()


def lock(process: int) -> Path:
    file = paths.pulumi_backend() / ".pulumi" / "locks" / "organization" / "mlops" / "local" / "1.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"pid": process, "hostname": socket.gethostname()}))
    return file


def test_the_lock_of_a_dead_engine_is_removed(world: World) -> None:
    file = lock(process=2**22 + 1)
    world.flow.up()
    assert not file.exists()


def test_a_living_engine_is_waited_for_by_the_user(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    file = lock(process=17)

    def runs(process: int) -> bool:
        return process == 17

    monkeypatch.setattr("lab.recovery._runs", runs)
    with pytest.raises(LabError, match=r"process 17\) is at work on stack local: wait"):
        world.flow.up()
    assert file.exists()
    assert not world.updates


def creating(**metadata: object) -> dict[str, Any]:
    inputs = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
    return {"type": "creating", "resource": {"inputs": inputs}}


def test_what_a_killed_engine_had_named_itself_is_no_orphan(world: World) -> None:
    auto = creating(name="churn-1", namespace="ml-training", annotations={"pulumi.com/autonamed": "true"})
    world.record(creating(name="fixed", namespace="ml-training"), auto)
    recover(world.flow.stack.refresh, world.flow.kubectl)
    assert world.kubectl == ["delete Job.batch churn-1 --namespace ml-training --ignore-not-found --wait=false"]
    assert world.updates == ["refresh"]


def test_what_a_killed_engine_had_begun_to_change_is_read_from_the_cluster_again(world: World) -> None:
    world.record({"type": "updating", "resource": {"inputs": {}}})
    recover(world.flow.stack.refresh, world.flow.kubectl)
    assert world.updates == ["refresh"]
    assert engine_arguments(["up", "--yes"]) == ["up", "--yes", "--refresh"]
    assert engine_arguments(["config"]) == ["config"]


def test_an_engine_that_ended_well_leaves_nothing_to_do(world: World) -> None:
    world.record()
    recover(world.flow.stack.refresh, world.flow.kubectl)
    assert engine_arguments(["up"]) == ["up"]
    assert not world.updates
    assert not world.kubectl
