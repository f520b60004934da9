"""The objects that make the bare cluster usable: rights of the components, metrics, storage class, GPU node."""

import base64
from typing import Any

from lab.cluster import layout

Object = dict[str, Any]
PROVISIONER = "lab.mlops/folder"
STORAGE_CLASS = "lab"


def wanted() -> list[Object]:
    """In the order in which they can be made."""
    return [
        *_kubelet_access(),
        *_coredns(),
        *_metrics_server(),
        *_kwok(),
        *_agent(),
        _storage_class(),
        gpu_node(),
    ]


def gpu_node() -> Object:
    """A node with one GPU that exists on paper only; its taint keeps away every pod that does not ask for a GPU."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": layout.GPU_NODE,
            "labels": {
                "type": "kwok",
                layout.POOL_LABEL: "gpu",
                "kubernetes.io/hostname": layout.GPU_NODE,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]},
    }


def gpu_node_status() -> Object:
    """What the simulated node offers; a subresource, so it is applied apart."""
    room = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "20", "nvidia.com/gpu": "1"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": layout.GPU_NODE},
        "status": {"capacity": room, "allocatable": room},
    }


def _kubelet_access() -> list[Object]:
    """The API server may ask the kubelet for logs, and run commands in pods through it."""
    return [_binding("lab:kubelet-api", "system:kubelet-api-admin", "kube-apiserver-kubelet-client")]


def _coredns() -> list[Object]:
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    return [_role("lab:coredns", rules), _binding("lab:coredns", "lab:coredns", "lab:coredns")]


def _metrics_server() -> list[Object]:
    name, user = "lab:metrics-server", "lab:metrics-server"
    rules = [
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
    ]
    reader = {
        "apiGroups": ["metrics.k8s.io"],
        "resources": ["pods", "nodes"],
        "verbs": ["get", "list", "watch"],
    }
    labels = {f"rbac.authorization.k8s.io/aggregate-to-{role}": "true" for role in ("admin", "edit", "view")}
    service = {"name": "metrics-server", "namespace": "kube-system"}
    return [
        _role(name, rules),
        _role("lab:metrics-reader", [reader], labels),
        _binding(name, name, user),
        _binding("lab:metrics-server-authentication", "system:auth-delegator", user),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "lab:metrics-server", "namespace": "kube-system"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": "extension-apiserver-authentication-reader",
            },
            "subjects": [_user(user)],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": service,
            "spec": {
                "clusterIP": layout.METRICS_SERVICE,
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": layout.METRICS_PORT}],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                **service,
                "labels": {
                    "kubernetes.io/service-name": "metrics-server",
                    "endpointslice.kubernetes.io/managed-by": "lab",
                },
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [layout.HOST], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": layout.METRICS_PORT, "protocol": "TCP"}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"name": "metrics-server", "namespace": "kube-system"},
                "caBundle": _authority(),
            },
        },
    ]


def _kwok() -> list[Object]:
    rules = [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch", "patch", "update"]},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch", "update"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch", "update", "delete"]},
        {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch", "update"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["get", "list", "watch", "create", "patch", "update", "delete"],
        },
    ]
    return [_role("lab:kwok", rules), _binding("lab:kwok", "lab:kwok", "lab:kwok")]


def _agent() -> list[Object]:
    rules = [
        {"apiGroups": [""], "resources": ["services", "persistentvolumeclaims"], "verbs": ["get", "list", "watch"]},
        {
            "apiGroups": [""],
            "resources": ["persistentvolumes"],
            "verbs": ["get", "list", "watch", "create", "delete"],
        },
    ]
    return [_role("lab:agent", rules), _binding("lab:agent", "lab:agent", "lab:agent")]


def _storage_class() -> Object:
    """Volumes are folders on the node, made when their first pod is scheduled, as a cloud's disks are."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _role(name: str, rules: list[Object], labels: dict[str, str] | None = None) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": labels or {}},
        "rules": rules,
    }


def _binding(name: str, role: str, user: str) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [_user(user)],
    }


def _user(name: str) -> Object:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}


def _authority() -> str:
    return base64.b64encode((layout.pki() / "ca.crt").read_bytes()).decode()
