"""The model registry of the platform's MLflow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.errors import LabError
from runs.cluster import Cluster
from runs.tracking import Tracking, connected


@dataclass(frozen=True)
class Version:
    """One version of a registered model, and what its training measured."""

    number: int
    metrics: Mapping[str, float]


def newest_version(cluster: Cluster, model: str) -> int | None:
    """The highest version of `model`; None before the first."""
    with connected(cluster) as tracking:
        found = _get(tracking, "model-versions/search", filter=f"name='{model}'").get("model_versions", [])
    return max((int(entry["version"]) for entry in found), default=None)


def version(cluster: Cluster, model: str, number: int) -> Version:
    """That version of `model`; LabError when the registry has none such."""
    with connected(cluster) as tracking:
        entry = _get(tracking, "model-versions/get", name=model, version=str(number))["model_version"]
        run = _get(tracking, "runs/get", run_id=entry["run_id"])["run"]
    return Version(number, {metric["key"]: float(metric["value"]) for metric in run["data"].get("metrics", [])})


def _get(tracking: Tracking, path: str, **parameters: str) -> dict[str, Any]:
    answer = tracking.http.get(f"/api/2.0/mlflow/{path}", params=parameters)
    if answer.is_error:
        raise LabError(f"MLflow answered {answer.status_code} to {path}: {answer.text[:300]}")
    return answer.json()
