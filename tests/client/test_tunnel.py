"""The way through kubectl: it leads to one pod, and another is found when that one goes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.conftest import BROKEN, Endpoint

Client = Callable[..., tuple[int, str]]
KUBECTL = """#!/bin/sh
echo "$@" >> {world}/asked
[ -e {world}/address ] || {{ echo 'error: services "risk" not found'; exit 1; }}
echo "Forwarding from $(cat {world}/address) -> 8080"
exec sleep 600
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose file `address` says where kubectl leads to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "kubectl").write_text(KUBECTL.format(world=tmp_path))
    (folder / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_without_an_address_the_endpoint_is_reached_in_the_cluster(
    world: Path, risk: Endpoint, client: Client, rows: Path
) -> None:
    (world / "address").write_text(f"127.0.0.1:{risk.port}")
    code, said = client("predict", "risk", rows, world / "out.csv", "--context", "prod")
    assert code == 0, said
    asked = "--context prod --namespace ml-serving port-forward service/risk :80"
    assert (world / "asked").read_text().splitlines() == [asked]


def test_a_tunnel_that_breaks_is_dug_anew(world: Path, risk: Endpoint, client: Client, rows: Path) -> None:
    (world / "address").write_text(f"127.0.0.1:{risk.port}")
    risk.faults.append(BROKEN)
    code, said = client("predict", "risk", rows, world / "out.csv", "--rows", 50)
    assert code == 0, said
    assert len((world / "asked").read_text().splitlines()) == 2


def test_an_endpoint_that_the_cluster_does_not_have_is_one_line(world: Path, client: Client, rows: Path) -> None:
    code, said = client("predict", "risk", rows, world / "out.csv")
    assert (code, said.count("\n")) == (1, 1)
    assert 'Service risk cannot be reached through kubectl: error: services "risk" not found' in said
