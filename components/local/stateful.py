"""StatefulSet of one hardened pod with one volume, which both local stores use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi_kubernetes as k8s
from pulumi import Input

from components import pods, timeouts
from contract import names

STARTUP_SECONDS = 120
"""Seconds within which a store must accept connections."""
GRACE_SECONDS = 60
CPU, MEMORY = "100m", "256Mi"
"""CPU request of a store's pod; its memory request and limit."""
TIMEOUTS = timeouts.store(STARTUP_SECONDS, grace_seconds=GRACE_SECONDS)


@dataclass(frozen=True, kw_only=True)
class Store:
    """Settings in which the stores differ."""

    name: str
    """Name of the StatefulSet, its Service and its container."""
    component: str
    """Value of the component label."""
    image: str
    """Image of the store."""
    port: int
    """TCP port of the store."""
    priority_class: Input[str]
    """Name of the pod's PriorityClass."""
    storage_gib: int
    """Size of the volume in GiB."""
    environment: list[k8s.core.v1.EnvVarArgsDict]
    """Environment variables of the container."""
    ready: k8s.core.v1.ProbeArgsDict
    """Request or command by which the startup and readiness probes check the store."""
    scratch: tuple[str, ...] = ()
    """Folders in addition to /tmp that the image writes to."""
    secrets: Mapping[str, Input[str]] = field(default_factory=dict[str, Input[str]])
    """Name of a Secret for each folder that has its keys as files."""


def metadata(store: Store, namespace: Input[str]) -> k8s.meta.v1.ObjectMetaArgsDict:
    """Return metadata with a fixed name, by which a new StatefulSet gets the volume of the old one."""
    return {"name": store.name, "namespace": namespace, "labels": names.labels(store.name, store.name, store.component)}


def stateful_set_spec(store: Store) -> k8s.apps.v1.StatefulSetSpecArgsDict:
    """Return the spec of one replica, whose volume outlives the StatefulSet because it comes from a template."""
    return {
        "replicas": 1,
        # A name, not the Service's output: Pulumi must not wait for the Service here.
        "service_name": store.name,
        "selector": {"match_labels": names.selector(store.name, store.name)},
        "template": {
            "metadata": {"labels": names.labels(store.name, store.name, store.component)},
            "spec": {
                **pods.hardened(_container(store), placement=pods.Placement(priority_class=store.priority_class)),
                "termination_grace_period_seconds": GRACE_SECONDS,
                "volumes": [
                    pods.scratch("tmp", "256Mi"),
                    *(pods.scratch(_volume(path), "16Mi") for path in store.scratch),
                    # Postgres refuses a private key that others than its group can read.
                    *(
                        {"name": _volume(path), "secret": {"secret_name": secret, "default_mode": 0o440}}
                        for path, secret in store.secrets.items()
                    ),
                ],
            },
        },
        "volume_claim_templates": [
            {
                "metadata": {"name": "data"},
                "spec": {
                    "access_modes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": f"{store.storage_gib}Gi"}},
                },
            }
        ],
    }


def ingress_policy_spec(
    store: Store, peers: list[k8s.networking.v1.NetworkPolicyPeerArgsDict]
) -> k8s.networking.v1.NetworkPolicySpecArgsDict:
    """Return a policy that lets only `peers` reach the store, on its port only."""
    return {
        "pod_selector": {"match_labels": names.selector(store.name, store.name)},
        "policy_types": ["Ingress"],
        "ingress": [{"from_": peers, "ports": [{"protocol": "TCP", "port": store.port}]}],
    }


def egress(name: str, port: int) -> k8s.networking.v1.NetworkPolicyEgressRuleArgsDict:
    """Return the rule that lets pods of any namespace reach the store."""
    return {
        "to": [
            {
                "namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": names.PLATFORM}},
                "pod_selector": {"match_labels": names.selector(name, name)},
            }
        ],
        "ports": [{"protocol": "TCP", "port": port}],
    }


def _container(store: Store) -> k8s.core.v1.ContainerArgsDict:
    return {
        "name": store.name,
        "image": store.image,
        "env": store.environment,
        "ports": [{"name": store.name, "container_port": store.port, "protocol": "TCP"}],
        "resources": pods.resources(CPU, MEMORY),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
        "startup_probe": {**store.ready, "period_seconds": 1, "failure_threshold": STARTUP_SECONDS},
        "readiness_probe": {**store.ready, "period_seconds": 5},
        "liveness_probe": {"tcp_socket": {"port": store.port}, "period_seconds": 10, "failure_threshold": 6},
        "volume_mounts": [
            pods.TMP,
            {"name": "data", "mount_path": "/data"},
            *({"name": _volume(path), "mount_path": path} for path in store.scratch),
            *({"name": _volume(path), "mount_path": path, "read_only": True} for path in store.secrets),
        ],
    }


def _volume(path: str) -> str:
    return path.strip("/").replace("/", "-")
