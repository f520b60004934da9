"""From an empty cluster to a served prediction. Every step finds out what is left to do, so that any run goes on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from contract import names
from lab import dataset, registry
from lab.board import Board
from lab.errors import LabError
from lab.recovery import checkpoint, recover
from lab.registry import Version
from lab.stack import Stack
from runs.cluster import Cluster
from runs.follow import Follower
from runs.state import Run, all_runs

MODEL = "churn-predictor"
DATASET = "s3://mlops-artifacts/datasets/churn.csv"
TRAINING_JOB, MODEL_ENDPOINT = "mlops:index:TrainingJob", "mlops:index:ModelEndpoint"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One response of the endpoint."""

    customer: Mapping[str, Any]
    answer: Any
    model_version: int


@dataclass(frozen=True, kw_only=True)
class Served:
    """The version that serves, the newest that is registered, and one prediction."""

    version: Version
    newest: int
    prediction: Prediction


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The stack of one checkout, brought onto one cluster."""

    board: Board
    stack: Stack
    cluster: Cluster
    kubectl: Callable[..., str]
    """Runs kubectl on that cluster and returns its output."""
    logs: Path
    wait_for_images: Callable[[], object]
    """Returns once the cluster has the images of training and serving; the platform itself can come up before."""

    def up(self) -> Served:
        """The platform runs, the model is trained, registered and served, and one prediction came back.

        The dataset lies in a bucket that the platform itself makes, and a served version comes from a training that the
        platform runs: so the very first time there are three updates, each taking in what the one before made possible.
        """
        recover(self.stack.refresh, self.kubectl)
        there = {resource["type"] for resource in checkpoint().get("resources", [])}
        if TRAINING_JOB not in there:
            self._deploy("platform without training and serving", without=[TRAINING_JOB, MODEL_ENDPOINT])
            self._put_dataset()
        self.wait_for_images()
        if MODEL_ENDPOINT not in there:
            self._deploy("platform with training", without=[MODEL_ENDPOINT], replace=self._failed_jobs())
            self._wait_for_training()
            self._serve_newest()
        self._deploy("platform", replace=self._failed_jobs())
        self._wait_for_training()
        self._wait_for_pods()
        return self._ask()

    def _deploy(self, what: str, *, without: Sequence[str] = (), replace: Sequence[str] = ()) -> None:
        with self.board.line(f"pulumi up: {what}") as line:
            log = self.logs / f"pulumi-up-{what.replace(' ', '-')}.log"
            exclude = [f"**{component}**" for component in without]
            line.result = self.stack.up(exclude=exclude, replace=replace, log=log, line=line.at)

    def _wait_for_pods(self) -> None:
        """Every Deployment is available: the engine waits only for those that it changes."""
        for namespace in (names.PLATFORM, names.SERVING):
            where = ("--namespace", namespace)
            try:
                self.kubectl("wait", "deployment", "--all", "--for=condition=Available", "--timeout=180s", *where)
            except LabError as error:
                pods = self.kubectl("get", "pods", *where)
                raise LabError(
                    f"Not everything in {namespace} came to run within 3 minutes;"
                    f" `lab kubectl describe pods -n {namespace}` says why.\n{pods.rstrip()}"
                ) from error

    def _put_dataset(self) -> None:
        config = self.stack.config()
        access, secret = (config[f"artifact_store_{name}_key"] for name in ("access", "secret"))
        line = self.board.line(f"dataset {DATASET}")
        with line as told, self.cluster.forwarded(names.PLATFORM, "s3", 7070) as address:
            told.result = "put" if dataset.put(address, access, secret, DATASET) else "is there"

    def _trainings(self) -> list[Run]:
        """The model's training runs that end: a Job on the lab's simulated GPU node never does."""
        config = self.stack.config()
        pools = config["foundation"]["node_pools"]
        declared: Mapping[str, Mapping[str, str]] = config.get("training", {})
        ending = {
            name
            for name, run in declared.items()
            if run["model"] == MODEL and "gpu" not in pools.get(run["node_pool"], {})
        }
        return [run for run in all_runs(self.cluster) if run.made_by == "pulumi" and run.training in ending]

    def _wait_for_training(self) -> None:
        """Every Job of the model is complete. LabError with the reason of one that failed."""
        for found in self._trainings():
            run = found if found.has_ended else self._follow(found)
            if run.status == "Failed":
                raise LabError(
                    f"Training failed: {run.reason}\n`lab kubectl logs -n {names.TRAINING} job/{run.name}` has the"
                    " whole log; `make up` tries again."
                )

    def _follow(self, run: Run) -> Run:
        with self.board.line(f"training {run.training}") as line:
            return Follower(
                cluster=self.cluster, runs=self._trainings, job=run.name, note=line.at, log=line.at
            ).until_the_end()

    def _failed_jobs(self) -> list[str]:
        """URNs of Jobs that gave up; the engine by itself sees nothing to do about them."""
        failed = {f"{names.TRAINING}/{run.name}" for run in self._trainings() if run.status == "Failed"}
        if failed:
            self._put_dataset()
        return [resource["urn"] for resource in checkpoint().get("resources", []) if resource.get("id") in failed]

    def _serve_newest(self) -> None:
        """The stack's file names a version that the registry has."""
        newest = registry.newest_version(self.cluster, MODEL)
        if newest is None:
            raise LabError(
                f"Nothing registered {MODEL}: {self.stack.file.name} needs a training run with `model: {MODEL}`"
                " on a node pool without GPUs."
            )
        told = self.stack.config().get("endpoints", {}).get(MODEL, {}).get("version")
        if told is None or told > newest:
            self.stack.set({f"endpoints.{MODEL}.version": newest, **_a_small_endpoint(told)})

    def _ask(self) -> Served:
        with self.board.line("one prediction") as line:
            with self.cluster.forwarded(names.SERVING, MODEL, 80) as address:
                prediction = predict(address, dataset.customers(1)[0])
            newest = registry.newest_version(self.cluster, MODEL) or prediction.model_version
            version = registry.version(self.cluster, MODEL, prediction.model_version)
            line.result = json.dumps(prediction.answer)
        return Served(version=version, newest=newest, prediction=prediction)


def predict(address: str, customer: Mapping[str, Any]) -> Prediction:
    """Return what the endpoint at `address` predicts for one customer."""
    url = f"{address}/invocations"
    try:
        response = httpx.post(url, json={"dataframe_records": [customer]}, timeout=60)
    except httpx.HTTPError as error:
        raise LabError(f"The endpoint does not answer at {url}: {error}.") from error
    if response.is_error:
        raise LabError(
            f"The endpoint answered {response.status_code} to a customer of its own dataset: {response.text[:300]}"
        )
    [predicted] = response.json()["predictions"]
    return Prediction(customer=customer, answer=predicted, model_version=int(response.headers["X-Model-Version"]))


def _a_small_endpoint(told: object) -> Mapping[str, object]:
    """Replicas that fit two cores, and a log of every prediction, for an endpoint that is new in the file."""
    endpoint = f"endpoints.{MODEL}"
    fresh = {f"{endpoint}.replicas.min": 1, f"{endpoint}.replicas.max": 2, f"{endpoint}.prediction_log.sample": 1}
    return {} if told else fresh
