"""What each node keeps of the models that its pods have fetched."""

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
"""Where agents of nodes run: the one namespace whose pods may have a folder of the node in every cluster."""
NOMINAL = "1Gi"
"""A claim wants a size and cannot change it; nobody enforces it on a folder, and ours is kept by who writes there."""


@dataclass(frozen=True, kw_only=True)
class ModelCacheArgs:
    """A node keeps at most `gib`; `image` has chown and sleep, and is on the nodes anyway."""

    image: str
    gib: int
    namespace: Input[str]


class ModelCache(pulumi.ComponentResource):
    """A folder on each node without taints, and a claim on it in `namespace`.

    A pod that mounts the claim has the folder of the node on which it runs. Where the agent has not given the folder
    to our user yet, nothing can be kept.
    """

    claim: Output[str]
    """The PersistentVolumeClaim's name."""
    gib: int

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
        whole: Mapping[str, str] = {"storage": NOMINAL}
        volume = k8s.core.v1.PersistentVolume(
            name,
            metadata={"name": f"{names.SERVING}-{name}", "labels": labels},
            spec={
                "host_path": ON_NODE,
                "access_modes": ["ReadWriteMany"],
                "capacity": whole,
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
                "resources": {"requests": whole},
                "storage_class_name": "",
                "volume_name": volume.metadata.name,
            },
            opts=child,
        )
        self.claim, self.gib = claim.metadata.name, args.gib
        self.register_outputs({"claim": self.claim})


def environment(cache: ModelCache) -> Mapping[str, Input[str]]:
    """Of the container that fetches."""
    return {"MODEL_CACHE_BYTES": str(cache.gib << 30), "MODEL_CACHE_DIR": FOLDER}


MOUNT: k8s.core.v1.VolumeMountArgsDict = {"name": NAME, "mount_path": FOLDER}


def volume(cache: ModelCache) -> k8s.core.v1.VolumeArgsDict:
    """The folder of the node on which the pod runs."""
    return {"name": NAME, "persistent_volume_claim": {"claim_name": cache.claim}}


def _agent(args: ModelCacheArgs) -> k8s.core.v1.PodSpecArgsDict:
    """Gives the folder to the user of our images, which only root may, and then waits for the node's end."""
    container: k8s.core.v1.ContainerArgsDict = {
        "name": "wait",
        "image": args.image,
        "command": ["sleep", "infinity"],
        "resources": pods.resources("1m", "16Mi"),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
    }
    giving: k8s.core.v1.ContainerArgsDict = {
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
        "init_containers": [giving],
        "termination_grace_period_seconds": 1,
        "volumes": [{"name": NAME, "host_path": ON_NODE}],
    }
