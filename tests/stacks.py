"""A right stack file, for tests to change one thing of."""

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
            "parameters": {"n_estimators": 100, "learning_rate": 0.5, "balanced": True},
            "deadline_minutes": 30,
        }
    },
    "endpoints": {"churn-predictor": {"version": 1, "replicas": {"min": 1, "max": 3}}},
}
SECRETS = {
    "database_password": "0123456789-password",
    "artifact_store_access_key": "LABACCESSKEY01",
    "artifact_store_secret_key": "0123456789-secret-key",
}


def changed(*changes: tuple[str, object]) -> dict[str, Any]:
    """The stack with values set at dotted paths; a path that ends in `-` is removed."""
    stack = deepcopy(dict(LOCAL))
    for path, value in changes:
        *way, last = path.split(".")
        target: dict[str, Any] = stack
        for part in way:
            target = target.setdefault(part, {})
        target[last] = value
    return stack
