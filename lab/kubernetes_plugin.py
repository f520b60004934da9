"""Installation of the official Kubernetes plugin for the lab's engine."""

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc
from rich.console import Console

from lab.engine import plugin_folder
from lab.errors import LabError
from lab.tools.build import folder
from lab.tools.catalog import KUBERNETES_PLUGIN, PLUGIN_BUILD
from lab.tools.install import install

COMMAND = "pulumi-resource-kubernetes"
DOWNLOADS_FROM = ("get.pulumi.com", 443)
CONNECT_SECONDS = 2
DOWNLOAD_SECONDS = 300
RESPONSE_SECONDS = 20
FORMER_MODULE = b"lab.providers.kubernetes"
"""Text in the script that earlier releases installed instead of the plugin."""
NO_ENGINE = "127.0.0.1:1"
"""Address of an engine for a plugin that only returns its version."""


def find(console: Console, environment: Mapping[str, str]) -> str | None:
    """Find or download a plugin, and return a sentence that says which one. None if the lab has to build it.

    The order is: the lab's folder, PATH, the user's ~/.pulumi, a download. A plugin is used only if it runs and has the
    version of the Python SDK.

    Args:
        console: console for the build of the engine, which a download may need.
        environment: environment of the engine.

    Raises:
        LabError: the lab cannot build the SDK's version, and no plugin was found or downloaded.
    """
    wanted, ours = version("pulumi-kubernetes"), plugin_folder()
    _retire_scripts(ours)
    on_path = shutil.which(COMMAND, path=environment.get("PATH", ""))
    users = Path(environment.get("HOME", os.curdir)) / ".pulumi" / "plugins" / ours.name / COMMAND
    if not ours.is_symlink() and plugin_version(ours / COMMAND) == wanted:
        where = f"in {(ours / COMMAND).resolve().parent}"
    elif on_path and plugin_version(Path(on_path)) == wanted:
        _remove(ours)  # without this folder the engine takes the plugin on PATH (lab/engine.py)
        return _sentence(f"on PATH ({on_path})")
    elif plugin_version(users) == wanted:
        _link(ours, users.parent)
        where = f"in {users.parent}"
    elif _can_download() and _download(console, ours, wanted, environment):
        where = "downloaded"
    elif wanted == KUBERNETES_PLUGIN:
        return None
    else:
        raise LabError(
            f"no Kubernetes plugin {wanted} was found or can be downloaded, and the lab builds only version"
            f" {KUBERNETES_PLUGIN}: install that version of the Python SDK pulumi-kubernetes, as in requirements.lock"
        )
    return _sentence(where, unused=on_path)


def use_built() -> str:
    """Use the plugin that the lab has built, and return a sentence that says so."""
    _link(plugin_folder(), folder(PLUGIN_BUILD))
    return _sentence("built by the lab")


def _sentence(where: str, *, unused: str | None = None) -> str:
    other = f"; {unused} has another version and is not used" if unused else ""
    return f"kubernetes plugin {version('pulumi-kubernetes')}: the official one, {where}{other}"


def plugin_version(plugin: Path) -> str | None:
    """Return the version of a plugin. None if the file is missing or truncated, or the plugin does not respond."""
    try:
        process = subprocess.Popen([plugin, NO_ENGINE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return None
    with process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            if not port:
                return None
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub: Any = provider_pb2_grpc.ResourceProviderStub(channel)  # not typed
                info: plugin_pb2.PluginInfo = stub.GetPluginInfo(Empty(), timeout=RESPONSE_SECONDS, wait_for_ready=True)
                return info.version.removeprefix("v")
        except grpc.RpcError:
            return None
        finally:
            process.kill()


def _retire_scripts(ours: Path) -> None:
    """Replace the scripts of earlier releases by links to the official plugin.

    The state has the version of such a script, and the engine starts it until the next update.
    """
    for former in ours.parent.glob("resource-kubernetes-v*"):
        script = former / COMMAND
        if not script.is_symlink() and script.is_file() and FORMER_MODULE in script.read_bytes()[:300]:
            _link(former, ours)


def _link(at: Path, target: Path) -> None:
    """Create a folder with a link to the plugin in `target`. The engine ignores a folder that is a link itself."""
    _remove(at)
    at.mkdir(parents=True)
    (at / COMMAND).symlink_to(target / COMMAND)


def _remove(at: Path) -> None:
    if at.is_symlink():
        at.unlink()
    else:
        shutil.rmtree(at, ignore_errors=True)


def _can_download() -> bool:
    try:
        socket.create_connection(DOWNLOADS_FROM, CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _download(console: Console, ours: Path, wanted: str, environment: Mapping[str, str]) -> bool:
    _remove(ours)
    install(console, ["engine"])
    command = ["pulumi", "plugin", "install", "resource", "kubernetes", wanted]
    allowed = {name: text for name, text in environment.items() if "PLUGIN_ACQUISITION" not in name}
    try:
        done = subprocess.run(command, env=allowed, capture_output=True, check=False, timeout=DOWNLOAD_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
