"""The node's processes, mounts and cgroups on this machine."""

import os
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from typing_extensions import override

from lab.cluster import layout, node


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a fake hierarchy of cgroup v2 with process 7 in the lab's cgroup."""
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(node, "CGROUPS", tmp_path)
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / layout.NAME / "kubepods").mkdir(parents=True)
    (tmp_path / layout.NAME / "kubepods" / "cgroup.procs").write_text("7\n")
    return tmp_path / layout.NAME


class Listing(AbstractContextManager[None]):
    """Fake result of `os.scandir` whose entries may have been deleted."""

    def __init__(self, entries: Iterable["os.DirEntry[str]"]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> "Listing":
        return self

    def __next__(self) -> "os.DirEntry[str]":
        return next(self._entries)

    @override
    def __exit__(self, *_: object) -> None:
        pass


def test_a_pod_that_vanishes_after_its_cgroup_was_listed_does_not_end_the_search(
    cgroups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, scandir = cgroups / "a-pod", os.scandir
    (pod / "container").mkdir(parents=True)

    def list_and_remove(folder: str) -> Listing:
        monkeypatch.setattr(os, "scandir", scandir)
        with scandir(folder) as entries:
            found = list(entries)
        shutil.rmtree(pod)
        return Listing(found)

    monkeypatch.setattr(os, "scandir", list_and_remove)
    assert node.inhabitants() == {7}
    assert not pod.exists()


def test_a_cgroup_that_vanishes_before_its_processes_are_read_does_not_end_the_search(cgroups: Path) -> None:
    (cgroups / "a-pod").mkdir()  # without a file cgroup.procs, as one that is gone
    assert node.inhabitants() == {7}
