import asyncio
import json
import shutil
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar, cast

import httpx
import pytest
from mlflow.pyfunc import PyFuncModel
from prometheus_client.parser import text_string_to_metric_families

from serving import app
from serving.failure import ServingError
from serving.protocol import Answer
from serving.settings import ServerSettings
from tests.registry import MODEL

LIMIT = 100_000
JSON = {"content-type": "application/json"}


class _Forest(Protocol):
    def get_params(self) -> dict[str, object]: ...


@pytest.fixture
def server(loaded: PyFuncModel, models: Path, monkeypatch: pytest.MonkeyPatch) -> app.Server:
    environment = {"MODEL": MODEL, "MODEL_VERSION": 1, "MODEL_DIR": models, "THREADS": 2, "MAX_REQUEST_BYTES": LIMIT}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    return app.Server(loaded, ServerSettings.load())


@pytest.fixture
def example(models: Path) -> bytes:
    return (models / MODEL / "1" / "serving_input_example.json").read_bytes()


Result = TypeVar("Result")


def talk(server: app.Server, conversation: Callable[[httpx.AsyncClient], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        transport = httpx.ASGITransport(server.application())
        async with httpx.AsyncClient(transport=transport, base_url="http://model") as client:
            return await conversation(client)

    return asyncio.run(run())


def metric(server: app.Server, name: str, **labels: str) -> float:
    wanted = {"model": MODEL, "version": "1", **labels}
    for family in text_string_to_metric_families(server.metrics.text().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == wanted:
                return sample.value
    return 0


def test_a_prediction_is_answered_and_counted(server: app.Server, example: bytes) -> None:
    said = talk(server, lambda client: client.post("/invocations", content=example, headers=JSON))
    assert said.status_code == 200
    assert set(said.json()["predictions"]) <= {"No", "Yes"}
    assert metric(server, "serving_requests_total", code="200") == 1
    assert metric(server, "serving_request_seconds_count") == 1
    assert metric(server, "serving_requests_in_flight") == 0


def test_a_refusal_is_counted_under_its_code(server: app.Server) -> None:
    talk(server, lambda client: client.post("/invocations", content=b"{", headers=JSON))
    assert metric(server, "serving_requests_total", code="400") == 1
    assert metric(server, "serving_requests_total", code="200") == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ping", 200),
        ("GET", "/health", 200),
        ("GET", "/version", 200),
        ("GET", "/metrics", 200),
        ("POST", "/invocations", 415),
        ("GET", "/invocations", 405),
        ("GET", "/nowhere", 404),
    ],
)
def test_every_answer_names_the_version_that_made_it(server: app.Server, method: str, path: str, status: int) -> None:
    said = talk(server, lambda client: client.request(method, path))
    assert (said.status_code, said.headers["x-model-version"]) == (status, "1")
    assert "connection" not in said.headers


def test_a_draining_server_works_on_and_asks_for_new_connections(server: app.Server, example: bytes) -> None:
    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        server.drain()
        return [
            await client.get("/ping"),
            await client.post("/invocations", content=example, headers=JSON),
            await client.get("/nowhere"),
        ]

    answers = talk(server, conversation)
    assert [said.status_code for said in answers] == [200, 200, 404]
    assert {said.headers["connection"] for said in answers} == {"close"}


@pytest.mark.parametrize("size", [LIMIT + 1, 3 * LIMIT, 20 * LIMIT])
def test_a_body_over_the_limit_is_refused_however_it_comes(server: app.Server, size: int) -> None:
    async def in_pieces() -> AsyncGenerator[bytes]:
        for start in range(0, size, 10_000):
            yield b" " * min(10_000, size - start)

    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await client.post("/invocations", content=b" " * size, headers=JSON),
            await client.post("/invocations", content=in_pieces(), headers=JSON),
        ]

    for said in talk(server, conversation):
        assert (said.status_code, said.json()["error_code"]) == (413, "REQUEST_TOO_LARGE")
        assert str(LIMIT) in said.json()["message"]
        assert said.headers["connection"] == "close"


def test_a_body_at_the_limit_is_read(server: app.Server, example: bytes) -> None:
    said = talk(server, lambda client: client.post("/invocations", content=example.ljust(LIMIT), headers=JSON))
    assert said.status_code == 200


def test_a_slow_prediction_holds_up_neither_the_loop_nor_more_than_its_thread(
    server: app.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five requests two are predicted at a time, and `/ping` and `/metrics` answer meanwhile."""
    go_on, two_busy = threading.Event(), threading.Event()
    busy = threading.Semaphore(2)
    overfull: list[bool] = []

    def slow(*_: object) -> Answer:
        free = busy.acquire(blocking=False)
        overfull.append(not free)
        if len(overfull) == 2:
            two_busy.set()
        go_on.wait(10)
        busy.release()
        return Answer(status=200, body="{}")

    async def conversation(client: httpx.AsyncClient) -> tuple[httpx.Response, float]:
        waiting = [asyncio.create_task(client.post("/invocations", headers=JSON)) for _ in range(5)]
        await asyncio.to_thread(two_busy.wait, 10)
        ping, in_flight = await client.get("/ping"), metric(server, "serving_requests_in_flight")
        go_on.set()
        await asyncio.gather(*waiting)
        return ping, in_flight

    monkeypatch.setattr(app, "answer", slow)
    ping, in_flight = talk(server, conversation)
    assert ping.status_code == 200
    assert in_flight == 5
    assert overfull == [False] * 5


def test_a_model_without_its_files_cannot_start(
    server: app.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    del server
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    with pytest.raises(ServingError, match=r"holds no model; run `python -m serving\.fetch` first"):
        app.create()


def test_a_model_that_fails_on_its_own_example_cannot_start(
    server: app.Server, models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    del server
    broken = tmp_path / MODEL / "1"
    shutil.copytree(models / MODEL / "1", broken)
    (broken / "serving_input_example.json").write_text(json.dumps({"inputs": {"age": [1]}}))
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    with pytest.raises(ServingError, match="version 1 fails on its own input example") as told:
        app.create()
    assert told.value.final


def test_a_model_predicts_in_one_thread(loaded: PyFuncModel) -> None:
    assert cast("_Forest", loaded.get_raw_model()).get_params()["forest__n_jobs"] == 1
