"""What `lab up` does, in which order, from whatever it finds; engine, cluster and registry are played."""

import io
import json
import socket
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lab import dataset, flow, registry
from lab.board import Board
from lab.errors import LabError
from lab.flow import MODEL, Flow, Prediction
from lab.reach import Kube
from lab.recovery import cancel_dead_lock, engine_arguments, recover
from lab.registry import Version
from lab.stack import Stack
from tests.lab.fakes import FakeCommands

JOB = "churn-1a2b3c"


@dataclass
class World:
    """A cluster, an engine and a registry that behave, and write down what was asked of them."""

    commands: FakeCommands
    flow: Flow
    components: set[str] = field(default_factory=set[str])
    endpoints: dict[str, Any] = field(default_factory=dict[str, Any])
    versions: int = 0
    job: str | None = None
    failed: bool = False
    dataset: bool = False
    images: bool = False
    trainings: int = 0

    @property
    def updates(self) -> list[str]:
        """The arguments of each `pulumi up`."""
        lines = self.commands.with_part("pulumi up ")
        return [line.partition("--color never ")[2].partition("--stack")[0].strip() for line in lines]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    commands = FakeCommands()
    stack = Stack(checkout=tmp_path, state=tmp_path, environment={}, commands=commands, say=lambda _: None)
    kube = Kube(context="mlops-lab", environment={}, commands=commands)
    board = Board(Console(file=io.StringIO()))
    where = {"backend": tmp_path / "pulumi", "logs": tmp_path}
    world = World(commands, Flow(board=board, stack=stack, kube=kube, **where, wait_for_images=lambda: images(world)))
    (tmp_path / "secrets.json").write_text("{}")
    commands.answers |= {
        "stack export": lambda _: deployment(world),
        "config --json": lambda _: config(world),
        "config set-all": lambda command: set_all(world, command),
        "pulumi up": lambda command: update(world, command),
        "get job": lambda command: jobs(world, command),
        "get pod ": json.dumps({"items": []}),
        "get deployment": json.dumps({"items": [{}]}),
    }

    @contextmanager
    def forwarded(*_: object) -> Generator[str]:
        yield "http://127.0.0.1:1"

    def put(*_: object) -> bool:
        there, world.dataset = world.dataset, True
        return not there

    monkeypatch.setattr(Kube, "forwarded", forwarded)

    def newest(*_: object) -> Version | None:
        return Version(world.versions, {}) if world.versions else None

    def version(_: str, __: str, number: int) -> Version:
        return Version(number, {"accuracy": 0.8})

    def customers(_: int) -> list[dict[str, Any]]:
        return [{"tenure": 1}]

    def predict(_: str, customer: Mapping[str, Any]) -> Prediction:
        return Prediction(customer=customer, answer="No", model_version=world.endpoints[MODEL]["version"])

    monkeypatch.setattr(Kube, "forwarded", forwarded)
    monkeypatch.setattr(dataset, "put", put)
    monkeypatch.setattr(dataset, "customers", customers)
    monkeypatch.setattr(registry, "newest_version", newest)
    monkeypatch.setattr(registry, "version", version)
    monkeypatch.setattr(flow, "predict", predict)
    return world


def images(world: World) -> None:
    world.images = True


def deployment(world: World) -> str:
    resources = [{"type": kind, "urn": f"urn:{kind}"} for kind in world.components]
    job = [{"type": "kubernetes:batch/v1:Job", "urn": "urn:job", "id": f"ml-training/{world.job}"}] if world.job else []
    return json.dumps({"deployment": {"resources": [*resources, *job]}})


def config(world: World) -> str:
    pools = {"cpu": {"labels": {"a": "b"}}, "gpu": {"gpu": {"max": 1}}}
    run = {"model": MODEL, "node_pool": "cpu"}
    values = {
        "foundation": {"node_pools": pools},
        "training": {"churn": run, "on-gpu": {**run, "node_pool": "gpu"}, "other": {**run, "model": "other"}},
        "endpoints": world.endpoints,
    }
    return json.dumps({f"mlops:{key}": {"objectValue": value} for key, value in values.items()})


def set_all(world: World, command: Sequence[str]) -> str:
    [setting] = [word for word in command if word.startswith(f"--plaintext=mlops:endpoints.{MODEL}.version=")]
    world.endpoints = {MODEL: {"version": int(setting.rpartition("=")[2])}}
    return ""


def update(world: World, command: Sequence[str]) -> str:
    """An update that trains at once: what it is told to leave out does not come to be."""
    line = " ".join(command)
    world.components.add("mlops:index:MlflowServer")
    if "TrainingJob" not in line:
        world.components.add("mlops:index:TrainingJob")
        if world.job is None or "--replace=urn:job" in line:
            assert world.dataset, "trained before the dataset was there"
            assert world.images, "trained before the image was there"
            world.job, world.failed = JOB + "x" * world.trainings, False
            world.trainings += 1
            world.versions += 1
    if "ModelEndpoint" not in line and world.endpoints:
        assert world.endpoints[MODEL]["version"] <= world.versions, "served a version that does not exist"
        world.components.add("mlops:index:ModelEndpoint")
    return "Resources:\n    + 3 created\n    ~ 1 updated\n"


def jobs(world: World, command: Sequence[str]) -> str:
    """One Job of each training run; only that of `churn` ever ends."""

    def job(instance: str, name: str, *conditions: Mapping[str, str]) -> dict[str, Any]:
        labels = {"app.kubernetes.io/instance": instance}
        return {"metadata": {"name": name, "labels": labels}, "status": {"conditions": conditions}}

    if world.job is None:
        return ""
    kind = "Failed" if world.failed else "Complete"
    ours = job("churn", world.job, {"type": kind, "status": "True", "message": "BackoffLimitExceeded"})
    if world.job in command:
        return json.dumps(ours)
    return json.dumps({"items": [ours, job("on-gpu", "on-gpu-1"), job("other", "other-1")]})


