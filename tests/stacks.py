"""Valid stack file that tests change."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

LOCAL: Mapping[str, Any] = {
    "foundation": {
        "kind": "local",
        "context": "somewhere",
        "images": {"postgres": "lab.local/postgres:1", "s3_gateway": "lab.local/s3-gateway:1"},
        "node_pools": {
            "cpu": {"labels": {"mlops/node-pool": "cpu"}},
            "gpu": {"labels": {"mlops/node-pool": "gpu"}, "gpu": {"kind": "nvidia", "max": 2}},
        },
    },
    "images": {
        "tracking": "lab.local/mlflow:1",
        "training": "lab.local/training:1",
        "training_commit": "0123456789abcdef0123456789abcdef01234567",
        "serving": "lab.local/serving:1",
    },
    "tracking": {"allowed_hosts": ["localhost:5000"]},
    "training": {
        "churn": {
            "model": "churn-predictor",
            "dataset": "s3://mlops-artifacts/datasets/churn.csv",
            "node_pool": "cpu",
            "parameters": {"n_estimators": 100, "max_depth": 10},
            "deadline_minutes": 30,
        }
    },
    "endpoints": {"churn-predictor": {"version": 1, "replicas": {"min": 1, "max": 3}}},
}
SECRETS: Mapping[str, str] = {
    "database_password": "0123456789-password",
    "artifact_store_access_key": "LABACCESSKEY01",
    "artifact_store_secret_key": "0123456789-secret-key",
}


class Absent:
    """Value that removes its key."""

    def __repr__(self) -> str:  # the same in all processes of a parallel run, which compare test names
        return "absent"


def changed(changes: Mapping[str, object]) -> dict[str, Any]:
    """Return the valid stack with values set, or keys removed, at dotted paths."""
    stack = deepcopy(dict(LOCAL))
    for path, value in changes.items():
        *parents, last = path.split(".")
        place: dict[str, Any] = stack
        for key in parents:
            place = place.setdefault(key, {})
        if isinstance(value, Absent):
            del place[last]
        else:
            place[last] = value
    return stack
