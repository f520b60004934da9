"""Spans that an OpenTelemetry collector receives, and the cost when the collector does not respond."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from model_server import app
from model_server.predict.model import Model
from model_server.predict.scoring import Request, score
from model_server.responses import Response, internal_error
from model_server.telemetry import tracing
from tests.registry import MODEL

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
WHOLE, STAGES = "POST /invocations", ["queue", "parse", "predict", "serialise"]
JSON = {"content-type": "application/json", "x-request-id": "asked-1"}
OF = {"model": MODEL, "version": "1", "role": "champion"}


@dataclass
class Collector:
    """Receives OTLP over HTTP. `resources` are the resources of the spans, `bodies` the received bodies."""

    url: str
    spans: list[Span] = field(default_factory=list[Span])
    resources: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    bodies: list[bytes] = field(default_factory=list[bytes])

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(attributes(resource.resource))
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def one(self) -> tuple[Span, list[Span]]:
        """Return the span of the only request, and the spans inside it in order of time."""
        (whole,) = [span for span in self.spans if span.name == WHOLE]
        inside = [span for span in self.spans if span is not whole]
        return whole, sorted(inside, key=lambda span: STAGES.index(span.name))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    collector: Collector


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            cast("_Server", self.server).collector.take(body)
        self.send_response(200)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del code, size  # silent


def attributes(labels: Any) -> dict[str, object]:
    """Return the attributes of a span or a resource."""
    return {entry.key: getattr(entry.value, entry.value.WhichOneof("value")) for entry in labels.attributes}


@pytest.fixture(autouse=True)
def library_logs() -> Iterator[None]:
    """Restore the library's logger after each test."""
    yield
    tracing.OTEL_LOG.handlers, tracing.OTEL_LOG.propagate = [], True


@pytest.fixture(autouse=True)
def exporters_end() -> Iterator[None]:
    """Wait for exporters that retry after their test: they use the random numbers that Hypothesis watches."""
    yield
    for thread in threading.enumerate():
        if thread.name == "tracing-close":
            thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.collector
        server.shutdown()
        thread.join()


