"""Persistent volumes: one folder of the node for each claim of the lab's storage class.

They are `local` volumes: the kubelet sets the pod's fsGroup on them, and the scheduler keeps the pod on the node.
"""

from lab.cluster import layout
from lab.cluster.component import Object

PROVISIONER = "lab.mlops/folder"
STORAGE_CLASS = "lab"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"


def waits_for_volume(claim: Object) -> bool:
    """Return True for a claim of the lab's class whose pod is scheduled and that has no volume."""
    return (
        claim["spec"].get("storageClassName") == STORAGE_CLASS
        and "volumeName" not in claim["spec"]
        and claim["metadata"].get("annotations", {}).get(SELECTED_NODE) == layout.CPU_NODE
    )


def is_released(volume: Object) -> bool:
    """Return True for a volume of the lab whose claim was deleted."""
    return (
        volume["metadata"].get("annotations", {}).get(PROVISIONED_BY) == PROVISIONER
        and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        and volume.get("status", {}).get("phase") == "Released"
    )


def volume_for(claim: Object) -> Object:
    """Return the volume for a claim. Its name is derived from the claim, so a restart creates no second volume."""
    metadata, spec = claim["metadata"], claim["spec"]
    name = f"pvc-{metadata['uid']}"
    on_the_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [layout.CPU_NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "local": {"path": f"/var/lib/volumes/{name}"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                **{key: metadata[key] for key in ("namespace", "name", "uid")},
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_the_node]}]}},
        },
    }
