"""Source of each tool: the system, else the cache; and the errors if neither has it."""

from pathlib import Path

import pytest
from rich.console import Console

from lab import paths
from lab.errors import LabError
from lab.tools import install
from lab.tools.build import Pending
from lab.tools.catalog import CATALOG, ENGINE, Build, OnPath

INSTEAD = OnPath(commands=("engine", "host"), version_arguments=("version",), minimum=(3, 259), below=(4,))


def put(folder: Path, command: str, says: str = "") -> None:
    (folder / command).write_text(f"#!/bin/sh\necho '{says}'\n")
    (folder / command).chmod(0o755)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on PATH."""
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "system"))
    (tmp_path / "system").mkdir()
    return tmp_path / "system"


@pytest.mark.parametrize(
    ("says", "used"),
    [
        ("v3.259.0", True),
        ("v3.300.1-alpha", True),
        ("engine 3.259", True),
        ("v3.258.9", False),
        ("v4.0.0", False),
        ("dev", False),
    ],
)
def test_a_tool_on_path_is_used_when_it_is_new_enough(system: Path, says: str, used: bool) -> None:
    put(system, "engine", says)
    put(system, "host")
    assert (install.on_path(INSTEAD) is not None) == used


def test_a_tool_on_path_is_not_used_when_its_companion_is_missing(system: Path) -> None:
    put(system, "engine", "v3.259.0")
    assert install.on_path(INSTEAD) is None


def test_the_labs_own_link_is_not_taken_for_the_systems(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.binaries().mkdir(parents=True)
    put(paths.binaries(), "engine", "v3.259.0")
    put(paths.binaries(), "host")
    monkeypatch.setenv("PATH", f"{paths.binaries()}:{system}")
    assert install.on_path(INSTEAD) is None


def test_what_is_on_path_is_linked_and_nothing_is_built(system: Path) -> None:
    for command in ("pulumi", "pulumi-language-python", "pulumi-language-python-exec"):
        put(system, command, "v3.260.0")
    install.install(Console(quiet=True), ["engine"])
    assert (paths.binaries() / "pulumi").resolve() == system / "pulumi"
    assert not paths.tools().exists()


@pytest.mark.usefixtures("system")
def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(
        LabError, match=r"^helm: there is no such tool; write one of addons, cluster, cni, .*versitygw$"
    ):
        install.install(Console(quiet=True), ["helm"])


def test_a_group_means_its_builds() -> None:
    assert [build.name for build in install.chosen_builds(["engine"])] == ["pulumi", "pulumi-python"]


def pending(*builds: Build, stale: int) -> Pending:
    return Pending(builds, packages=5000, stale=stale)


def test_a_disk_with_too_little_room_is_refused_in_one_sentence() -> None:
    both = pending(ENGINE, CATALOG["versitygw"], stale=1000)
    with pytest.raises(LabError) as refused:
        install.check_disk(both, {Path("/small"): 2**30, Path("/large"): 2**40})
    assert str(refused.value) == (
        "/small has 1.0 GiB free, but building pulumi, versitygw needs 2.4 GiB; "
        "free some space, or set LAB_CACHE, GOCACHE and GOMODCACHE to folders on a larger disk"
    )


def test_what_go_has_compiled_already_needs_no_room_again() -> None:
    install.check_disk(pending(ENGINE, stale=1), {Path("/small"): 2**30})


@pytest.mark.usefixtures("system")
def test_without_apt_get_the_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "APT_PACKAGES", {"no-such-command": "some-package"})
    with pytest.raises(LabError, match=r"^some-package: not on PATH, and this system has no apt-get"):
        install.install_packages(Console(quiet=True))


def test_a_user_who_is_not_root_gets_the_command(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(system, "apt-get")
    monkeypatch.setattr(install, "APT_PACKAGES", {"no-such-command": "some-package"})
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"only root may install them; run: sudo apt-get install some-package$"):
        install.install_packages(Console(quiet=True))


def test_packages_that_are_there_are_not_asked_for(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "APT_PACKAGES", {"runc": "runc"})
    put(system, "runc")
    install.install_packages(Console(quiet=True))
