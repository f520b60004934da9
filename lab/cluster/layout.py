"""Addresses, names and files of the cluster.

Everything listens on an address of the lab's own link, so no port of the host is taken; only the forwarder
(`forward.py`) listens on 127.0.0.1. The addresses are fixed: one machine runs one lab.
"""

from pathlib import Path

from lab import paths

NAME = "mlops-lab"
"""Of the kube context, the link, the cgroup."""

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
ETCD_PEER_PORT = 2380
MANAGER_PORT = 10257
SCHEDULER_PORT = 10259
METRICS_PORT = 10251
KWOK_PORT = 10247
KUBELET_HEALTH_PORT = 10248
PROXY_HEALTH_PORT = 10256
DNS_HEALTH_PORT = 10253

CPU_NODE = "lab-cpu"
GPU_NODE = "lab-gpu"
POOL_LABEL = "mlops/node-pool"
PAUSE_IMAGE = "lab.local/pause:1"

SHADOWED = ("/run", "/var/lib", "/var/log")
"""Folders of the host that the node does not see: it has its own, so that nothing of it is left on the host."""


def pki() -> Path:
    """Keys and certificates."""
    return paths.cluster() / "pki"


def config() -> Path:
    """Configuration files and kubeconfigs of the components."""
    return paths.cluster() / "config"


def pids() -> Path:
    """`<process>.json`: which process runs, and what it was started from."""
    return paths.cluster() / "pids"


def etcd_data() -> Path:
    """The cluster's objects."""
    return paths.cluster() / "etcd"


def node() -> Path:
    """What the node sees as /var/lib and /var/log."""
    return paths.cluster() / "node"


def volumes() -> Path:
    """One folder for each persistent volume; the node sees it as `/var/lib/volumes`."""
    return node() / "lib" / "volumes"


def network_namespace() -> Path:
    """The node's network namespace, held open by a mount."""
    return paths.cluster() / "namespaces" / "net"


def mount_namespace() -> Path:
    """The node's mount namespace, held open by a mount."""
    return paths.cluster() / "namespaces" / "mnt"
