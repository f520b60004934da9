"""Environment of the engine."""

import os
from pathlib import Path

import pytest

from lab import paths
from lab.engine import engine_environment


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))


def test_the_passphrase_is_made_once_and_read_by_its_owner_alone() -> None:
    file = Path(engine_environment()["PULUMI_CONFIG_PASSPHRASE_FILE"])
    made = file.read_text()
    engine_environment()
    assert file.read_text() == made
    assert len(made) >= 32
    assert file.stat().st_mode & 0o077 == 0


def test_a_passphrase_of_the_users_shell_does_not_take_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "another project's")
    assert "PULUMI_CONFIG_PASSPHRASE" not in engine_environment()


def test_the_environments_own_python_comes_first_then_the_labs_tools() -> None:
    first, second, *_ = engine_environment()["PATH"].split(os.pathsep)
    assert (Path(first) / "python").exists()
    assert Path(second) == paths.binaries()


def test_stacks_and_cluster_are_the_labs_and_never_the_users() -> None:
    told = engine_environment()
    assert told["PULUMI_BACKEND_URL"].startswith(f"file://{paths.pulumi_backend()}?")
    assert told["KUBECONFIG"] == str(paths.kubeconfig())
    assert told["PULUMI_HOME"] == str(paths.pulumi_home())
