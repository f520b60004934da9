"""Forwarded ports: they are stable, taken from no other program, and pass bytes in both directions."""

import asyncio
import json
import random
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import forward
from lab.errors import LabError


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open connections in the network namespace of the test."""
    monkeypatch.setattr(forward, "_enter_node", lambda: None)


@pytest.fixture(autouse=True)
def quiet_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use ports that no program uses and the system does not assign itself."""
    blocks = (random.randrange(20_000, 32_000) for _ in range(100))
    first = next(block for block in blocks if not any(map(forward.is_taken, range(block, block + 61))))
    monkeypatch.setattr(forward, "TRACKING_PORT", first)
    monkeypatch.setattr(forward, "STORE_PORT", first + 60)
    monkeypatch.setattr(forward, "FIRST_ENDPOINT_PORT", first + 1)
    monkeypatch.setattr(forward, "LAST_ENDPOINT_PORT", first + 50)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def listening(port: int) -> Generator[None]:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        yield


def service(namespace: str, name: str, address: str = "127.0.0.1", port: int = 80) -> dict[str, Any]:
    return {
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"clusterIP": address, "ports": [{"port": port}]},
    }


MLFLOW = service("mlops-platform", "mlflow")


def test_mlflow_the_store_and_every_endpoint_get_a_port_and_nothing_else_does() -> None:
    others = [service("mlops-platform", "postgres"), service("default", "kubernetes")]
    headless = service("ml-serving", "headless", "None")
    store = service("mlops-platform", "s3")
    targets, ports = forward.plan([MLFLOW, store, service("ml-serving", "churn"), headless, *others], {})
    assert set(targets) == {"mlops-platform/mlflow", "mlops-platform/s3", "ml-serving/churn"}
    assert ports == {
        "mlops-platform/mlflow": forward.TRACKING_PORT,
        "mlops-platform/s3": forward.STORE_PORT,
        "ml-serving/churn": forward.FIRST_ENDPOINT_PORT,
    }


def test_a_service_keeps_its_port_when_others_come_and_go() -> None:
    churn, fraud = service("ml-serving", "churn"), service("ml-serving", "fraud")
    _, first = forward.plan([churn], {})
    _, second = forward.plan([fraud], first)
    _, third = forward.plan([churn, fraud], second)
    assert third["ml-serving/churn"] == first["ml-serving/churn"]
    assert third["ml-serving/fraud"] == second["ml-serving/fraud"] != first["ml-serving/churn"]


def test_an_endpoint_steps_aside_for_a_port_that_another_program_has() -> None:
    with listening(forward.FIRST_ENDPOINT_PORT):
        _, ports = forward.plan([service("ml-serving", "churn")], {})
    assert ports == {"ml-serving/churn": forward.FIRST_ENDPOINT_PORT + 1}


def test_a_taken_port_for_mlflow_names_port_holder_and_remedy() -> None:
    port = forward.TRACKING_PORT
    with listening(port), pytest.raises(LabError) as refused:
        forward.choose_tracking_port()
    assert str(refused.value).startswith(f"port {port} of 127.0.0.1 is needed for MLflow, but py")
    assert f"lab up --mlflow-port {port + 1}" in str(refused.value)


def test_another_port_for_mlflow_is_remembered() -> None:
    chosen = free_port()
    assert forward.choose_tracking_port(chosen) == chosen
    assert forward.choose_tracking_port() == chosen
    assert forward.tracking_port() == chosen


def test_the_labs_own_forwarder_is_not_taken_for_another_program(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = forward.choose_tracking_port()
    monkeypatch.setattr(forward, "running", str)
    (state / "open.json").write_text(json.dumps({"mlflow": port}))
    with listening(port):
        assert forward.choose_tracking_port() == port


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(1000):
        writer.write(chunk.upper())
        await writer.drain()
    writer.close()


async def ask(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


def test_bytes_get_through_in_both_directions_and_the_end_of_input_too() -> None:
    async def story() -> None:
        far = await asyncio.start_server(echo, "127.0.0.1", 0)
        forwarder = forward.Forwarder()
        await forwarder.follow([service("ml-serving", "churn", port=far.sockets[0].getsockname()[1])])
        [url] = forward.urls().values()
        assert await ask(int(url.rpartition(":")[2]), b"hello" * 100_000) == b"HELLO" * 100_000
        await forwarder.follow([])
        far.close()

    asyncio.run(story())


def test_a_service_that_is_gone_has_no_port_any_more_and_no_address_is_printed() -> None:
    async def story() -> None:
        forwarder = forward.Forwarder()
        await forwarder.follow([service("ml-serving", "churn")])
        [url] = forward.urls().values()
        await forwarder.follow([])
        assert not forward.is_taken(int(url.rpartition(":")[2]))
        assert forward.urls() == {}

    asyncio.run(story())


def test_a_service_that_does_not_answer_ends_the_connection_and_not_the_forwarder() -> None:
    async def story() -> None:
        forwarder = forward.Forwarder()
        await forwarder.follow([service("ml-serving", "churn", port=free_port())])
        [url] = forward.urls().values()
        port = int(url.rpartition(":")[2])
        assert await ask(port, b"hello") == b""
        assert forward.is_taken(port)
        await forwarder.follow([])

    asyncio.run(story())


def test_an_endpoint_whose_port_was_taken_meanwhile_moves_and_mlflow_waits_for_its_own() -> None:
    async def story() -> None:
        endpoint, forwarder = service("ml-serving", "churn"), forward.Forwarder()
        await forwarder.follow([MLFLOW, endpoint])
        before = forward.urls()
        await forwarder.follow([])
        with listening(forward.TRACKING_PORT), listening(forward.FIRST_ENDPOINT_PORT):
            await forwarder.follow([MLFLOW, endpoint])
            assert set(forward.urls()) == {"churn"}
            assert forward.urls()["churn"] != before["churn"]
        await forwarder.open_missing()
        assert forward.urls()["mlflow"] == before["mlflow"]
        await forwarder.follow([])

    asyncio.run(story())
