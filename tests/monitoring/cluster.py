"""Objects as the Kubernetes API and MLflow return them, cut down to what the exporter reads."""

import json
from collections.abc import Mapping
from typing import Any

from contract import names

SELECTOR = names.selector("model-endpoint", "churn-predictor")
LABELS = {**names.labels("model-endpoint", "churn-predictor", "serving"), names.VERSION: "2"}
DEPLOYMENT = {
    "metadata": {
        "name": "churn-predictor",
        "labels": LABELS,
        "annotations": {names.RELEASE: json.dumps({"model": "churn-predictor", "version": 2})},
    },
    "spec": {"replicas": 2, "selector": {"matchLabels": SELECTOR}},
    "status": {"readyReplicas": 2, "conditions": [{"type": "Progressing", "status": "True"}]},
}
AUTOSCALER = {"spec": {"scaleTargetRef": {"name": "churn-predictor"}, "minReplicas": 2, "maxReplicas": 4}}
QUOTA = {
    "metadata": {"namespace": names.SERVING},
    "status": {"hard": {"pods": "500", "limits.memory": "512Gi"}, "used": {"pods": "5", "limits.memory": "256Gi"}},
}
NODE = {"status": {"allocatable": {"cpu": "8", "nvidia.com/gpu": "1"}}}


def pod(version: str, *, ready: bool = True, **more: Any) -> dict[str, Any]:
    """Return a pod of the endpoint."""
    condition = {"type": "Ready", "status": str(ready)}
    return {"metadata": {"labels": {**LABELS, names.VERSION: version}, **more}, "status": {"conditions": [condition]}}


def training_pod(phase: str, node: str | None) -> dict[str, Any]:
    """Return a training pod that requests one GPU."""
    container = {"resources": {"requests": {"nvidia.com/gpu": "1"}}}
    return {"spec": {"containers": [container], "nodeName": node}, "status": {"phase": phase}}


def job(kind: str, end: str = "", at: str = "", *, active: int = 0) -> dict[str, Any]:
    """Return a Job of the training job `churn`; `end` is Complete or Failed, at a time."""
    instance = "churn" if kind == "training" else "churn-validation"
    conditions = [{"type": end, "status": "True", "lastTransitionTime": at}] if end else []
    return {
        "metadata": {"labels": names.labels(kind, instance, kind)},
        "status": {"conditions": conditions, "active": active},
    }


def schedule(kind: str = "training", *, last: str | None, suspend: bool = False) -> dict[str, Any]:
    """Return the CronJob that trains the training job `churn`, or validates its versions."""
    labels = names.labels(kind, "churn" if kind == "training" else "churn-validation", kind)
    return {
        "metadata": {"labels": labels, "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {"suspend": suspend},
        "status": {"lastSuccessfulTime": last} if last else {},
    }


def model(**aliases: int) -> dict[str, Any]:
    """Return a registered model of MLflow with aliases."""
    return {
        "name": "churn-predictor",
        "aliases": [{"alias": alias, "version": str(number)} for alias, number in aliases.items()],
    }


def version(number: int, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return a version of the model that was registered at second 1000 times its number."""
    return {
        "version": str(number),
        "creation_timestamp": 1_000_000 * number,
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }
