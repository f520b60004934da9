"""Steps from an empty cluster to a served prediction. Each step does only what is missing, so a new run continues."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from contract import names
from images.board import Board
from images.errors import ProgramError
from lab import dataset
from lab.errors import LabError
from lab.recovery import checkpoint, recover
from lab.stack import Stack
from runs.cluster import Cluster
from runs.follow import Follower
from runs.state import Run, all_runs
from runs.tracking import connected

MODEL = "churn-predictor"
DATASET = "s3://mlops-artifacts/datasets/churn.csv"
TRAINING_JOB, MODEL_ENDPOINT = "mlops:index:TrainingJob", "mlops:index:ModelEndpoint"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
EXPORTER = "mlops:index:Exporter"
"""Component of monitoring that runs in the serving image."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One response of the endpoint."""

    customer: Mapping[str, Any]
    """Row that was sent to the endpoint."""
    value: Any
    """Prediction of the endpoint for the row."""
    model_version: int


@dataclass(frozen=True, kw_only=True)
class Served:
    """Result of `lab up`: the served version and one of its predictions."""

    version: int
    """Number of the served version."""
    metrics: Mapping[str, float]
    """Metrics of the served version's training run."""
    newest: int
    """Number of the newest registered version."""
    prediction: Prediction


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Deployment of one checkout's stack to one cluster."""

    board: Board
    stack: Stack
    cluster: Cluster
    kubectl: Callable[..., str]
    """Function that runs kubectl on the cluster and returns its output."""
    logs: Path
    wait_for_images: Callable[[], object]
    """Function that waits until the cluster has the training and serving images; the platform starts without them."""

    def up(self) -> Served:
        """Deploy the platform, train and serve the model, and return one prediction.

        The first run has three updates, because each needs the result of the one before: the platform creates the
        bucket of the dataset, and a training run registers the version that is served.
        """
        recover(self.stack.refresh, self.kubectl)
        resources = checkpoint().get("resources", [])
        if TRAINING_JOB not in {resource["type"] for resource in resources}:
            self._deploy("platform without training and serving", without=[TRAINING_JOB, MODEL_ENDPOINT, EXPORTER])
            self._put_dataset()
        self.wait_for_images()
        # The gate may have refused the endpoint's Deployment, as it does when the registry was deleted.
        if not any(f"{MODEL_ENDPOINT}${DEPLOYMENT}::" in resource["urn"] for resource in resources):
            self._deploy("platform with training", without=[MODEL_ENDPOINT], replace=self._failed_jobs())
            self._wait_for_training()
            self._serve_newest()
        self._deploy("platform", replace=self._failed_jobs())
        self._wait_for_training()
        self._wait_for_pods()
        return self._predict()

    def _deploy(self, what: str, *, without: Sequence[str] = (), replace: Sequence[str] = ()) -> None:
        with self.board.line(f"pulumi up: {what}") as line:
            log = self.logs / f"pulumi-up-{what.replace(' ', '-')}.log"
            exclude = [f"**{component}**" for component in without]
            line.result = self.stack.up(exclude=exclude, replace=replace, log=log, line=line.at)

    def _wait_for_pods(self) -> None:
        """Wait until every Deployment is available. The engine waits only for those that it changes."""
        for namespace in (names.PLATFORM, names.SERVING):
            where = ("--namespace", namespace)
            try:
                self.kubectl("wait", "deployment", "--all", "--for=condition=Available", "--timeout=180s", *where)
            except ProgramError as error:
                pods = self.kubectl("get", "pods", *where)
                raise LabError(
                    f"Some Deployments in {namespace} are not available after 3 minutes;"
                    f" `lab kubectl describe pods -n {namespace}` shows the reason.\n{pods.rstrip()}"
                ) from error

    def _put_dataset(self) -> None:
        config = self.stack.config()
        access, secret = (config[f"artifact_store_{name}_key"] for name in ("access", "secret"))
        line = self.board.line(f"dataset {DATASET}")
        with line as shown, self.cluster.forwarded(names.PLATFORM, "s3", 7070) as address:
            shown.result = "uploaded" if dataset.put(address, access, secret, DATASET) else "exists already"

    def _trainings(self) -> list[Run]:
        """Return the model's training runs, without those on the simulated GPU node, which never end."""
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
        """Wait until every training run of the model is complete. LabError with the reason if one failed."""
        for found in self._trainings():
            run = found if found.has_ended else self._follow(found)
            if run.status == "Failed":
                raise LabError(
                    f"Training failed: {run.reason}\n`lab kubectl logs -n {names.TRAINING} job/{run.name}` prints"
                    " the whole log; `make up` tries again."
                )

    def _follow(self, run: Run) -> Run:
        with self.board.line(f"training {run.training}") as line:
            return Follower(
                cluster=self.cluster, runs=self._trainings, job=run.name, note=line.at, log=line.at
            ).until_the_end()

    def _failed_jobs(self) -> list[str]:
        """Return the URNs of failed Jobs, which the engine replaces only if they are named."""
        failed = {f"{names.TRAINING}/{run.name}" for run in self._trainings() if run.status == "Failed"}
        if failed:
            self._put_dataset()
        return [resource["urn"] for resource in checkpoint().get("resources", []) if resource.get("id") in failed]

    def _serve_newest(self) -> None:
        """Write the newest version into the stack file, unless the file has one that the registry knows."""
        with connected(self.cluster) as tracking:
            newest = tracking.newest_version(MODEL)
        if newest is None:
            raise LabError(
                f"No version of {MODEL} is registered: add a training run with `model: {MODEL}` on a node pool without"
                f" GPUs to {self.stack.file.name}."
            )
        written = self.stack.config().get("endpoints", {}).get(MODEL, {}).get("version")
        if written is None or written > newest:
            self.stack.set({f"endpoints.{MODEL}.version": newest, **_a_small_endpoint(written)})

    def _predict(self) -> Served:
        with self.board.line("one prediction") as line:
            with self.cluster.forwarded(names.SERVING, MODEL, 80) as address:
                prediction = predict(address, dataset.customers(1)[0])
            version = prediction.model_version
            with connected(self.cluster) as tracking:
                metrics, newest = tracking.metrics(MODEL, version), tracking.newest_version(MODEL) or version
            line.result = json.dumps(prediction.value)
        return Served(version=version, metrics=metrics, newest=newest, prediction=prediction)


def predict(address: str, customer: Mapping[str, Any]) -> Prediction:
    """Return the prediction of the endpoint at `address` for one customer."""
    url = f"{address}/invocations"
    try:
        response = httpx.post(url, json={"dataframe_records": [customer]}, timeout=60)
    except httpx.HTTPError as error:
        raise LabError(f"The endpoint does not respond at {url}: {error}.") from error
    if response.is_error:
        raise LabError(
            f"The endpoint responded {response.status_code} to a row of its own dataset: {response.text[:300]}"
        )
    [predicted] = response.json()["predictions"]
    return Prediction(customer=customer, value=predicted, model_version=int(response.headers["X-Model-Version"]))


def _a_small_endpoint(written: object) -> Mapping[str, object]:
    """Return settings for an endpoint that is new in the file: replicas that fit two cores, and a prediction log."""
    endpoint = f"endpoints.{MODEL}"
    fresh = {f"{endpoint}.replicas.min": 1, f"{endpoint}.replicas.max": 2, f"{endpoint}.prediction_log.sample": 1}
    return {} if written else fresh
