"""Reader of the platform's model registry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.errors import LabError
from runs.cluster import Cluster
from runs.tracking import Tracking, connected


@dataclass(frozen=True)
class Version:
    """Version of a registered model, with the metrics of its run."""

    number: int
    metrics: Mapping[str, float]


def newest_version(cluster: Cluster, model: str) -> int | None:
    """Return the highest version of `model`; None if there is none."""
    with connected(cluster) as tracking:
        found = _get(tracking, "model-versions/search", filter=f"name='{model}'").get("model_versions", [])
    return max((int(entry["version"]) for entry in found), default=None)


def version(cluster: Cluster, model: str, number: int) -> Version:
    """Return a version of `model`. LabError if it does not exist."""
    with connected(cluster) as tracking:
        entry = _get(tracking, "model-versions/get", name=model, version=str(number))["model_version"]
        run = _get(tracking, "runs/get", run_id=entry["run_id"])["run"]
    return Version(number, {metric["key"]: float(metric["value"]) for metric in run["data"].get("metrics", [])})


def _get(tracking: Tracking, path: str, **parameters: str) -> dict[str, Any]:
    response = tracking.http.get(f"/api/2.0/mlflow/{path}", params=parameters)
    if response.is_error:
        raise LabError(f"MLflow responded {response.status_code} to {path}: {response.text[:300]}")
    return response.json()
