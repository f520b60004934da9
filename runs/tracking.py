"""What MLflow knows of a run: its metrics and the version that it registered."""

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
HOST = f"{names.TRACKING_SERVICE}.{names.PLATFORM}:{names.TRACKING_PORT}"
"""The name under which MLflow answers whatever the way to it is; to a name not in its list it says 403."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What MLflow knows of one run of a Job."""

    page: str
    """Path and fragment of the run's page."""
    metrics: Mapping[str, float]
    model: str | None
    version: int | None
    """None where nothing was registered."""
    training: str
    """The training job's name; empty where nobody said so."""
    status: str
    """MLflow's own word, as in FINISHED."""
    started: datetime
    ended: datetime | None


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """MLflow at an address of this machine."""

    http: httpx.Client

    def results(self, experiment: str, jobs: Collection[str]) -> Mapping[str, Result]:
        """By the Job's name: the latest run of each, of a sweep the parent; a Job that told nothing is not there."""
        return self._latest(experiment, lambda job: job in jobs)

    def others(self, experiment: str, jobs: Collection[str], last: int) -> Mapping[str, Result]:
        """The same of the latest Jobs that are none of these: the cluster has forgotten them."""
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

    def training_job(self, model: str, version: int) -> str:
        """The name of the one that made the version; nothing where nobody said so, or there is no such version."""
        answer = self.http.get("/api/2.0/mlflow/model-versions/get", params={"name": model, "version": version})
        if answer.status_code == httpx.codes.NOT_FOUND.value:
            return ""
        tags: list[dict[str, str]] = _checked(answer)["model_version"].get("tags", [])
        return next((tag["value"] for tag in tags if tag["key"] == TRAINING_JOB), "")

    def _result(self, experiment: str, run: Mapping[str, Any], tags: Mapping[str, str]) -> Result:
        info = run["info"]
        best = tags.get(BEST_RUN, "")
        # The language of filters has no way to write a quote, and a tag is what somebody wrote.
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
        answer = self.http.get("/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": name})
        return (
            None
            if answer.status_code == httpx.codes.NOT_FOUND.value
            else _checked(answer)["experiment"]["experiment_id"]
        )

    def _runs(self, experiment: str) -> Sequence[Mapping[str, Any]]:
        """The newest first."""
        asked = {
            "experiment_ids": [experiment],
            "filter": f"tags.{JOB_NAME} LIKE '%'",
            "order_by": ["attributes.start_time DESC"],
            "max_results": NEWEST,
        }
        return _checked(self.http.post("/api/2.0/mlflow/runs/search", json=asked)).get("runs", [])

    def _get(self, what: str, **asked: str) -> Mapping[str, Any]:
        return _checked(self.http.get(f"/api/2.0/mlflow/{what}", params=asked))


@contextmanager
def reached(cluster: Cluster) -> Generator[Tracking]:
    """MLflow of the cluster, for as long as the block runs. ClusterError if it does not answer as it should."""
    tunnel = cluster.forwarded(names.PLATFORM, names.TRACKING_SERVICE, names.TRACKING_PORT)
    with tunnel as address, httpx.Client(base_url=address, headers={"Host": HOST}, timeout=30) as http:
        try:
            yield Tracking(http=http)
        except httpx.HTTPError as error:
            raise ClusterError(f"MLflow did not answer: {error}") from error


def _checked(answer: httpx.Response) -> Mapping[str, Any]:
    if answer.is_error:
        raise ClusterError(f"MLflow answered {answer.status_code}: {' '.join(answer.text.split())[:200]}")
    return answer.json()


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
