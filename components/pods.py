"""Parts that all pods of the platform share: security settings, environment, resources, spread over nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi_kubernetes as k8s
from pulumi import Input

from components.foundation import Grant

USER = 65532
"""User and group ID of the platform's images; neither root nor a user of the node."""

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
TMP: k8s.core.v1.VolumeMountArgsDict = {
    "name": "tmp",
    "mount_path": "/tmp",
}  # the only folder that every container may write to

TO_API_SERVER: k8s.networking.v1.NetworkPolicyEgressRuleArgsDict = {
    "ports": [{"protocol": "TCP", "port": port} for port in (443, 6443)]
}
"""Rule that lets a pod reach the API server, whose addresses may change at any time and have no label."""
TOKEN_SECONDS = 3600
"""Life in seconds of a token for the API server; the kubelet replaces it after four fifths of this time."""
SHORT_TOKEN_SECONDS = 600
"""Life in seconds of a token for another audience, which counts until then even if its pod is gone. Kubernetes allows
no shorter one."""
CLUSTER_CA: k8s.core.v1.VolumeProjectionArgsDict = {
    "config_map": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
}
"""Part of a volume: the file `ca.crt`, which verifies the API server's certificate."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Nodes and priority of pods that answer requests."""

    priority_class: Input[str]
    """Name of the PriorityClass."""
    node_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Labels of the nodes; empty for any node without a taint."""


def token(audience: str = "") -> k8s.core.v1.VolumeProjectionArgsDict:
    """Return a part of a volume: the file `token` with the pod's token for an audience, by default the API server."""
    source: k8s.core.v1.ServiceAccountTokenProjectionArgsDict = {"path": "token", "expiration_seconds": TOKEN_SECONDS}
    if audience:
        source.update(audience=audience, expiration_seconds=SHORT_TOKEN_SECONDS)
    return {"service_account_token": source}


def hardened(
    *containers: k8s.core.v1.ContainerArgsDict, placement: Placement | None = None
) -> k8s.core.v1.PodSpecArgsDict:
    """Return the spec of a pod that has no API token and no environment variables of Services.

    For the Service `mlflow`, Kubernetes would set MLFLOW_PORT to tcp://..., which MLflow reads as its own option.
    """
    spec: k8s.core.v1.PodSpecArgsDict = {
        "automount_service_account_token": False,
        "enable_service_links": False,
        "security_context": HARDENED_POD,
        "containers": list(containers),
    }
    if placement:
        spec["priority_class_name"] = placement.priority_class
        if placement.node_labels:
            spec["node_selector"] = placement.node_labels
    return spec


def scratch(name: str, size: str) -> k8s.core.v1.VolumeArgsDict:
    """Return a volume that is deleted with the pod; Kubernetes evicts a pod that writes more than `size` to it."""
    return {"name": name, "empty_dir": {"size_limit": size}}


def environment(values: Mapping[str, Input[str]]) -> list[k8s.core.v1.EnvVarArgsDict]:
    """Return environment variables sorted by name, so that the order of a mapping is never a change."""
    return [{"name": name, "value": values[name]} for name in sorted(values)]


def metadata(
    labels: Mapping[str, str], grant: Grant, *without: str, annotations: Mapping[str, Input[str]] | None = None
) -> k8s.meta.v1.ObjectMetaArgsDict:
    """Return the metadata of a pod; the containers in `without` get no credentials of the service account."""
    skipped = {grant.skip_annotation: ",".join(without)} if grant.skip_annotation and without else {}
    every: dict[str, Input[str]] = {**skipped, **(annotations or {})}
    return {"labels": labels, "annotations": every} if every else {"labels": labels}


def secret_environment(grant: Grant) -> list[k8s.core.v1.EnvFromSourceArgsDict]:
    """Return the grant's Secret as a source of environment variables; an empty list if it has none."""
    return [{"secret_ref": {"name": grant.secret}}] if grant.secret else []


def resources(cpu: str, memory: str, **devices: str) -> k8s.core.v1.ResourceRequirementsArgsDict:
    """Return requests and limits: memory and devices are limited to their requests, CPU has no limit.

    A container cannot give memory back when another needs it, but it can use CPU that is idle.
    """
    return {"requests": {"cpu": cpu, "memory": memory, **devices}, "limits": {"memory": memory, **devices}}


def spread(selector: Mapping[str, str]) -> list[k8s.core.v1.TopologySpreadConstraintArgsDict]:
    """Return constraints that spread pods over zones and nodes; a pod is scheduled even where they cannot be met."""
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
