"""Stacks of the checkout, with changes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from doctor.stack_file import Stack, read
from tests.projects import CHECKOUT

ACCOUNT = "123456789012"
CERTIFICATE = f"arn:aws:acm:eu-west-1:{ACCOUNT}:certificate/12345678-1234-1234-1234-123456789012"
THERE: Mapping[str, Any] = {
    "foundation.network": {
        "kind": "existing",
        "vpc_id": "vpc-01234567",
        "private_subnet_ids": ["subnet-01234567", "subnet-01234568"],
    },
    "foundation.cluster": {"kind": "existing", "name": "shared"},
}
MANAGED = {"kind": "managed", "instance_types": ["m7i.xlarge"], "min": 3, "max": 3}

IMAGES = {"tracking": "lab.local/tracking:1", "training": "lab.local/training:1", "serving": "lab.local/serving:1"}
LOCAL: dict[str, object] = {
    "foundation": {
        "kind": "local",
        "context": "mine",
        "images": {"postgres": "lab.local/postgres:1", "s3_gateway": "lab.local/s3:1"},
        "node_pools": {
            "cpu": {"labels": {"mlops/node-pool": "cpu"}},
            "gpu": {"labels": {"mlops/node-pool": "gpu"}, "gpu": {"kind": "nvidia", "max": 1}},
        },
    },
    "images": IMAGES,
    "tracking": {"replicas": 1},
    "training": {
        "churn": {
            "model": "churn-predictor",
            "dataset": "s3://mlops-artifacts/datasets/churn.csv",
            "node_pool": "cpu",
            "deadline_minutes": 30,
        }
    },
    "endpoints": {"churn-predictor": {"version": 1, "replicas": {"min": 1, "max": 2}}},
    "artifact_store_access_key": {"secure": "v1:abc"},
    "artifact_store_secret_key": {"secure": "v1:abc"},
}
"""A stack in a cluster that exists already."""


@cache
def _tracked(name: str) -> dict[str, Any]:
    return yaml.safe_load((CHECKOUT / f"Pulumi.{name}.yaml").read_text())


def write(folder: Path, changes: Mapping[str, object], name: str = "prod") -> Path:
    """Write the stack file of the checkout with other values, by path below `mlops:`; `aws:region` has no prefix."""
    tree = copy.deepcopy(_tracked(name))
    for path, value in changes.items():
        *parents, last = path.split(".") if ":" not in path else [path]
        place = tree["config"]
        for depth, parent in enumerate(parents):
            place = place.setdefault(parent if depth else f"mlops:{parent}", {})
        key = last if parents or ":" in last else f"mlops:{last}"
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value
    tree["config"].setdefault("mlops:database_password", {"secure": "v1:abc"})
    (folder / "Pulumi.yaml").write_text((CHECKOUT / "Pulumi.yaml").read_text())
    file = folder / f"Pulumi.{name}.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def stack(folder: Path, changes: Mapping[str, object], name: str = "prod") -> Stack:
    """Return the stack of the checkout with other values."""
    write(folder, changes, name)
    return read(name, folder)
