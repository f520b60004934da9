"""Prediction log of an endpoint: the sidecar container that uploads it, its volume and its environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi_kubernetes as k8s
from pulumi import Input

from components import pods
from components.foundation import ArtifactStore, Grant
from components.training.container import literal

CPU, MEMORY = "50m", "384Mi"
"""Resources of the sidecar, which holds one segment of the log as a table in memory."""
DRAIN_SECONDS = 15
"""Seconds in which the sidecar uploads the rest of the log after the server has ended."""
FOLDER = "/predictions"
MARGIN_MIB = 32
"""Size of the volume in MiB beyond the log's limit; Kubernetes evicts a pod that fills its volume."""


@dataclass(frozen=True, kw_only=True)
class PredictionLog:
    """Settings of the prediction log."""

    sample: float
    """Share of requests that are logged, from 0 to 1."""
    redact: Sequence[str]
    """Columns that are never written to the log."""
    spool_mib: int
    """Size in MiB of the log that may wait on the node; further entries are dropped and counted."""


def environment(log: PredictionLog) -> Mapping[str, Input[str]]:
    """Return the server's environment variables."""
    return {
        "PREDICTION_LOG_DIR": FOLDER,
        "PREDICTION_LOG_REDACT": literal(json.dumps(sorted(log.redact))),
        "PREDICTION_LOG_SAMPLE": str(log.sample),
        "PREDICTION_LOG_SPOOL_BYTES": str(log.spool_mib << 20),
    }


MOUNT: k8s.core.v1.VolumeMountArgsDict = {"name": "predictions", "mount_path": FOLDER}


def volume(log: PredictionLog) -> k8s.core.v1.VolumeArgsDict:
    """Return the volume that server and sidecar share; it outlives a crash of either container."""
    return pods.scratch("predictions", f"{log.spool_mib + MARGIN_MIB}Mi")


def shipper(
    container: k8s.core.v1.ContainerArgsDict, model: Mapping[str, Input[str]], store: ArtifactStore, grant: Grant
) -> k8s.core.v1.ContainerArgsDict:
    """Return a Kubernetes sidecar: an init container that is restarted for as long as the pod runs.

    Kubernetes stops it after all other containers, so it uploads the server's last entries.
    """
    values = {
        **model,
        **store.environment,
        "ARTIFACT_BUCKET": store.bucket,
        "PREDICTION_LOG_DIR": FOLDER,
        # The last seconds are for uploads that are still running at this deadline.
        "PREDICTION_LOG_DRAIN_SECONDS": str(DRAIN_SECONDS - 5),
    }
    return {
        **container,
        "name": "ship",
        "restart_policy": "Always",
        "command": ["python", "-m", "model_server.prediction_log.ship"],
        "env": [
            *pods.environment(values),
            {"name": "POD_NAME", "value_from": {"field_ref": {"field_path": "metadata.name"}}},
        ],
        "env_from": pods.secret_environment(grant),
        "resources": pods.resources(CPU, MEMORY),
        "volume_mounts": [pods.TMP, MOUNT],
    }
