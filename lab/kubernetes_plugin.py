"""The official Kubernetes plugin, put where the lab's engine looks for it."""

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
ANSWER_SECONDS = 20
FORMER_MODULE = b"lab.providers.kubernetes"
"""In the script that releases before this plugin put into its place."""
NO_ENGINE = "127.0.0.1:1"
"""Address of the engine that a plugin gets when it is asked for nothing but its version."""


def find(console: Console, environment: Mapping[str, str]) -> str | None:
    """Put a plugin that is there, or can be downloaded, in place; None when the lab has to build one.

    The sentence that is returned says which plugin the engine uses. In this order: the plugin in the lab's folder, one
    on PATH, one in the user's ~/.pulumi, a download. Each counts only if it runs and has the version of the Python SDK.

    Args:
        console: where builds are shown, in case the engine has to be built for the download.
        environment: the engine's own.

    Raises:
        LabError: the SDK has another version than the lab can build, and nothing can be downloaded.
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
            f"the Python SDK pulumi-kubernetes is {wanted}, no plugin of that version is here or can be downloaded, and"
            f" the lab builds {KUBERNETES_PLUGIN}: install the SDK of that version (requirements.lock has it)"
        )
    return _sentence(where, unused=on_path)


def use_built() -> str:
    """Put the plugin that the lab has built in place; return the sentence that says so."""
    _link(plugin_folder(), folder(PLUGIN_BUILD))
    return _sentence("built by the lab")


def _sentence(where: str, *, unused: str | None = None) -> str:
    other = f"; {unused} is of another version and is not used" if unused else ""
    return f"kubernetes plugin {version('pulumi-kubernetes')}: the official one, {where}{other}"


def plugin_version(plugin: Path) -> str | None:
    """Ask a plugin for its version; None for a file that is missing, truncated or does not answer."""
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
                stub: Any = provider_pb2_grpc.ResourceProviderStub(channel)  # its types are not known to a checker
                answer: plugin_pb2.PluginInfo = stub.GetPluginInfo(Empty(), timeout=ANSWER_SECONDS, wait_for_ready=True)
                return answer.version.removeprefix("v")
        except grpc.RpcError:
            return None
        finally:
            process.kill()


def _retire_scripts(ours: Path) -> None:
    """Lead the folders that former releases filled with a script of theirs to the official plugin.

    The state names the version of that time, and the engine asks for it until the next update.
    """
    for former in ours.parent.glob("resource-kubernetes-v*"):
        script = former / COMMAND
        if not script.is_symlink() and script.is_file() and FORMER_MODULE in script.read_bytes()[:300]:
            _link(former, ours)


def _link(at: Path, target: Path) -> None:
    """A folder with a link to the plugin of `target`. The engine ignores a folder that is itself a link."""
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
