"""Cache of downloaded models on each node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import pods
from contract import names

NAME = "model-cache"
ON_NODE: k8s.core.v1.HostPathVolumeSourceArgsDict = {"path": "/var/lib/mlops/models", "type": "DirectoryOrCreate"}
FOLDER = "/cache"
AGENTS = "kube-system"
"""Namespace of the agents; in every cluster, its pods may mount folders of the node."""
NOMINAL = "1Gi"
"""Size of volume and claim, which Kubernetes requires but does not enforce; the program that downloads does."""


@dataclass(frozen=True, kw_only=True)
class ModelCacheArgs:
    """Settings of the model cache."""

    image: str
    """Image of the agents: it needs `chown` and `sleep`; the serving image is on the nodes already."""
    gib: int
    """Largest size of the cache on one node, in GiB."""
    namespace: Input[str]
    """Namespace of the endpoints and of the claim."""


class ModelCache(pulumi.ComponentResource):
    """Folder on each node without taints, and a PersistentVolumeClaim by which pods mount it.

    A pod gets the folder of its own node. An agent (DaemonSet) makes the images' user the owner of the folder; until
    then, nothing is cached.
    """

    claim: Output[str]
    """Name of the PersistentVolumeClaim."""
    gib: int
    """Largest size of the cache on one node, in GiB."""

    def __init__(self, name: str, args: ModelCacheArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:ModelCache", name, None, opts)
        child = ResourceOptions(parent=self)
        labels = names.labels(NAME, name, NAME)
        selector = names.selector(NAME, name)
        k8s.apps.v1.DaemonSet(
            name,
            metadata={"name": name, "namespace": AGENTS, "labels": labels},
            spec={
                "selector": {"match_labels": selector},
                "template": {"metadata": {"labels": labels}, "spec": _agent(args)},
            },
            opts=child,
        )
        capacity: Mapping[str, str] = {"storage": NOMINAL}
        volume = k8s.core.v1.PersistentVolume(
            name,
            metadata={"name": f"{names.SERVING}-{name}", "labels": labels},
            spec={
                "host_path": ON_NODE,
                "access_modes": ["ReadWriteMany"],
                "capacity": capacity,
                "storage_class_name": "",
                "persistent_volume_reclaim_policy": "Retain",
                "claim_ref": {"namespace": args.namespace, "name": name},
            },
            opts=child,
        )
        claim = k8s.core.v1.PersistentVolumeClaim(
            name,
            metadata={"name": name, "namespace": args.namespace, "labels": labels},
            spec={
                "access_modes": ["ReadWriteMany"],
                "resources": {"requests": capacity},
                "storage_class_name": "",
                "volume_name": volume.metadata.name,
            },
            opts=child,
        )
        self.claim, self.gib = claim.metadata.name, args.gib
        self.register_outputs({"claim": self.claim})


def environment(cache: ModelCache) -> Mapping[str, Input[str]]:
    """Return the environment variables of the container that downloads the model."""
    return {"MODEL_CACHE_BYTES": str(cache.gib << 30), "MODEL_CACHE_DIR": FOLDER}


MOUNT: k8s.core.v1.VolumeMountArgsDict = {"name": NAME, "mount_path": FOLDER}


def volume(cache: ModelCache) -> k8s.core.v1.VolumeArgsDict:
    """Return the volume that holds the folder of the pod's node."""
    return {"name": NAME, "persistent_volume_claim": {"claim_name": cache.claim}}


def _agent(args: ModelCacheArgs) -> k8s.core.v1.PodSpecArgsDict:
    """Change the owner of the folder, as root, to the images' user; then sleep, as a DaemonSet's pod must not end."""
    container: k8s.core.v1.ContainerArgsDict = {
        "name": "wait",
        "image": args.image,
        "command": ["sleep", "infinity"],
        "resources": pods.resources("1m", "16Mi"),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
    }
    change_owner: k8s.core.v1.ContainerArgsDict = {
        **container,
        "name": "give",
        "command": ["chown", f"{pods.USER}:{pods.USER}", FOLDER],
        "security_context": {
            **pods.HARDENED_CONTAINER,
            "run_as_non_root": False,
            "run_as_user": 0,
            "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
        },
        "volume_mounts": [MOUNT],
    }
    return {
        **pods.hardened(container),
        "init_containers": [change_owner],
        "termination_grace_period_seconds": 1,
        "volumes": [{"name": NAME, "host_path": ON_NODE}],
    }
