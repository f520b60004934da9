"""Environment of the lab's Pulumi engine: its tools, its state and the cluster."""

import os
import secrets
import sys
from importlib.metadata import version
from pathlib import Path

from lab import paths

NOT_PASSED_ON = frozenset({"PULUMI_CONFIG_PASSPHRASE", "PYTHONDONTWRITEBYTECODE", "PYTHONHOME"})
"""Caller's variables that the engine does not get: they change its secrets or its Python, or slow each start."""


def engine_environment() -> dict[str, str]:
    """Return the environment for `pulumi`, `kubectl` and programs that call them.

    Its folders and the passphrase are created. The engine does not download plugins, because it would wait for minutes
    for an address that this machine may not reach.
    """
    for folder in (paths.pulumi_home(), paths.pulumi_backend(), paths.binaries()):
        folder.mkdir(parents=True, exist_ok=True)
    return {
        **{name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON},
        "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{paths.binaries()}{os.pathsep}{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": sys.prefix,
        "KUBECONFIG": str(paths.kubeconfig()),
        "PULUMI_HOME": str(paths.pulumi_home()),
        # metadata=skip writes no attribute files: a killed engine leaves an empty one, and then no stack can be read.
        "PULUMI_BACKEND_URL": f"file://{paths.pulumi_backend()}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(_passphrase()),
        "PULUMI_PYTHON_CMD": str(paths.CHECKOUT / "lab" / "policy-python"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # The stack file wins over an edit by hand (ADR 0018); plugin 4.25 has no provider argument for it.
        "PULUMI_K8S_ENABLE_PATCH_FORCE": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        # The engine would prefer a plugin on PATH, whatever its version, to the lab's.
        **({"PULUMI_IGNORE_AMBIENT_PLUGINS": "true"} if plugin_folder().exists() else {}),
    }


def plugin_folder() -> Path:
    """Return the folder where the engine looks for the Kubernetes plugin of the Python SDK's version."""
    return paths.pulumi_home() / "plugins" / f"resource-kubernetes-v{version('pulumi-kubernetes')}"


def _passphrase() -> Path:
    """Return the passphrase file, which is created once. Without it, the secrets of local stacks cannot be read."""
    path = paths.passphrase()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32))
    return path