@pytest.fixture
def hanging() -> Iterator[str]:
    """Return the URL of a collector that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@dataclass
class Endpoint:
    """A server that starts, answers requests, and stops."""

    patch: pytest.MonkeyPatch
    example: bytes

    def asked(self, *headers: dict[str, str], body: bytes | None = None, **environment: object) -> list[int]:
        """Return the statuses of requests with these headers."""
        for name, value in environment.items():
            self.patch.setenv(name, str(value))
        return asyncio.run(self._conversation(headers, self.example if body is None else body))

    async def _conversation(self, headers: Sequence[dict[str, str]], body: bytes) -> list[int]:
        server = app.create()
        server.start()
        transport = httpx.ASGITransport(cast("Any", server))
        async with httpx.AsyncClient(transport=transport, base_url="http://model") as client:
            said = [await client.post("/invocations", content=body, headers=JSON | each) for each in headers]
        server.stop()
        return [response.status_code for response in said]


@pytest.fixture
def endpoint(loaded: Model, models: Path, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    def load(*_: object, **__: object) -> Model:
        return loaded

    monkeypatch.setattr(app, "load", load)
    for name, value in {"MODEL": MODEL, "MODEL_VERSION": "1", "MODEL_DIR": str(models), "THREADS": "2"}.items():
        monkeypatch.setenv(name, value)
    return Endpoint(monkeypatch, (models / MODEL / "1" / "serving_input_example.json").read_bytes())


def test_a_call_with_a_traceparent_is_a_span_of_that_trace_and_its_stages_fill_it(
    endpoint: Endpoint, collector: Collector
) -> None:
    start = perf_counter()
    asked = endpoint.asked({"traceparent": SAMPLED}, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    took = perf_counter() - start
    assert asked == [200]
    whole, stages = collector.one()
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE, PARENT)
    assert whole.kind == Span.SPAN_KIND_SERVER
    assert attributes(whole) == OF | {
        "request_id": "asked-1",
        "rows": len(json.loads(endpoint.example)["dataframe_split"]["data"]),
        "http.request.method": "POST",
        "http.route": "/invocations",
        "http.response.status_code": 200,
    }
    assert [span.name for span in stages] == STAGES
    assert {(span.trace_id, span.parent_span_id) for span in stages} == {(whole.trace_id, whole.span_id)}
    marks = [whole.start_time_unix_nano, *(span.end_time_unix_nano for span in stages)]
    assert [span.start_time_unix_nano for span in stages] == marks[:-1]
    assert marks[-1] == whole.end_time_unix_nano
    assert marks == sorted(marks)
    assert 0 < (marks[-1] - marks[0]) / 1e9 < took
    assert collector.resources[0]["service.name"] == MODEL
    assert collector.resources[0]["service.version"] == "1"


@pytest.mark.parametrize("given", [{}, {"traceparent": "nonsense"}, {"traceparent": f"00-{'0' * 32}-{PARENT}-01"}])
def test_a_call_without_a_traceparent_begins_a_trace(
    endpoint: Endpoint, collector: Collector, given: dict[str, str]
) -> None:
    endpoint.asked(given, OTEL_EXPORTER_OTLP_ENDPOINT=f"{collector.url}/")
    whole, stages = collector.one()
    assert whole.parent_span_id == b""
    assert whole.trace_id != bytes(16)
    assert len(stages) == 4


def test_what_the_caller_does_not_sample_is_not_sent(endpoint: Endpoint, collector: Collector) -> None:
    assert endpoint.asked({"traceparent": UNSAMPLED}, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) == [200]
    assert not collector.spans


def test_the_share_is_of_the_calls_whose_caller_did_not_decide(endpoint: Endpoint, collector: Collector) -> None:
    given = [{}, {}, {"traceparent": SAMPLED}]
    endpoint.asked(*given, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_TRACES_SAMPLER_ARG=0)
    whole, _ = collector.one()
    assert whole.trace_id.hex() == TRACE


def test_a_refused_body_has_its_status_and_none_of_its_words(endpoint: Endpoint, collector: Collector) -> None:
    body = b'{"dataframe_split": {"columns": ["card"], "data": [["4111-1111"]]}}'
    assert endpoint.asked({}, body=body, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) == [400]
    whole, _ = collector.one()
    assert attributes(whole)["http.response.status_code"] == 400
    assert whole.status.code == Status.STATUS_CODE_UNSET, "the caller's fault is none of the server's"
    assert b"4111" not in b"".join(collector.bodies)


def test_a_call_that_the_server_failed_on_is_marked_and_its_stages_are_in_order(collector: Collector) -> None:
    traces = tracing.Tracing(collector.url, sample=1, labels=OF)
    response = internal_error(ValueError())
    times = dict.fromkeys(("arrived", "parsed", "predicted", "finished"), perf_counter())
    traces.watch(Request(content_type=None, body=b"", request_id="x", response=response, **times))
    traces.close()
    whole, stages = collector.one()
    assert whole.status.code == Status.STATUS_CODE_ERROR
    assert len(stages) == 4
    assert {span.end_time_unix_nano - span.start_time_unix_nano for span in (whole, *stages)} == {0}


@pytest.mark.parametrize(("limit", "refusal"), [({"MAX_REQUEST_BYTES": 10}, 413), ({"DEADLINE_SECONDS": 0.05}, 504)])
def test_a_request_that_is_refused_is_one_span_with_its_status_and_its_time(
    endpoint: Endpoint,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    limit: dict[str, float],
    refusal: int,
) -> None:
    refused = threading.Event()

    def slowly(*arguments: Any) -> Iterator[Sequence[Request]]:
        refused.wait(10)
        yield from score(*arguments)

    monkeypatch.setattr(app, "score", slowly)
    traced = {"traceparent": SAMPLED}
    for name, value in limit.items():
        monkeypatch.setenv(name, str(value))
    assert endpoint.asked(traced, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) == [refusal]
    refused.set()
    (whole,) = collector.spans
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(whole)["http.response.status_code"] == refusal
    assert (whole.end_time_unix_nano - whole.start_time_unix_nano) / 1e9 >= limit.get("DEADLINE_SECONDS", 0)
    assert (whole.status.code == Status.STATUS_CODE_ERROR) == (refusal >= 500)


def test_without_a_collector_every_call_is_answered_and_the_log_has_one_line(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    monkeypatch.setattr(tracing, "SEND_SECONDS", 0.1)
    plain: list[dict[str, str]] = [{}] * 20
    with caplog.at_level(logging.WARNING):
        asked = endpoint.asked(*plain, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
    assert asked == [200] * 20
    (line,) = caplog.messages
    assert line.startswith("tracing: ")


def test_a_collector_that_hangs_holds_up_no_call_and_the_stop_for_no_longer_than_was_promised(
    hanging: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "CLOSING_SECONDS", 0.1)
    monkeypatch.setattr(tracing, "QUEUE_SPANS", 600)
    traces = tracing.Tracing(hanging, sample=1, labels=OF)
    start = perf_counter()
    for _ in range(500):
        response = Response(status=200, body=b"")
        times = dict.fromkeys(("predicted", "finished"), perf_counter())
        traces.watch(Request(content_type=None, body=b"", request_id="x", response=response, **times))
    watched = perf_counter()
    traces.close()
    closed = perf_counter()
    assert watched - start < 5, "2,500 spans, of which most do not fit"
    assert closed - watched < tracing.SEND_SECONDS / 2
    assert len(caplog.messages) == 2, "the queue was full, and the last were not sent"
