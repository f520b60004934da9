import asyncio
import gzip
import json
import shutil
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from model_server import app
from model_server.failure import ServingError
from model_server.predict.model import Model
from model_server.predict.scoring import Request
from model_server.responses import Response
from model_server.settings import ServerSettings
from tests.model_server.conversation import talk
from tests.registry import MODEL

LIMIT = 100_000
JSON = {"content-type": "application/json"}


@pytest.fixture
def server(loaded: Model, models: Path, monkeypatch: pytest.MonkeyPatch) -> app.Server:
    environment = {"MODEL": MODEL, "MODEL_VERSION": 1, "MODEL_DIR": models, "THREADS": 2, "MAX_REQUEST_BYTES": LIMIT}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    return app.Server(loaded, ServerSettings.load())


@pytest.fixture
def example(models: Path) -> bytes:
    return (models / MODEL / "1" / "serving_input_example.json").read_bytes()


def metric(server: app.Server, name: str, **labels: str) -> float:
    wanted = {"model": MODEL, "version": "1", "role": "champion", **labels}
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
        ("GET", "/openapi.json", 200),
        ("POST", "/invocations", 415),
        ("GET", "/invocations", 405),
        ("GET", "/", 200),
        ("GET", "/docs", 200),
        ("POST", "/invocations/", 415),
        ("GET", "/nowhere", 404),
    ],
)
def test_every_answer_names_the_version_that_made_it(server: app.Server, method: str, path: str, status: int) -> None:
    said = talk(server, lambda client: client.request(method, path))
    assert (said.status_code, said.headers["x-model-version"]) == (status, "1")
    assert "connection" not in said.headers


def test_the_first_page_names_the_model_its_version_and_where_to_ask(server: app.Server) -> None:
    said = talk(server, lambda client: client.get("/")).json()
    assert (said["model"], said["version"]) == (MODEL, 1)
    assert said["paths"].keys() >= {"/invocations", "/schema", "/version"}


def test_a_slash_at_the_end_of_the_path_makes_no_difference(server: app.Server, example: bytes) -> None:
    assert talk(server, lambda client: client.post("/invocations/", content=example, headers=JSON)).status_code == 200


def test_a_server_with_a_path_prefix_answers_with_it_and_without_it_and_its_pages_link_to_it(
    loaded: Model, server: app.Server, example: bytes
) -> None:
    settings = server.settings.model_copy(update={"path_prefix": "/models/churn"})
    prefixed = app.Server(loaded, settings)

    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        outside = {**JSON, "x-forwarded-for": "203.0.113.7"}
        return [
            await client.post("/models/churn/invocations", content=example, headers=outside),
            await client.post("/invocations", content=example, headers=JSON),
            *[
                await client.get(f"/models/churn{page}", headers=outside)
                for page in ("/docs", "/", "", "/openapi.json")
            ],
            *[await client.get(page, headers=outside) for page in ("/models/churn/metrics", "/models/churner/ping")],
        ]

    answers = talk(prefixed, conversation)
    assert [said.status_code for said in answers] == [200, 200, 200, 200, 200, 200, 404, 404]
    docs, document = answers[2].json(), answers[5].json()
    assert "/models/churn/invocations" in docs["paths"]
    assert document["servers"] == [{"url": "/models/churn"}]
    assert "/invocations" in document["paths"]


def test_a_compressed_body_is_unsupported(server: app.Server, example: bytes) -> None:
    packed = {**JSON, "content-encoding": "gzip"}
    said = talk(server, lambda client: client.post("/invocations", content=gzip.compress(example), headers=packed))
    assert (said.status_code, said.headers["accept-encoding"]) == (415, "identity")
    assert "'gzip'" in said.json()["message"]


@pytest.mark.parametrize(("other", "status"), [("text/csv", 400), ("application/json", 200)])
def test_two_content_types_are_refused_unless_they_are_the_same(
    server: app.Server, example: bytes, other: str, status: int
) -> None:
    kinds = [("content-type", "application/json"), ("content-type", other)]
    said = talk(server, lambda client: client.post("/invocations", content=example, headers=kinds))
    assert said.status_code == status
    assert "content-type" not in said.text.lower() or "'text/csv'" in said.text


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


