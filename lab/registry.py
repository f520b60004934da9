"""The model registry, asked over MLflow's REST interface."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from lab.errors import LabError

HOST = {"Host": "mlflow:5000"}
"""MLflow answers 403 to a Host that is not on its list; a forwarded port has a different one each time."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model, and what its training measured."""

    number: int
    metrics: Mapping[str, float]


def newest_version(address: str, model: str) -> Version | None:
    """The highest version of `model` at the MLflow server at `address`; None before the first."""
    found = _get(address, "model-versions/search", filter=f"name='{model}'").get("model_versions", [])
    if not found:
        return None
    return version(address, model, max(int(entry["version"]) for entry in found))


def version(address: str, model: str, number: int) -> Version:
    """That version of `model`; LabError when the registry has none such."""
    entry = _get(address, "model-versions/get", name=model, version=str(number))["model_version"]
    run = _get(address, "runs/get", run_id=entry["run_id"])["run"]
    return Version(number, {metric["key"]: float(metric["value"]) for metric in run["data"].get("metrics", [])})


def _get(address: str, path: str, **parameters: str) -> dict[str, Any]:
    url = f"{address}/api/2.0/mlflow/{path}"
    try:
        answer = httpx.get(url, params=parameters, headers=HOST, timeout=60)
    except httpx.HTTPError as error:
        raise LabError(f"MLflow does not answer at {url}: {error}.") from error
    if answer.is_error:
        raise LabError(f"MLflow answered {answer.status_code} to {path}: {answer.text[:300]}")
    return answer.json()
