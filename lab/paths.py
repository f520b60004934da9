"""Where the lab keeps things, outside the checkout.

The cache can be made again by waiting (built tools, base images); the state cannot (cluster, stacks, secrets, logs).
"""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def cache() -> Path:
    """`$LAB_CACHE`, else `mlops-lab` in the XDG cache folder."""
    return _folder("LAB_CACHE", "XDG_CACHE_HOME", ".cache")


def state() -> Path:
    """`$LAB_STATE`, else `mlops-lab` in the XDG state folder."""
    return _folder("LAB_STATE", "XDG_STATE_HOME", ".local/state")


def _folder(own: str, xdg: str, fallback: str) -> Path:
    if told := os.environ.get(own):
        return Path(told).resolve()
    return (Path(os.environ.get(xdg) or Path.home() / fallback) / "mlops-lab").resolve()


def tools() -> Path:
    """One folder `<name>-<hash>` for each Go module that was built."""
    return cache() / "tools"


def binaries() -> Path:
    """A link to each tool, wherever it came from; stands on PATH before the system's folders."""
    return cache() / "bin"


def kubeconfig() -> Path:
    """The administrator's access to the lab's cluster, certificates embedded."""
    return state() / "kubeconfig"


def logs() -> Path:
    """`<process>.log` for each process of the cluster."""
    return state() / "logs"


def pulumi_home() -> Path:
    """The engine's own folder: plugins, credentials, workspaces."""
    return state() / "pulumi-home"


def pulumi_backend() -> Path:
    """The file backend: state of every stack deployed from this machine."""
    return state() / "pulumi"


def passphrase() -> Path:
    """The file with the passphrase that encrypts the secrets of local stacks."""
    return state() / "passphrase"


def cluster() -> Path:
    """Certificates, etcd, the node's folders and pid files."""
    return state() / "cluster"


def ports() -> Path:
    """The port of 127.0.0.1 that each Service has for good."""
    return state() / "ports.json"


def open_ports() -> Path:
    """The ports that lead to a Service now."""
    return state() / "open.json"


def secrets() -> Path:
    """The passwords of the local stack, made once."""
    return state() / "secrets.json"


def lock() -> Path:
    """Held by the one `lab up` or `lab down` that works on the cluster."""
    return state() / "lock"


def belongings() -> list[Path]:
    """All of the state; `lab down --wipe` takes these and nothing else."""
    folders = [cluster(), pulumi_home(), pulumi_backend(), logs()]
    return [*folders, passphrase(), secrets(), kubeconfig(), ports(), open_ports(), lock()]
