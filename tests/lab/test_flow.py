"""`lab up`: its calls to engine, cluster and registry, and their order, for each state of the lab.

Engine, cluster and registry are fakes that return prepared values and record the calls.
"""

import io
import json
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typing_extensions import override

from contract import names
from images.board import Board
from images.errors import ProgramError
from lab import dataset, flow, paths
from lab.errors import LabError
from lab.flow import DEPLOYMENT, EXPORTER, MODEL, MODEL_ENDPOINT, TRAINING_JOB, Flow, Prediction
from lab.recovery import engine_arguments, recover
from lab.stack import Stack
from runs import follow
from runs.cluster import Cluster
from runs.state import Pod, Run

JOB = "churn-1a2b3c"
POOLS = {"cpu": {"labels": {"a": "b"}}, "gpu": {"gpu": {"max": 1}}}
CHURN = {"model": MODEL, "node_pool": "cpu"}
TRAININGS = {"churn": CHURN, "on-gpu": {**CHURN, "node_pool": "gpu"}, "other": {**CHURN, "model": "other"}}


def run(training: str, job: str, phase: str, *conditions: Mapping[str, str]) -> Run:
    labels = {names.INSTANCE: training, names.MANAGED_BY: "pulumi"}
    words = {"terminated": {"exitCode": 2, "message": "s3://x/churn.csv lacks the column tenure"}}
    status = {"phase": phase, "containerStatuses": [{"state": words if phase == "Failed" else {}}]}
    made = {"metadata": {"name": job, "labels": labels}, "spec": {}, "status": {"conditions": conditions}}
    return Run(job=made, pods=[Pod(pod={"metadata": {"name": f"{job}-pod"}, "status": status})])


