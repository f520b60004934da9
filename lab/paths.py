"""Folders and files of the lab, outside the checkout.

The cache can be created again (built tools, base images). The state cannot (cluster, stacks, secrets, logs).
"""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def cache() -> Path:
    """Return the cache folder: `$LAB_CACHE`, else `mlops-lab` in the XDG cache folder."""
    return _folder("LAB_CACHE", "XDG_CACHE_HOME", ".cache")


def state() -> Path:
    """Return the state folder: `$LAB_STATE`, else `mlops-lab` in the XDG state folder."""
    return _folder("LAB_STATE", "XDG_STATE_HOME", ".local/state")


def _folder(own: str, xdg: str, fallback: str) -> Path:
    if path := os.environ.get(own):
        return Path(path).resolve()
    return (Path(os.environ.get(xdg) or Path.home() / fallback) / "mlops-lab").resolve()


def tools() -> Path:
    """Return the folder of built tools, with one folder `<name>-<hash>` for each build."""
    return cache() / "tools"


def binaries() -> Path:
    """Return the folder with a link to each tool. It comes before the system's folders on PATH."""
    return cache() / "bin"


def kubeconfig() -> Path:
    """Return the administrator's kubeconfig for the lab's cluster, with embedded certificates."""
    return state() / "kubeconfig"


def logs() -> Path:
    """Return the folder of the logs, `<process>.log` for each process of the cluster."""
    return state() / "logs"


def pulumi_home() -> Path:
    """Return the engine's folder: plugins, credentials, workspaces."""
    return state() / "pulumi-home"


def pulumi_backend() -> Path:
    """Return the folder of Pulumi's file backend, with the state of every stack of this machine."""
    return state() / "pulumi"


def passphrase() -> Path:
    """Return the file with the passphrase for the secrets of local stacks."""
    return state() / "passphrase"


def cluster() -> Path:
    """Return the folder of the cluster: certificates, etcd, the node's folders, pid files."""
    return state() / "cluster"


def ports() -> Path:
    """Return the file with the port of 127.0.0.1 that each Service keeps."""
    return state() / "ports.json"


def open_ports() -> Path:
    """Return the file with the ports that are forwarded now."""
    return state() / "open.json"


def secrets() -> Path:
    """Return the file with the passwords of the local stack, which are created once."""
    return state() / "secrets.json"


def lock() -> Path:
    """Return the lock file of `lab up` and `lab down`."""
    return state() / "lock"


def belongings() -> list[Path]:
    """Return all files and folders of the state, which `lab down --wipe` deletes."""
    folders = [cluster(), pulumi_home(), pulumi_backend(), logs()]
    return [*folders, passphrase(), secrets(), kubeconfig(), ports(), open_ports(), lock()]
