"""What a model server's pod holds beside the server when its predictions are logged."""

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
"""Of the container that ships: a table of one segment in memory, and the libraries that write it."""
DRAIN_SECONDS = 15
"""How long a pod stays for it after the server has ended."""
FOLDER = "/predictions"
MARGIN_MIB = 32
"""On the volume beside the log's limit: a pod that writes more than its volume holds is evicted."""


@dataclass(frozen=True, kw_only=True)
class PredictionLog:
    """`sample` is the share of requests that is logged, `redact` columns that are never written.

    `spool_mib` may wait on the node while the store does not answer; what comes on top is lost, and counted.
    """

    sample: float
    redact: Sequence[str]
    spool_mib: int


def environment(log: PredictionLog) -> Mapping[str, Input[str]]:
    """Of the server: what to write, and where to."""
    return {
        "PREDICTION_LOG_DIR": FOLDER,
        "PREDICTION_LOG_REDACT": literal(json.dumps(sorted(log.redact))),
        "PREDICTION_LOG_SAMPLE": str(log.sample),
        "PREDICTION_LOG_SPOOL_BYTES": str(log.spool_mib << 20),
    }


MOUNT: k8s.core.v1.VolumeMountArgsDict = {"name": "predictions", "mount_path": FOLDER}


def volume(log: PredictionLog) -> k8s.core.v1.VolumeArgsDict:
    """What the server writes and the other container takes away; it outlives a crash of either."""
    return pods.scratch("predictions", f"{log.spool_mib + MARGIN_MIB}Mi")


def shipper(
    container: k8s.core.v1.ContainerArgsDict, model: Mapping[str, Input[str]], store: ArtifactStore, grant: Grant
) -> k8s.core.v1.ContainerArgsDict:
    """A sidecar in Kubernetes' own sense: an init container that goes on.

    It is told to end when all other containers have ended, so it ships what the server wrote last.
    """
    values = {
        **model,
        **store.environment,
        "ARTIFACT_BUCKET": store.bucket,
        "PREDICTION_LOG_DIR": FOLDER,
        # The last seconds are for what is on its way when the time is up.
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
