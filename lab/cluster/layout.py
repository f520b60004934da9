"""Addresses, names and folders of the cluster.

Every process listens on an address of the lab's own link, so the lab takes no port of the host. Only the forwarder
(`forward.py`) listens on 127.0.0.1. A port that one component alone uses stands in that component's file.
"""

import os
from pathlib import Path

from lab import paths

NAME = os.environ.get("LAB_NAME", "mlops-lab")
"""Name of the kube context, the link and the cgroup. LAB_NAME changes it, for a second lab in a network namespace."""

HOST = "172.31.77.1"
NODE = "172.31.77.2"
LINK_PREFIX = 24
PODS = "10.244.200.0/24"
SERVICES = "10.96.0.0/16"
KUBERNETES_SERVICE = "10.96.0.1"
METRICS_SERVICE = "10.96.0.11"
DNS_DOMAIN = "cluster.local"

API_PORT = 6443
ETCD_PORT = 2379
API_SERVER = f"https://{HOST}:{API_PORT}"

CPU_NODE = "lab-cpu"
GPU_NODE = "lab-gpu"
POOL_LABEL = "mlops/node-pool"
PAUSE_IMAGE = "lab.local/pause:1"

SHADOWED = ("/run", "/var/lib", "/var/log")
"""Folders of the host that the node does not see. It has its own, so nothing of it is left on the host."""


def pki() -> Path:
    """Keys, certificates and tokens."""
    return paths.cluster() / "pki"


def config() -> Path:
    """Configuration files and kubeconfigs of the components."""
    return paths.cluster() / "config"


def pids() -> Path:
    """`<process>.json`: which process runs, and what it was started from."""
    return paths.cluster() / "pids"


def node() -> Path:
    """Folders that the node sees as /var/lib and /var/log."""
    return paths.cluster() / "node"


def volumes() -> Path:
    """One folder for each persistent volume. The node sees it as `/var/lib/volumes`."""
    return node() / "lib" / "volumes"


def network_namespace() -> Path:
    """A file on which the node's network namespace is mounted, which keeps it alive."""
    return paths.cluster() / "namespaces" / "net"


def mount_namespace() -> Path:
    """A file on which the node's mount namespace is mounted, which keeps it alive."""
    return paths.cluster() / "namespaces" / "mnt"
