"""Makes persistent volumes: a folder of the node for each claim of the lab's storage class.

They are `local` volumes, so the kubelet gives them to a pod's fsGroup, and the scheduler keeps the pod on the node.
"""

import shutil
from collections.abc import Iterator

from lab.cluster import layout
from lab.cluster.api import Api, Object
from lab.cluster.objects import PROVISIONER, STORAGE_CLASS

CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"


def follow_claims(api: Api) -> None:
    """Gives every claim its volume, until the server ends the watch."""
    for claim in _objects(api, CLAIMS):
        if waits_for_volume(claim):
            folder = layout.volumes() / volume_name(claim)
            folder.mkdir(parents=True, exist_ok=True)
            api.create(VOLUMES, volume(claim))


def follow_volumes(api: Api) -> None:
    """Removes every volume whose claim was deleted, with its folder, until the server ends the watch."""
    for found in _objects(api, VOLUMES):
        if is_released(found):
            name = found["metadata"]["name"]
            shutil.rmtree(layout.volumes() / name, ignore_errors=True)
            api.delete(f"{VOLUMES}/{name}")


def waits_for_volume(claim: Object) -> bool:
    """Whether a claim is ours to serve, its pod is scheduled, and it has no volume yet."""
    return (
        claim["spec"].get("storageClassName") == STORAGE_CLASS
        and "volumeName" not in claim["spec"]
        and claim["metadata"].get("annotations", {}).get(SELECTED_NODE) == layout.CPU_NODE
    )


def is_released(found: Object) -> bool:
    """Whether a volume is ours and was given up for good."""
    return (
        found["metadata"].get("annotations", {}).get(PROVISIONED_BY) == PROVISIONER
        and found["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        and found.get("status", {}).get("phase") == "Released"
    )


def volume_name(claim: Object) -> str:
    """The same for the same claim, however often it is asked: a restart in the middle makes no second volume."""
    return f"pvc-{claim['metadata']['uid']}"


def volume(claim: Object) -> Object:
    """The volume for a claim, bound to it alone."""
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(claim), "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "local": {"path": f"/var/lib/volumes/{volume_name(claim)}"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {"key": "kubernetes.io/hostname", "operator": "In", "values": [layout.CPU_NODE]}
                            ]
                        }
                    ]
                }
            },
        },
    }


def _objects(api: Api, path: str) -> Iterator[Object]:
    for kind, found in api.watch(path):
        if kind == "LISTED":
            yield from found["items"]
        elif kind != "DELETED":
            yield found
