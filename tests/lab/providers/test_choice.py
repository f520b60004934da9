"""Official plugin or stand-in."""

import os
import sys
from pathlib import Path

import pytest

from lab.providers import choice, wrappers


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(choice, "DOWNLOADS_FROM", ("127.0.0.1", 9))  # nobody answers there
    return tmp_path


def official(file: Path) -> Path:
    file.parent.mkdir(parents=True)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def provide(home: Path) -> str:
    environment = {"PATH": str(home / "bin"), "HOME": str(home)}
    return choice.provide(home / "plugins", Path(sys.executable), environment)


def test_without_internet_the_stand_in_is_used_and_said_so(home: Path) -> None:
    assert "the lab's stand-in" in provide(home)
    plugin = wrappers.executable(home / "plugins", "kubernetes")
    assert wrappers.is_stand_in(plugin)
    assert os.access(plugin, os.X_OK)
    assert "the lab's stand-in" in provide(home)


def test_an_official_plugin_on_path_is_used(home: Path) -> None:
    plugin = official(home / "bin" / "pulumi-resource-kubernetes")
    assert provide(home).endswith(f"the official one (on PATH: {plugin}).")
    assert not (home / "plugins").exists()


def test_an_official_plugin_that_lies_there_stays(home: Path) -> None:
    plugin = official(wrappers.executable(home / "plugins", "kubernetes"))
    assert "the official one" in provide(home)
    wrappers.install(home / "plugins", Path(sys.executable))
    assert plugin.read_text() == "#!/bin/sh\n"


def test_the_users_own_official_plugin_takes_the_place_of_the_stand_in(home: Path) -> None:
    provide(home)
    users = official(wrappers.executable(home / ".pulumi" / "plugins", "kubernetes"))
    assert "the official one" in provide(home)
    assert wrappers.executable(home / "plugins", "kubernetes").resolve() == users


def test_another_python_takes_over_the_stand_in(home: Path) -> None:
    wrappers.install(home / "plugins", Path("/usr/bin/python3"))
    (script,) = wrappers.install(home / "plugins", Path(sys.executable))
    assert sys.executable in script.read_text()
