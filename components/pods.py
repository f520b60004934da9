"""What all our pods have in common: no rights they do not need, and environment as Kubernetes wants it written."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi_kubernetes as k8s
from pulumi import Input

from components.foundation import Grant

USER = 65532
"""The user of our images; not root, and no user of the node."""

HARDENED_POD: k8s.core.v1.PodSecurityContextArgsDict = {
    "run_as_non_root": True,
    "run_as_user": USER,
    "run_as_group": USER,
    "fs_group": USER,
    "fs_group_change_policy": "OnRootMismatch",
    "seccomp_profile": {"type": "RuntimeDefault"},
}
HARDENED_CONTAINER: k8s.core.v1.SecurityContextArgsDict = {
    "allow_privilege_escalation": False,
    "read_only_root_filesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
TMP: k8s.core.v1.VolumeMountArgsDict = {"name": "tmp", "mount_path": "/tmp"}  # the one place images may write


def hardened(*containers: k8s.core.v1.ContainerArgsDict) -> k8s.core.v1.PodSpecArgsDict:
    """A pod without a way to the API server, and without variables for Services.

    A Service called mlflow would set MLFLOW_PORT to tcp://..., which MLflow takes for its own option.
    """
    return {
        "automount_service_account_token": False,
        "enable_service_links": False,
        "security_context": HARDENED_POD,
        "containers": list(containers),
    }


def scratch(name: str, size: str) -> k8s.core.v1.VolumeArgsDict:
    """A folder on the node that lives as long as the pod; a pod that writes more than `size` is evicted."""
    return {"name": name, "empty_dir": {"size_limit": size}}


def environment(values: Mapping[str, Input[str]]) -> list[k8s.core.v1.EnvVarArgsDict]:
    """Sorted: the order of a mapping must not look like a change."""
    return [{"name": name, "value": values[name]} for name in sorted(values)]


def secret_environment(grant: Grant) -> list[k8s.core.v1.EnvFromSourceArgsDict]:
    """The credentials of the grant, if it needs any."""
    return [{"secret_ref": {"name": grant.secret}}] if grant.secret else []


def resources(cpu: str, memory: str, **devices: str) -> k8s.core.v1.ResourceRequirementsArgsDict:
    """Memory is capped at what is asked for, since it cannot be taken back; CPU is not, since idle CPU helps nobody."""
    return {"requests": {"cpu": cpu, "memory": memory, **devices}, "limits": {"memory": memory, **devices}}


def spread(selector: Mapping[str, str]) -> list[k8s.core.v1.TopologySpreadConstraintArgsDict]:
    """Over zones, then over nodes, where there are several: a pod runs crowded sooner than not at all."""
    return [
        {
            "topology_key": key,
            "max_skew": 1,
            "when_unsatisfiable": "ScheduleAnyway",
            "label_selector": {"match_labels": selector},
            "match_label_keys": ["pod-template-hash"],
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
