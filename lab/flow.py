"""From an empty cluster to a served prediction. Every step finds out what is left to do, so that any run goes on."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lab import dataset, jobs, registry
from lab.board import Board
from lab.errors import LabError
from lab.reach import Kube
from lab.recovery import recover
from lab.registry import Version
from lab.stack import Stack

MODEL = "churn-predictor"
DATASET = "s3://mlops-artifacts/datasets/churn.csv"
PLATFORM, SERVING = "mlops-platform", "ml-serving"
TRAINING_JOB, MODEL_ENDPOINT = "mlops:index:TrainingJob", "mlops:index:ModelEndpoint"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answer of the endpoint."""

    customer: Mapping[str, Any]
    answer: Any
    model_version: int


@dataclass(frozen=True, kw_only=True)
class Served:
    """How it ended: the version that serves, the newest there is, and one answer."""

    version: Version
    newest: int
    prediction: Prediction


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The stack of one checkout, brought onto one cluster."""

    board: Board
    stack: Stack
    kube: Kube
    backend: Path
    logs: Path
    wait_for_images: Callable[[], object]
    """Returns once the cluster has what training and serving run on; the platform itself can come up before."""

    def up(self) -> Served:
        """The platform runs, the model is trained, registered and served, and one prediction came back.

        The dataset lies in a bucket that the platform itself makes, and a served version comes from a training that the
        platform runs: so the very first time there are three updates, each taking in what the one before made possible.
        """
        recover(self.stack, self.kube, self.backend)
        there = self._component_types()
        if TRAINING_JOB not in there:
            self._deploy("platform without training and serving", _without(TRAINING_JOB), _without(MODEL_ENDPOINT))
            self._put_dataset()
        self.wait_for_images()
        if MODEL_ENDPOINT not in there:
            self._deploy("platform with training", _without(MODEL_ENDPOINT), *self._second_tries())
            self._wait_for_training()
            self._serve_newest()
        self._deploy("platform", *self._second_tries())
        self._wait_for_training()
        return self._ask()

    def _deploy(self, what: str, *arguments: str) -> None:
        with self.board.line(f"pulumi up: {what}") as line:
            log = self.logs / f"pulumi-up-{what.replace(' ', '-')}.log"
            line.result = self.stack.up(*arguments, log=log, line=line.at)
        with self.board.line("waiting for pods"):
            for namespace in (PLATFORM, SERVING):
                if self.kube.items("deployment", "--namespace", namespace):
                    self._wait_available(namespace)

    def _wait_available(self, namespace: str) -> None:
        where = ("--namespace", namespace)
        try:
            self.kube.kubectl("wait", "deployment", "--all", "--for=condition=Available", "--timeout=180s", *where)
        except LabError as error:
            pods = self.kube.kubectl("get", "pods", *where)
            raise LabError(
                f"Not everything in {namespace} came to run within 3 minutes;"
                f" `lab kubectl describe pods -n {namespace}` says why.\n{pods.rstrip()}"
            ) from error

    def _put_dataset(self) -> None:
        with self.board.line(f"dataset {DATASET}") as line, self.kube.forwarded(PLATFORM, "s3", 7070) as address:
            access, secret = (self.stack.secret(f"artifact_store_{name}_key") for name in ("access", "secret"))
            line.result = "put" if dataset.put(address, access, secret, DATASET) else "is there"

    def _trainings(self) -> list[str]:
        """The training runs of the model that end: a Job on the lab's simulated GPU node never does."""
        config = self.stack.config()
        pools = config["foundation"]["node_pools"]
        runs: Mapping[str, Mapping[str, str]] = config.get("training", {})
        return [
            name for name, run in runs.items() if run["model"] == MODEL and "gpu" not in pools.get(run["node_pool"], {})
        ]

    def _wait_for_training(self) -> None:
        jobs.wait_for_training(self.kube, self._trainings(), self.board)

    def _second_tries(self) -> list[str]:
        """Arguments that replace Jobs that gave up; the engine by itself sees nothing to do about them."""
        failed = {f"{jobs.NAMESPACE}/{job}" for job in jobs.failed(self.kube, self._trainings())}
        if not failed:
            return []
        self._put_dataset()
        resources = (self.stack.deployment() or {}).get("resources", [])
        return [f"--replace={resource['urn']}" for resource in resources if resource.get("id") in failed]

    def _serve_newest(self) -> None:
        """The stack's file names a version that the registry has."""
        with self.kube.forwarded(PLATFORM, "mlflow", 5000) as address:
            newest = registry.newest_version(address, MODEL)
        if newest is None:
            raise LabError(
                f"Nothing registered {MODEL}: {self.stack.file.name} needs a training run with `model: {MODEL}`"
                " on a node pool without GPUs."
            )
        told = self.stack.config().get("endpoints", {}).get(MODEL, {}).get("version")
        if told is None or told > newest.number:
            self.stack.set({f"endpoints.{MODEL}.version": newest.number, **_a_small_endpoint(told)})

    def _ask(self) -> Served:
        with self.board.line("one prediction") as line:
            with self.kube.forwarded(SERVING, MODEL, 80) as address:
                prediction = predict(address, dataset.customers(1)[0])
            with self.kube.forwarded(PLATFORM, "mlflow", 5000) as address:
                newest = registry.newest_version(address, MODEL)
                version = registry.version(address, MODEL, prediction.model_version)
            line.result = json.dumps(prediction.answer)
        return Served(version=version, newest=newest.number if newest else version.number, prediction=prediction)

    def _component_types(self) -> set[str]:
        return {resource["type"] for resource in (self.stack.deployment() or {}).get("resources", [])}


def predict(address: str, customer: Mapping[str, Any]) -> Prediction:
    """What the endpoint at `address` says about one customer."""
    url = f"{address}/invocations"
    try:
        answer = httpx.post(url, json={"dataframe_records": [customer]}, timeout=60)
    except httpx.HTTPError as error:
        raise LabError(f"The endpoint does not answer at {url}: {error}.") from error
    if answer.is_error:
        raise LabError(
            f"The endpoint answered {answer.status_code} to a customer of its own dataset: {answer.text[:300]}"
        )
    [predicted] = answer.json()["predictions"]
    return Prediction(customer=customer, answer=predicted, model_version=int(answer.headers["X-Model-Version"]))


def _without(component: str) -> str:
    return f"--exclude=**{component}**"


def _a_small_endpoint(told: object) -> Mapping[str, object]:
    """Replicas that fit two cores, and a log of every prediction, for an endpoint that is new in the file."""
    endpoint = f"endpoints.{MODEL}"
    fresh = {f"{endpoint}.replicas.min": 1, f"{endpoint}.replicas.max": 2, f"{endpoint}.prediction_log.sample": 1}
    return {} if told else fresh