def test_an_empty_cluster_gets_platform_dataset_training_and_endpoint_in_this_order(world: World) -> None:
    served = world.flow.up()
    assert world.updates == [
        "--exclude=**mlops:index:TrainingJob** --exclude=**mlops:index:ModelEndpoint**",
        "--exclude=**mlops:index:ModelEndpoint**",
        "",
    ]
    assert (served.version.number, served.newest, world.trainings) == (1, 1, 1)


def test_a_second_time_it_is_one_update_and_no_training(world: World) -> None:
    world.flow.up()
    before = len(world.updates)
    world.flow.up()
    assert world.updates[before:] == [""]
    assert world.trainings == 1


@pytest.mark.parametrize("step", ["pulumi up", "get job", "config set-all", "wait deployment"])
@pytest.mark.parametrize("how_often_it_works", [0, 1, 2])
def test_interrupted_anywhere_it_goes_on_and_trains_once(world: World, step: str, how_often_it_works: int) -> None:
    works = world.commands.answers.get(step, "")
    left = how_often_it_works

    def breaks(command: Sequence[str]) -> str:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return works(command) if callable(works) else ""

    world.commands.answers[step] = breaks
    with suppress(KeyboardInterrupt):
        world.flow.up()
    world.commands.answers[step] = works
    assert world.flow.up().version.number == 1
    assert world.trainings == 1


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
    assert world.updates[-1] == "--replace=urn:job"
    assert world.trainings == 2


def test_a_training_that_fails_ends_with_its_last_log_line(world: World) -> None:
    world.flow.up()
    world.failed = True
    pod: dict[str, Any] = {
        "metadata": {"name": "churn-1", "creationTimestamp": "1"},
        "status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {}}}]},
    }
    world.commands.answers |= {
        "get pod ": json.dumps({"items": [pod]}),
        "logs churn-1": "s3://x/churn.csv lacks the column tenure\n",
        "pulumi up": "",
    }
    with pytest.raises(LabError, match=r"Training failed \(BackoffLimitExceeded\): s3://x/churn.csv lacks the column"):
        world.flow.up()


def test_without_any_training_of_the_model_it_says_what_is_missing(world: World) -> None:
    world.components, world.job, world.dataset = {"mlops:index:TrainingJob"}, JOB, True
    with pytest.raises(LabError, match=f"Nothing registered {MODEL}"):
        world.flow.up()


def test_pods_that_never_run_are_shown(world: World) -> None:
    world.commands.answers |= {
        "wait deployment": LabError("timed out"),
        "get pods": "mlflow-0  0/1  ImagePullBackOff",
    }
    with pytest.raises(LabError, match=r"(?s)mlops-platform .*describe pods.*ImagePullBackOff"):
        world.flow.up()


def lock(world: World, process: int) -> None:
    folder = world.flow.backend / ".pulumi" / "locks" / "organization" / "mlops" / "local"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(json.dumps({"pid": process, "hostname": socket.gethostname()}))


def test_the_lock_of_a_dead_engine_is_cancelled(world: World) -> None:
    lock(world, process=2**22 + 1)
    cancel_dead_lock(world.flow.stack, world.flow.backend)
    assert world.commands.with_part("pulumi cancel --yes")


def test_a_living_engine_is_waited_for_by_the_user(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lock(world, process=17)

    def runs(process: int) -> bool:
        return process == 17

    monkeypatch.setattr("lab.recovery._runs", runs)
    with pytest.raises(LabError, match=r"process 17\) is at work on stack local: wait"):
        world.flow.up()
    assert not world.updates


def left_pending(world: World, *operations: Mapping[str, Any]) -> None:
    file = world.flow.backend / ".pulumi" / "stacks" / "mlops" / "local.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"checkpoint": {"latest": {"pending_operations": operations}}}))


def creating(**metadata: object) -> dict[str, Any]:
    inputs = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
    return {"type": "creating", "resource": {"inputs": inputs}}


def test_what_a_killed_engine_had_named_itself_is_no_orphan(world: World) -> None:
    auto = creating(name="churn-1", namespace="ml-training", annotations={"pulumi.com/autonamed": "true"})
    left_pending(world, creating(name="fixed", namespace="ml-training"), auto)
    recover(world.flow.stack, world.flow.kube, world.flow.backend)
    [deleted] = world.commands.with_part(" delete ")
    assert "delete Job.batch churn-1 --namespace ml-training" in deleted
    assert world.commands.with_part("refresh --yes --skip-preview --clear-pending-creates")


def test_what_a_killed_engine_had_begun_to_change_is_read_anew(world: World) -> None:
    left_pending(world, {"type": "updating", "resource": {"inputs": {}}})
    recover(world.flow.stack, world.flow.kube, world.flow.backend)
    assert world.commands.with_part("pulumi refresh --yes")
    assert engine_arguments(["up", "--yes"], world.flow.stack, world.flow.backend) == ["up", "--yes", "--refresh"]
    assert engine_arguments(["config"], world.flow.stack, world.flow.backend) == ["config"]


def test_an_engine_that_ended_well_leaves_nothing_to_do(world: World) -> None:
    left_pending(world)
    recover(world.flow.stack, world.flow.kube, world.flow.backend)
    assert engine_arguments(["up"], world.flow.stack, world.flow.backend) == ["up"]
    assert not world.commands.ran