def test_a_body_at_the_limit_is_read(server: app.Server, example: bytes) -> None:
    said = talk(server, lambda client: client.post("/invocations", content=example.ljust(LIMIT), headers=JSON))
    assert said.status_code == 200


def test_metrics_are_for_the_cluster_and_not_for_clients_of_a_load_balancer(server: app.Server) -> None:
    async def conversation(client: httpx.AsyncClient) -> list[int]:
        forwarded = {"x-forwarded-for": "203.0.113.7"}
        answers = [await client.get(path, headers=forwarded) for path in ("/metrics", "/ping")]
        return [said.status_code for said in answers]

    assert talk(server, conversation) == [404, 200]


def test_predicted_classes_that_the_model_names_are_counted_each(server: app.Server, example: bytes) -> None:
    said = talk(server, lambda client: client.post("/invocations", content=example, headers=JSON))
    predictions = said.json()["predictions"]
    for value in ("No", "Yes"):
        assert metric(server, "serving_predictions_total", value=value) == predictions.count(value)


class Slow:
    """A model that answers when the test lets it. `asked` counts the requests that it is processing."""

    def __init__(self) -> None:
        self.go_on, self.asked = threading.Event(), threading.Semaphore(0)
        self.together: list[int] = []

    def score(self, _: Model, leave: object, requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
        del leave
        self.together.append(len(requests))
        self.asked.release()
        self.go_on.wait(10)
        for request in requests:
            request.response = Response(status=200, body=request.body)
        yield requests


@pytest.fixture
def slow(server: app.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """Replace the server's model by a slow one; two requests keep both threads busy."""
    model = Slow()
    monkeypatch.setattr(app, "score", model.score)
    del server
    yield model
    model.go_on.set()


def settings(server: app.Server, **changes: object) -> None:
    server.settings = server.settings.model_copy(update=changes)


async def busy(client: httpx.AsyncClient, slow: Slow, more: int) -> list[asyncio.Task[httpx.Response]]:
    """Wait until both threads process a request and `more` requests are queued."""
    asked: list[asyncio.Task[httpx.Response]] = []
    for number in range(2 + more):
        asked.append(asyncio.create_task(client.post("/invocations", content=str(number), headers=JSON)))
        if number < 2:
            await asyncio.to_thread(slow.asked.acquire, timeout=10)
    await asyncio.sleep(0)
    return asked


def test_a_slow_prediction_holds_up_neither_the_loop_nor_more_than_its_thread(server: app.Server, slow: Slow) -> None:
    """Two of five requests are predicted at once, three wait, and other pages respond meanwhile."""

    async def conversation(client: httpx.AsyncClient) -> tuple[httpx.Response, float, list[httpx.Response]]:
        waiting = await busy(client, slow, 3)
        ping, in_flight = await client.get("/ping"), metric(server, "serving_requests_in_flight")
        slow.go_on.set()
        return ping, in_flight, list(await asyncio.gather(*waiting))

    ping, in_flight, answers = talk(server, conversation)
    assert ping.status_code == 200
    assert in_flight == 5
    assert [said.text for said in answers] == ["0", "1", "2", "3", "4"]


def test_what_waits_is_predicted_together(server: app.Server, slow: Slow) -> None:
    async def conversation(client: httpx.AsyncClient) -> None:
        waiting = await busy(client, slow, 7)
        slow.go_on.set()
        await asyncio.gather(*waiting)

    settings(server, max_batch=4)
    talk(server, conversation)
    assert sorted(slow.together) == [1, 1, 3, 4]
    assert metric(server, "serving_batch_requests_sum") == 9


def test_a_request_that_finds_the_queue_full_is_asked_to_retry_later(server: app.Server, slow: Slow) -> None:
    async def conversation(client: httpx.AsyncClient) -> httpx.Response:
        waiting = await busy(client, slow, 2)
        refused = await client.post("/invocations", content=b"{}", headers=JSON)
        slow.go_on.set()
        await asyncio.gather(*waiting)
        return refused

    settings(server, max_queue=2)
    said = talk(server, conversation)
    assert (said.status_code, said.json()["error_code"]) == (429, "RESOURCE_EXHAUSTED")
    assert said.headers["retry-after"] == "1"
    assert metric(server, "serving_requests_total", code="429") == 1


def test_a_body_that_finds_no_room_beside_those_that_wait_is_refused(server: app.Server, slow: Slow) -> None:
    async def conversation(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        waiting = await busy(client, slow, 2)
        refused = await client.post("/invocations", content=b" " * 10, headers=JSON)
        slow.go_on.set()
        await asyncio.gather(*waiting)
        return refused, await client.post("/invocations", content=b" " * 10, headers=JSON)

    server.budget.limit = 10
    refused, later = talk(server, conversation)
    assert (refused.status_code, refused.json()["error_code"]) == (429, "RESOURCE_EXHAUSTED")
    assert refused.headers["retry-after"] == "1"
    assert later.status_code == 200


def asks(client: httpx.AsyncClient, count: int) -> list[asyncio.Task[httpx.Response]]:
    return [asyncio.create_task(client.post("/invocations", content=b"{}", headers=JSON)) for _ in range(count)]


class Paced:
    """A model that takes `seconds` for a request, by a simulated clock of each thread, and waits at a gate."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds, self.gate, self.asked = 1.0, threading.Event(), threading.Semaphore(0)
        self.clocks = dict[int, float]()
        self.gate.set()
        monkeypatch.setattr("model_server.predict.workers.perf_counter", self.now)
        monkeypatch.setattr(app, "score", self.score)

    def now(self) -> float:
        return self.clocks.get(threading.get_ident(), 0)

    async def takes_two(self, client: httpx.AsyncClient) -> list[asyncio.Task[httpx.Response]]:
        """Send two requests, and wait until each thread waits at the gate with one."""
        self.gate.clear()
        self.asked = threading.Semaphore(0)
        taken = asks(client, 2)
        for _ in taken:
            await asyncio.to_thread(self.asked.acquire, timeout=10)
        return taken

    def score(self, _: Model, leave: object, requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
        del leave
        self.asked.release()
        self.gate.wait(10)
        self.clocks[threading.get_ident()] = self.now() + self.seconds
        for request in requests:
            request.response = Response(status=200, body=request.body)
        yield requests


def test_a_queue_is_as_long_as_half_the_deadline_at_the_models_pace_and_refuses_the_rest_at_once(
    server: app.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Paced(monkeypatch)

    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        for _ in range(60):  # the pace becomes that of the model
            await asyncio.gather(*asks(client, 1))
        taken = await model.takes_two(client)
        more = asks(client, 30)
        await more[-1]
        model.gate.set()
        return await asyncio.gather(*taken, *more)

    settings(server, deadline_seconds=9.5, max_batch=1)
    said = talk(server, conversation)
    # Two threads take two requests a second: the tenth that waits is taken after 4.5 s, another one would be after 5.
    assert [response.status_code for response in said] == [200] * (2 + 10) + [429] * 20
    assert said[-1].headers["retry-after"] == "5"


def test_a_first_request_that_imports_at_length_gets_no_other_refused(
    server: app.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Paced(monkeypatch)

    async def conversation(client: httpx.AsyncClient) -> set[int]:
        model.seconds = 1000
        first = await model.takes_two(client)
        model.gate.set()
        await asyncio.gather(*first)
        model.seconds = 0.001
        return {response.status_code for response in await asyncio.gather(*asks(client, 50))}

    settings(server, deadline_seconds=9.5, max_batch=1)
    assert talk(server, conversation) == {200}


def test_refusals_of_a_second_are_one_line_of_the_log(
    server: app.Server, slow: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    async def conversation(client: httpx.AsyncClient) -> None:
        waiting = await busy(client, slow, 1)
        for _ in range(5):
            await client.post("/invocations", content=b"{}", headers=JSON)
        slow.go_on.set()
        await asyncio.gather(*waiting)

    settings(server, max_queue=1)
    talk(server, conversation)
    told = [vars(line)["about"] for line in caplog.records if line.message == "requests refused"]
    assert told == [{"status": 429, "count": 5}]


def test_a_request_is_given_up_at_its_deadline_and_predicted_no_more(server: app.Server, slow: Slow) -> None:
    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        waiting = await busy(client, slow, 1)
        said = list(await asyncio.gather(*waiting))
        slow.go_on.set()
        return said

    settings(server, deadline_seconds=0.05)
    answers = talk(server, conversation)
    assert {said.status_code for said in answers} == {504}
    assert {said.json()["error_code"] for said in answers} == {"DEADLINE_EXCEEDED"}
    assert metric(server, "serving_requests_total", code="504") == 3
    assert metric(server, "serving_requests_total", code="200") == 0


def test_a_server_whose_threads_all_hang_says_that_it_is_ill(server: app.Server, slow: Slow) -> None:
    async def conversation(client: httpx.AsyncClient) -> list[int]:
        waiting = await busy(client, slow, 0)
        await asyncio.gather(*waiting)
        statuses = [(await client.get("/health")).status_code]
        while statuses[-1] == 200:
            await asyncio.sleep(0.01)
            statuses.append((await client.get("/health")).status_code)
        slow.go_on.set()
        return statuses

    settings(server, deadline_seconds=0.05)
    assert talk(server, conversation)[-1] == 503


def test_a_body_that_does_not_come_is_given_up(server: app.Server) -> None:
    async def receive_forever(server: app.Server) -> list[Any]:
        sent: list[Any] = []
        parts = iter([{"type": "http.request", "body": b"{", "more_body": True}])

        async def receive() -> Any:
            return next(parts, None) or await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/invocations", "headers": []}
        await server(scope, receive, send)
        return sent

    settings(server, deadline_seconds=0.01)
    start, body = asyncio.run(receive_forever(server))
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert json.loads(body["body"])["error_code"] == "REQUEST_TIMEOUT"


def test_the_schema_of_a_request_names_the_columns(server: app.Server) -> None:
    said = talk(server, lambda client: client.get("/schema"))
    record = said.json()["properties"]["dataframe_records"]["items"]
    assert said.headers["content-type"] == "application/schema+json"
    assert record["properties"]["tenure"] == {"type": "integer"}
    assert "contract" in record["required"]


def test_a_request_keeps_the_name_that_its_client_gave_it(server: app.Server) -> None:
    async def conversation(client: httpx.AsyncClient) -> list[str]:
        given = ["abc-123", "with space", "x" * 200, ""]
        return [(await client.get("/ping", headers={"x-request-id": name})).headers["x-request-id"] for name in given]

    kept, *made = talk(server, conversation)
    assert kept == "abc-123"
    assert len(set(made)) == 3
    assert not {"with space", "x" * 200, ""} & set(made)


def test_missing_values_are_counted_by_feature(server: app.Server, example: bytes) -> None:
    body = json.loads(example)
    body["dataframe_split"]["data"][0][body["dataframe_split"]["columns"].index("total_charges")] = None
    talk(server, lambda client: client.post("/invocations", json=body))
    assert metric(server, "serving_input_missing_total", feature="total_charges") == 1
    assert metric(server, "serving_request_rows_sum") == 3


def test_time_is_split_by_what_it_went_into(server: app.Server, example: bytes) -> None:
    talk(server, lambda client: client.post("/invocations", content=example, headers=JSON))
    stages = ("queue", "parse", "predict", "serialise")
    times = [metric(server, "serving_stage_seconds_sum", stage=stage) for stage in stages]
    assert min(times) > 0
    assert sum(times) == pytest.approx(metric(server, "serving_request_seconds_sum"))


def test_a_model_without_its_files_cannot_start(
    server: app.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    del server
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    with pytest.raises(ServingError, match=r"there is no model in .*; run `python -m model_server\.fetch` first"):
        app.create()


def test_a_model_that_fails_on_its_own_example_cannot_start_unless_it_is_meant_to(
    server: app.Server,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    del server
    broken = tmp_path / MODEL / "1"
    shutil.copytree(models / MODEL / "1", broken)
    (broken / "serving_input_example.json").write_text(json.dumps({"inputs": {"age": [1]}}))
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    with pytest.raises(ServingError, match="version 1 fails on its own input example") as told:
        app.create()
    assert told.value.final
    monkeypatch.setenv("EXAMPLE", "warn")
    caplog.set_level("WARNING", "serving")
    assert app.create()
    assert "version 1 fails on its own input example" in caplog.text
