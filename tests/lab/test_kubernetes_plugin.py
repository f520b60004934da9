"""Choice of the Kubernetes plugin. Plugins are small fake servers that return a version."""

import os
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console

from lab import kubernetes_plugin
from lab.engine import engine_environment, plugin_folder
from tests.projects import CHECKOUT

SDK = version("pulumi-kubernetes")
SERVER = """
import sys
from pulumi.runtime.proto.plugin_pb2 import PluginInfo
from tests.engine.recording.plugin import serve
class Plugin:
    def get_plugin_info(self, request, call):
        return PluginInfo(version=sys.argv[1])
serve(Plugin())
"""


def put(folder: Path, answers: str) -> Path:
    """Put a fake plugin of this version into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    plugin = folder / kubernetes_plugin.COMMAND
    command = f"{shlex.quote(sys.executable)} -P -c {shlex.quote(SERVER)} {answers}"
    plugin.write_text(f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(CHECKOUT))} exec {command}\n")
    plugin.chmod(0o755)
    return plugin


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set up a machine with an empty home, an empty PATH and no network."""
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'system'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(kubernetes_plugin, "_can_download", lambda: False)
    return tmp_path


def found() -> str | None:
    return kubernetes_plugin.find(Console(quiet=True), engine_environment())


def test_without_any_plugin_the_lab_has_to_build_one() -> None:
    assert found() is None


def test_one_in_the_labs_folder_is_used_and_one_on_path_is_named_as_unused(machine: Path) -> None:
    put(plugin_folder(), SDK)
    other = put(machine / "system", "4.1.0")
    said = found()
    assert said
    assert f"{SDK}: the official one, in {plugin_folder()}" in said
    assert f"{other} has another version and is not used" in said
    assert engine_environment()["PULUMI_IGNORE_AMBIENT_PLUGINS"] == "true"


def test_one_on_path_of_the_sdks_version_is_used(machine: Path) -> None:
    plugin = put(machine / "system", SDK)
    assert found() == f"kubernetes plugin {SDK}: the official one, on PATH ({plugin})"
    assert "PULUMI_IGNORE_AMBIENT_PLUGINS" not in engine_environment()


def test_one_on_path_of_another_version_is_not_used(machine: Path) -> None:
    put(machine / "system", "4.1.0")
    assert found() is None


def test_one_in_the_users_home_is_used_and_a_newer_one_beside_it_is_not(machine: Path) -> None:
    users = machine / "home" / ".pulumi" / "plugins"
    put(users / "resource-kubernetes-v4.99.0", "4.99.0")
    assert found() is None
    put(users / plugin_folder().name, SDK)
    assert (found() or "").endswith(f"the official one, in {users / plugin_folder().name}")
    assert (plugin_folder() / kubernetes_plugin.COMMAND).exists()


@pytest.mark.parametrize("content", [b"", b"\x7fELF\x02\x01\x01"], ids=["empty", "truncated"])
def test_a_damaged_one_is_not_used(content: bytes) -> None:
    put(plugin_folder(), SDK).write_bytes(content)
    assert found() is None


def test_the_script_that_a_former_release_left_is_replaced_by_the_official_plugin() -> None:
    former = plugin_folder().with_name("resource-kubernetes-v4.34.2") / kubernetes_plugin.COMMAND
    former.parent.mkdir(parents=True)
    former.write_text('#!/bin/sh\nexec python -P -m lab.providers.kubernetes "$@"\n')
    put(plugin_folder(), SDK)
    assert found()
    assert kubernetes_plugin.plugin_version(former) == SDK


def test_the_engine_finds_the_plugin_in_a_folder_and_not_behind_a_link(machine: Path) -> None:
    plugin = put(machine / "home" / ".pulumi" / "plugins" / plugin_folder().name, SDK)
    plugin_folder().parent.mkdir(parents=True)
    plugin_folder().symlink_to(plugin.parent)
    assert found()
    assert plugin_folder().is_dir()
    assert not plugin_folder().is_symlink()
    assert (plugin_folder() / kubernetes_plugin.COMMAND).samefile(plugin)
