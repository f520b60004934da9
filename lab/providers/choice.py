"""The official Kubernetes plugin where the engine can have it, else the stand-in."""

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from lab.providers.wrappers import executable, install, is_stand_in, plugin_folder

PACKAGE: Final = "kubernetes"
DOWNLOADS_FROM: Final = ("get.pulumi.com", 443)
ANSWER_WITHIN_SECONDS: Final = 2
DOWNLOAD_WITHIN_SECONDS: Final = 300


def provide(plugins: Path, python: Path, environment: Mapping[str, str]) -> str:
    """The engine has a Kubernetes plugin in its `plugins` folder afterwards; the sentence that is returned says which.

    `environment` is the engine's own.
    """
    wanted = f"Kubernetes plugin {version(f'pulumi-{PACKAGE}')}"
    if found := _official(plugins, environment):
        return f"{wanted}: the official one ({found})."
    if _can_download() and _download(plugins, environment):
        return f"{wanted}: the official one, downloaded."
    install(plugins, python)
    return f"{wanted}: the lab's stand-in, as the official one cannot be downloaded here."


def _official(plugins: Path, environment: Mapping[str, str]) -> str | None:
    """Where the engine finds it; one in the user's own home is linked into the lab's."""
    name = f"pulumi-resource-{PACKAGE}"
    on_path = shutil.which(name, path=environment.get("PATH", ""))
    if on_path and not is_stand_in(Path(on_path)):
        return f"on PATH: {on_path}"
    plugin = executable(plugins, PACKAGE)
    if plugin.is_file() and not is_stand_in(plugin):
        return str(plugin)
    users = executable(Path(environment.get("HOME", os.curdir)) / ".pulumi" / "plugins", PACKAGE)
    if users.is_file() and not is_stand_in(users):
        folder = plugin_folder(plugins, PACKAGE)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(users.parent)
        return str(users)
    return None


def _can_download() -> bool:
    try:
        socket.create_connection(DOWNLOADS_FROM, ANSWER_WITHIN_SECONDS).close()
    except OSError:
        return False
    return True


def _download(plugins: Path, environment: Mapping[str, str]) -> bool:
    shutil.rmtree(plugin_folder(plugins, PACKAGE), ignore_errors=True)  # the engine would take a stand-in for it
    command = ["pulumi", "plugin", "install", "resource", PACKAGE, version(f"pulumi-{PACKAGE}")]
    allowed = {name: text for name, text in environment.items() if "PLUGIN_ACQUISITION" not in name}
    try:
        done = subprocess.run(command, env=allowed, capture_output=True, check=False, timeout=DOWNLOAD_WITHIN_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
