"""Addresses, names and folders of the cluster.

Each process listens on an address of the lab's own link, so the lab uses no port of the host. Only the forwarder
(`forward.py`) listens on 127.0.0.1. A port of a single component is in that component's file.
"""

import os
from pathlib import Path

from lab import paths

NAME = os.environ.get("LAB_NAME", "mlops-lab")
"""Name of the kube context, the link and the cgroup. LAB_NAME sets it, for a second lab in a network namespace."""

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
"""Folders that the node has itself instead of the host's, so that it leaves no files on the host."""


def pki() -> Path:
    """Return the folder of keys, certificates and tokens."""
    return paths.cluster() / "pki"


def config() -> Path:
    """Return the folder of the components' configuration files and kubeconfigs."""
    return paths.cluster() / "config"


def pids() -> Path:
    """Return the folder of the process records, `<process>.json`."""
    return paths.cluster() / "pids"


def node() -> Path:
    """Return the folder that has the node's /var/lib and /var/log."""
    return paths.cluster() / "node"


def volumes() -> Path:
    """Return the folder of the persistent volumes, which the node sees as `/var/lib/volumes`."""
    return node() / "lib" / "volumes"


def network_namespace() -> Path:
    """Return the file on which the node's network namespace is mounted; the mount keeps it alive."""
    return paths.cluster() / "namespaces" / "net"


def mount_namespace() -> Path:
    """Return the file on which the node's mount namespace is mounted; the mount keeps it alive."""
    return paths.cluster() / "namespaces" / "mnt"
