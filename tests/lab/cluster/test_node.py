"""The node's traces on this machine, looked at while they come and go."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import layout, node


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hierarchy of cgroup v2 with one process, 7, in the lab's part of it."""
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(node, "CGROUPS", tmp_path)
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / layout.NAME / "kubepods").mkdir(parents=True)
    (tmp_path / layout.NAME / "kubepods" / "cgroup.procs").write_text("7\n")
    return tmp_path / layout.NAME


@pytest.fixture
def pods_come_and_go(cgroups: Path) -> Iterator[None]:
    over = threading.Event()

    def churn() -> None:
        folders = [cgroups / f"pod{number}" for number in range(40)]
        while not over.is_set():
            for folder in folders:
                (folder / "container").mkdir(parents=True)
            for folder in folders:
                (folder / "container").rmdir()
                folder.rmdir()

    thread = threading.Thread(target=churn)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.usefixtures("pods_come_and_go")
def test_pods_that_vanish_while_they_are_looked_for_do_not_end_the_search() -> None:
    assert all(node.inhabitants() == {7} for _ in range(200))
