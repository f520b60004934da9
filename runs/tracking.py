"""Results of runs in MLflow: metrics, and the version that a run registered."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from contract import names
from contract.tags import BEST_RUN, JOB_NAME, TRAINING_JOB
from runs.cluster import Cluster
from runs.errors import ClusterError

PARENT_TAG = "mlflow.parentRunId"
NEWEST = 200
"""Largest number of runs that are read of one experiment."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of one run of a Job, as MLflow has it."""

    page: str
    """Path and fragment of the run's page in MLflow's web interface."""
    metrics: Mapping[str, float]
    model: str | None
    version: int | None
    """Registered version; None if the run registered none."""
    training: str
    """Name of the training job; empty if MLflow does not know it."""
    status: str
    """Status in MLflow, such as FINISHED."""
    started: datetime
    ended: datetime | None


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Client of MLflow's REST API."""

    http: httpx.Client

    def results(self, experiment: str, jobs: Collection[str]) -> Mapping[str, Result]:
        """Return the latest run of each of these Jobs by the Job's name; for a sweep, the parent run.

        A Job without a run in MLflow is left out.
        """
        return self._latest(experiment, lambda job: job in jobs)

    def others(self, experiment: str, jobs: Collection[str], last: int) -> Mapping[str, Result]:
        """Return the latest runs of other Jobs, which the cluster no longer has, by the Job's name."""
        return self._latest(experiment, lambda job: job not in jobs, last)

    def _latest(self, experiment: str, wanted: Callable[[str], bool], last: int = NEWEST) -> Mapping[str, Result]:
        number = self._experiment(experiment)
        if number is None:
            return {}
        found: dict[str, Result] = {}
        for run in self._runs(number):
            tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
            job = tags.get(JOB_NAME, "")
            if job and wanted(job) and PARENT_TAG not in tags and job not in found and len(found) < last:
                found[job] = self._result(number, run, tags)
        return found

    def tags(self, model: str, version: int) -> Mapping[str, str]:
        """Return the tags of the version; empty if it does not exist."""
        response = self.http.get("/api/2.0/mlflow/model-versions/get", params={"name": model, "version": version})
        if response.status_code == httpx.codes.NOT_FOUND.value:
            return {}
        tags: list[dict[str, str]] = _checked(response)["model_version"].get("tags", [])
        return {tag["key"]: tag["value"] for tag in tags}

    def newest_version(self, model: str) -> int | None:
        """Return the highest version of a registered model; None if it has none."""
        found = self._get("model-versions/search", filter=f"name='{model}'").get("model_versions", [])
        return max((int(each["version"]) for each in found), default=None)

    def metrics(self, model: str, version: int) -> Mapping[str, float]:
        """Return the metrics of the run that registered the version. ClusterError if there is no such version."""
        entry = self._get("model-versions/get", name=model, version=str(version))["model_version"]
        run = self._get("runs/get", run_id=entry["run_id"])["run"]
        return {each["key"]: float(each["value"]) for each in run["data"].get("metrics", [])}

    def _result(self, experiment: str, run: Mapping[str, Any], tags: Mapping[str, str]) -> Result:
        info = run["info"]
        best = tags.get(BEST_RUN, "")
        # A filter cannot contain a quote, and anybody may have written the tag.
        registered = best if best.isalnum() else info["run_id"]
        versions: list[dict[str, str]] = self._get("model-versions/search", filter=f"run_id='{registered}'").get(
            "model_versions", []
        )
        newest = max(versions, key=lambda each: int(each["version"]), default=None)
        return Result(
            page=f"/#/experiments/{experiment}/runs/{info['run_id']}",
            metrics={each["key"]: each["value"] for each in run["data"].get("metrics", [])},
            model=newest["name"] if newest else None,
            version=int(newest["version"]) if newest else None,
            training=tags.get(TRAINING_JOB, ""),
            status=info.get("status", ""),
            started=_time(info.get("start_time", 0)),
            ended=_time(info["end_time"]) if info.get("end_time") else None,
        )

    def _experiment(self, name: str) -> str | None:
        response = self.http.get("/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": name})
        return (
            None
            if response.status_code == httpx.codes.NOT_FOUND.value
            else _checked(response)["experiment"]["experiment_id"]
        )

    def _runs(self, experiment: str) -> Sequence[Mapping[str, Any]]:
        """Return the runs of an experiment, the newest first."""
        request = {
            "experiment_ids": [experiment],
            "filter": f"tags.{JOB_NAME} LIKE '%'",
            "order_by": ["attributes.start_time DESC"],
            "max_results": NEWEST,
        }
        return _checked(self.http.post("/api/2.0/mlflow/runs/search", json=request)).get("runs", [])

    def _get(self, what: str, **request: str) -> Mapping[str, Any]:
        return _checked(self.http.get(f"/api/2.0/mlflow/{what}", params=request))


class TokenAuth(httpx.Auth):
    """Gets a token of a service account when MLflow asks for one, and sends it from then on."""

    def __init__(self, cluster: Cluster, account: str) -> None:
        self._cluster = cluster
        self._account = account
        self._token = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request, and again with a token if the response is 401."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED.value and not self._token:
            self._token = self._cluster.token(self._account)
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request


@contextmanager
def connected(cluster: Cluster) -> Generator[Tracking]:
    """Yield a client of the cluster's MLflow. ClusterError if MLflow does not respond, or with an error."""
    tunnel = cluster.forwarded(names.PLATFORM, names.TRACKING_SERVICE, names.TRACKING_PORT)
    headers, auth = {"Host": names.TRACKING_HOST}, TokenAuth(cluster, names.PEOPLE)
    with tunnel as address, httpx.Client(base_url=address, headers=headers, auth=auth, timeout=30) as http:
        try:
            yield Tracking(http=http)
        except httpx.HTTPError as error:
            raise ClusterError(f"MLflow did not respond: {error}") from error


def _checked(response: httpx.Response) -> Mapping[str, Any]:
    if response.is_error:
        raise ClusterError(f"MLflow responded {response.status_code}: {' '.join(response.text.split())[:200]}")
    return response.json()


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