PENDING = run("churn", JOB, "Pending")
TRAINED = run("churn", JOB, "Succeeded", {"type": "Complete", "status": "True"})
FAILED = run("churn", JOB, "Failed", {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"})
NEVER_END = [run("on-gpu", "on-gpu-1", "Pending"), run("other", "other-1", "Pending")]


@dataclass(kw_only=True)
class World:
    """Prepared values, and recorded calls in `asked`. `looks` has the run of `churn` for each poll; the last stays."""

    looks: list[Run] = field(default_factory=lambda: [TRAINED])
    newest: int | None = 1
    served: int = 1
    endpoints: dict[str, Any] = field(default_factory=dict[str, Any])
    pods: str = ""
    """Output of `kubectl get pods`; if it is not empty, no Deployment becomes available."""
    asked: list[str] = field(default_factory=list[str])

    def see(self) -> list[Run]:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if (word := f"see {look.status}") not in self.asked[-1:]:
            self.asked.append(word)
        return [look, *NEVER_END]

    def kubectl(self, *arguments: str) -> str:
        self.asked.append(" ".join(["kubectl", *arguments]))
        if self.pods and arguments[0] == "wait":
            raise ProgramError("timed out")
        return self.pods


@dataclass(frozen=True)
class Registry:
    """Fake of the connection to MLflow."""

    world: World

    def newest_version(self, _: str) -> int | None:
        return self.world.newest

    def metrics(self, *_: object) -> Mapping[str, float]:
        return {"accuracy": 0.8}


@dataclass(frozen=True, kw_only=True)
class PlayedStack(Stack):
    """Fake of the stack file and the engine."""

    world: World

    @override
    def config(self) -> dict[str, Any]:
        keys = {f"artifact_store_{name}_key": name for name in ("access", "secret")}
        return {"foundation": {"node_pools": POOLS}, "training": TRAININGS, "endpoints": self.world.endpoints, **keys}

    @override
    def set(self, values: Mapping[str, object], secrets: Mapping[str, str] | None = None) -> None:
        told = (f"{path.removeprefix(f'endpoints.{MODEL}.')}={value}" for path, value in values.items())
        self.world.asked.append(f"set {' '.join(told)}")

    @override
    def up(self, *, exclude: Sequence[str], replace: Sequence[str], log: Path, line: Callable[[str], None]) -> str:
        without = [f"without {name.strip('*')}" for name in exclude]
        self.world.asked.append(" ".join(["up", *without, *(f"replace {urn}" for urn in replace)]))
        return "1 create"

    @override
    def refresh(self) -> None:
        self.world.asked.append("refresh")


def record(*types: str, refused: bool = False, pending: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the engine's record of a stack with components of these types.

    A TrainingJob has its Job, and a ModelEndpoint its Deployment, unless the gate has `refused` it.
    """
    job = [{"type": "Job", "urn": "urn:job", "id": f"{names.TRAINING}/{JOB}"}] if TRAINING_JOB in types else []
    urn = f"urn:pulumi:local::mlops::{MODEL_ENDPOINT}${DEPLOYMENT}::{MODEL}"
    deployment = [{"type": DEPLOYMENT, "urn": urn}] if MODEL_ENDPOINT in types and not refused else []
    resources = [*({"type": kind, "urn": f"urn:{kind}"} for kind in types), *job, *deployment]
    file = paths.pulumi_backend() / ".pulumi" / "stacks" / "mlops" / "local.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    latest = {"resources": resources, "pending_operations": pending}
    file.write_text(json.dumps({"checkpoint": {"latest": latest}}))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    monkeypatch.setattr(follow, "SECONDS_BETWEEN_POLLS", 0.001)

    @contextmanager
    def forwarded(*_: object) -> Generator[str]:
        yield "http://127.0.0.1:1"

    def put(*_: object) -> bool:
        world.asked.append("put dataset")
        return True

    def predict(_: str, customer: Mapping[str, Any]) -> Prediction:
        world.asked.append("predict")
        return Prediction(customer=customer, value="No", model_version=world.served)

    @contextmanager
    def connected(_: Cluster) -> Generator[Registry]:
        yield Registry(world)

    def customers(_: int) -> list[dict[str, Any]]:
        return [{"tenure": 1}]

    def all_runs(_: Cluster) -> list[Run]:
        return world.see()

    monkeypatch.setattr(Cluster, "forwarded", forwarded)
    monkeypatch.setattr(dataset, "put", put)
    monkeypatch.setattr(dataset, "customers", customers)
    monkeypatch.setattr(flow, "connected", connected)
    monkeypatch.setattr(flow, "predict", predict)
    monkeypatch.setattr(flow, "all_runs", all_runs)
    return world


@pytest.fixture
def lab_up(world: World, tmp_path: Path) -> Flow:
    return Flow(
        board=Board(Console(file=io.StringIO())), stack=PlayedStack(checkout=tmp_path, world=world), cluster=Cluster(),
        kubectl=world.kubectl, logs=tmp_path, wait_for_images=lambda: world.asked.append("wait for images"),
    )  # fmt: skip


PLATFORM = [f"up without {TRAINING_JOB} without {MODEL_ENDPOINT} without {EXPORTER}", "put dataset"]
IMAGES = ["wait for images"]
TRAINING = ["see Succeeded", f"up without {MODEL_ENDPOINT}", "see Succeeded"]
SET = ["set version=1 replicas.min=1 replicas.max=2 prediction_log.sample=1"]
ALL = ["see Succeeded", "up", "see Succeeded"]
AVAILABLE = [
    f"kubectl wait deployment --all --for=condition=Available --timeout=180s --namespace {namespace}"
    for namespace in (names.PLATFORM, names.SERVING)
]


@pytest.mark.parametrize(
    ("recorded", "asked"),
    [
        ([], [*PLATFORM, *IMAGES, *TRAINING, *SET, *ALL]),
        (["mlops:index:MlflowServer"], [*PLATFORM, *IMAGES, *TRAINING, *SET, *ALL]),
        ([TRAINING_JOB], [*IMAGES, *TRAINING, *SET, *ALL]),
        ([TRAINING_JOB, MODEL_ENDPOINT], [*IMAGES, *ALL]),
    ],
    ids=["nothing", "a platform in part", "a platform that trains", "a platform that serves"],
)
def test_from_whatever_an_earlier_run_deployed_it_goes_on_to_a_prediction(
    world: World, lab_up: Flow, recorded: list[str], asked: list[str]
) -> None:
    record(*recorded)
    served = lab_up.up()
    assert world.asked == [*asked, *AVAILABLE, "predict"]
    assert (served.version, served.prediction.value) == (1, "No")


def test_an_endpoint_that_the_gate_refused_is_made_after_the_training(world: World, lab_up: Flow) -> None:
    record(TRAINING_JOB, MODEL_ENDPOINT, refused=True)
    lab_up.up()
    assert world.asked == [*IMAGES, *TRAINING, *SET, *ALL, *AVAILABLE, "predict"]


def test_no_version_is_chosen_before_the_training_has_ended(world: World, lab_up: Flow) -> None:
    world.looks = [PENDING] * 5 + [TRAINED]
    record(TRAINING_JOB)
    lab_up.up()
    pending = [*IMAGES, "see Pending", f"up without {MODEL_ENDPOINT}", "see Pending", "see Succeeded"]
    assert world.asked == [*pending, *SET, *ALL, *AVAILABLE, "predict"]


@pytest.mark.parametrize(
    ("written", "newest", "told"),
    [(None, 3, [SET[0].replace("=1", "=3", 1)]), (7, 3, ["set version=3"]), (2, 3, []), (3, 3, [])],
    ids=["no version", "one of a registry that is gone", "an older one, which its owner chose", "the newest"],
)
def test_the_file_gets_the_newest_version_where_it_names_none_that_there_is(
    world: World, lab_up: Flow, written: int | None, newest: int, told: list[str]
) -> None:
    record(TRAINING_JOB)
    world.newest, world.served = newest, written or newest
    world.endpoints = {MODEL: {"version": written}} if written else {}
    served = lab_up.up()
    assert [word for word in world.asked if word.startswith("set")] == told
    assert (served.version, served.newest) == (world.served, newest)


def test_a_training_that_gave_up_is_tried_again_with_the_dataset_in_its_place(world: World, lab_up: Flow) -> None:
    world.looks = [FAILED, TRAINED]
    record(TRAINING_JOB, MODEL_ENDPOINT)
    lab_up.up()
    again = ["see Failed", "put dataset", "up replace urn:job", "see Succeeded"]
    assert world.asked == [*IMAGES, *again, *AVAILABLE, "predict"]


def test_a_training_that_fails_ends_with_the_last_words_of_its_pod(world: World, lab_up: Flow) -> None:
    world.looks = [PENDING, PENDING, FAILED]
    record(TRAINING_JOB)
    with pytest.raises(LabError, match=r"Training failed: s3://x/churn.csv lacks the column tenure\n.*kubectl logs"):
        lab_up.up()
    assert world.asked[-1] == "see Failed"


def test_without_any_training_of_the_model_it_says_what_is_missing(world: World, lab_up: Flow) -> None:
    world.newest = None
    record(TRAINING_JOB)
    with pytest.raises(LabError, match=f"No version of {MODEL} is registered"):
        lab_up.up()


def test_pods_that_never_run_are_shown(world: World, lab_up: Flow) -> None:
    world.pods = "mlflow-0  0/1  ImagePullBackOff"
    with pytest.raises(LabError, match=r"(?s)mlops-platform .*describe pods.*ImagePullBackOff"):
        lab_up.up()


def lock(process: int) -> Path:
    file = paths.pulumi_backend() / ".pulumi" / "locks" / "organization" / "mlops" / "local" / "1.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"pid": process, "hostname": socket.gethostname()}))
    return file


def test_the_lock_of_a_dead_engine_is_removed(lab_up: Flow) -> None:
    file = lock(process=2**22 + 1)
    lab_up.up()
    assert not file.exists()


def test_a_living_engine_is_waited_for_by_the_user(world: World, lab_up: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    file = lock(process=17)

    def runs(process: int) -> bool:
        return process == 17

    monkeypatch.setattr("lab.recovery._is_running", runs)
    with pytest.raises(LabError, match=r"process 17\) is using stack local: wait"):
        lab_up.up()
    assert file.exists()
    assert not world.asked


def creating(**metadata: object) -> dict[str, Any]:
    inputs = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
    return {"type": "creating", "resource": {"inputs": inputs}}


def test_what_a_killed_engine_had_named_itself_is_no_orphan(world: World, lab_up: Flow) -> None:
    auto = creating(name="churn-1", namespace="ml-training", annotations={"pulumi.com/autonamed": "true"})
    record(pending=[creating(name="fixed", namespace="ml-training"), auto])
    recover(lab_up.stack.refresh, world.kubectl)
    deleted = "kubectl delete Job.batch churn-1 --namespace ml-training --ignore-not-found --wait=false"
    assert world.asked == [deleted, "refresh"]


def test_what_a_killed_engine_had_begun_to_change_is_read_from_the_cluster_again(world: World, lab_up: Flow) -> None:
    record(pending=[{"type": "updating", "resource": {"inputs": {}}}])
    recover(lab_up.stack.refresh, world.kubectl)
    assert world.asked == ["refresh"]
    assert engine_arguments(["up", "--yes"]) == ["up", "--yes", "--refresh"]
    assert engine_arguments(["config"]) == ["config"]


def test_an_engine_that_ended_well_leaves_nothing_to_do(world: World, lab_up: Flow) -> None:
    record()
    recover(lab_up.stack.refresh, world.kubectl)
    assert engine_arguments(["up"]) == ["up"]
    assert not world.asked
