"""Port-forward to one pod, and to another pod when that one ends."""

from pathlib import Path

from tests.client.conftest import BROKEN, Endpoint
from tests.command import Command


def test_without_an_address_the_endpoint_is_reached_in_the_cluster(
    world: Path, risk: Endpoint, mlops: Command, rows: Path
) -> None:
    (world / "address").write_text(f"127.0.0.1:{risk.port}")
    code, said = mlops("predict", "risk", rows, "--out", world / "out.csv", "--context", "prod")
    assert code == 0, said
    asked = "--context prod --namespace ml-serving port-forward service/risk :80 --address 127.0.0.1"
    assert (world / "asked").read_text().splitlines() == [asked]


def test_a_tunnel_that_breaks_is_opened_again(world: Path, risk: Endpoint, mlops: Command, rows: Path) -> None:
    (world / "address").write_text(f"127.0.0.1:{risk.port}")
    risk.faults.append(BROKEN)
    code, said = mlops("predict", "risk", rows, "--out", world / "out.csv", "--rows", 50)
    assert code == 0, said
    assert len((world / "asked").read_text().splitlines()) == 2


def test_an_endpoint_that_the_cluster_does_not_have_is_one_line(world: Path, mlops: Command, rows: Path) -> None:
    code, said = mlops("predict", "risk", rows, "--out", world / "out.csv")
    assert (code, said.count("\n")) == (1, 1)
    assert 'Service risk cannot be reached through kubectl: error: services "risk" not found' in said


def test_an_endpoint_without_a_name_is_refused(world: Path, mlops: Command, rows: Path) -> None:
    code, said = mlops("predict", "", rows, "--out", world / "out.csv")
    assert (code, said) == (2, "mlops: an argument is empty; write a value, or leave it out for the default\n")
