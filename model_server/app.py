"""ASGI application that serves one model version."""

import asyncio
import gc
import json
import logging
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from itertools import chain, count
from math import ceil
from secrets import token_hex
from time import perf_counter
from typing import Any, Protocol, TypeAlias, cast

from prometheus_client import CONTENT_TYPE_LATEST

from model_server import responses
from model_server.body_budget import BodyBudget, Sender
from model_server.connections import BODY_BUDGET, PAGES_ONLY, SHUTTING_DOWN
from model_server.failure import ServingError
from model_server.openapi import PATHS, document
from model_server.predict.model import EXAMPLE, Model, load
from model_server.predict.schema import request_schema
from model_server.predict.scoring import Request, score, score_by_mlflow
from model_server.predict.signature import read_outputs
from model_server.predict.workers import Workers
from model_server.prediction_log.log import prediction_log
from model_server.responses import Response
from model_server.settings import ServerSettings
from model_server.telemetry.metrics import Metrics

LOG = logging.getLogger("serving")
Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]
# A worker that spends this many deadlines on one batch counts as hanging.
STUCK_DEADLINES = 2
# Share of the deadline that a request may wait. A queue as long as the deadline would make every response late.
QUEUE_SHARE = 0.5
LOG_EVERY = 1  # seconds; refusals in between are counted in one log line
NOT_FOUND = Response(status=404, body=b'{"detail":"Not Found"}')
REQUEST_ID = re.compile(rb"[!-~]{1,128}")
EXPERIMENT = b"x-mlops-experiment"
HEADERS = frozenset({
    b"content-encoding", b"content-length", b"content-type", b"expect", b"traceparent", b"x-request-id"
})  # fmt: skip
# Headers that a load balancer adds. Metrics are for the cluster, so a request with one of them does not get them.
FORWARDED = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})


class _Tracing(Protocol):
    def watch(self, request: Request) -> None: ...
    def close(self) -> None: ...


def create() -> "Server":
    """Return the application for the model named in the environment, after loading and warming up the model.

    Raises:
        ServingError: the model does not exist, or it does not work.
    """
    settings = ServerSettings.load()
    start = perf_counter()
    model = load(settings.version_dir, settings.title, pickles=settings.mlflow_allow_pickle_deserialization)
    warm(model, settings)
    server = Server(model, settings)
    if log := prediction_log(model, settings):
        server.watchers.append(log.watch)
        server.at_stop.append(log.close)
        server.metrics.prediction_log = log
    if settings.otel_exporter_otlp_endpoint:
        tracing = cast("_Tracing", import_module("model_server.telemetry.tracing").tracing(settings))
        server.watchers.append(tracing.watch)
        server.at_stop.append(tracing.close)
    # Objects created so far stay forever, so the garbage collector skips them.
    gc.freeze()
    gc.enable()
    server.metrics.load_seconds = seconds = perf_counter() - start
    LOG.info("%s loaded and warm in %.1f s", settings.title, seconds)
    return server


def warm(model: Model, settings: ServerSettings) -> None:
    """Send the model its own input example, if it has one.

    Raises:
        ServingError: the model refused the example, and the setting `example` is "require".
    """
    example = settings.version_dir / EXAMPLE
    if not example.is_file():
        return
    request = Request(content_type=responses.JSON, body=example.read_bytes(), request_id="warm")
    unscored: list[Request] = []
    for _ in chain(score(model, unscored.append, [request]), score_by_mlflow(model, unscored)):
        response = request.response
        if not response or response.status == 200:
            continue
        fault = f"{settings.title} fails on its own input example: {response.body.decode()}"
        if settings.example == "require":
            raise ServingError(
                f"{fault}; serve another version, or set example: warn if the model may refuse it", final=True
            )
        LOG.warning("%s", fault)


class Server:
    """ASGI application for one loaded model. It never predicts on the event loop.

    Each function in `watchers` is called on the event loop with every request that has a response. The functions in
    `at_stop` are called once, after the last request.
    """

    def __init__(self, model: Model, settings: ServerSettings) -> None:
        self.budget = BodyBudget(settings.body_budget)
        self.metrics = Metrics(settings.labels, model.signature, model.ranges, model.classes)
        self.metrics.queue_length = self._queued
        self.metrics.budget = self.budget
        self.watchers: list[Callable[[Request], None]] = []
        self.at_stop: list[Callable[[], None]] = []
        self.draining = False
        self._model, self.settings = model, settings
        version_and_role = (str(settings.model_version).encode(), settings.model_role.encode())
        self._named = tuple(zip((b"x-model-version", b"x-model-role"), version_and_role, strict=True))
        self._unit_header = settings.unit_header.lower().encode()
        self._headers = HEADERS | {self._unit_header, EXPERIMENT} if self._unit_header else HEADERS
        self._ids, self._prefix = count(1), token_hex(6)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workers: Workers | None = None
        self._refused: Counter[int] = Counter()
        self._fallback_workers: Workers | None = None
        schema = request_schema(model.signature, settings.title, read_outputs(model.metadata))
        self._path_prefix = settings.path_prefix
        pages = document(settings.title, str(settings.model_version), schema, settings.path_prefix)
        paths = {f"{settings.path_prefix}{path}": text for path, text in PATHS.items()}
        index = _json({"model": settings.model, "version": settings.model_version, "paths": paths})
        self._pages: dict[str, Callable[[], Response]] = {
            **dict.fromkeys(("/", "/docs"), lambda: Response(status=200, body=index)),
            "/ping": self._health,
            "/health": self._health,
            "/version": lambda: Response(status=200, body=version("mlflow-skinny").encode()),
            "/metrics": lambda: Response(status=200, body=self.metrics.text(), media_type=CONTENT_TYPE_LATEST),
            "/schema": lambda: Response(status=200, body=_json(schema), media_type="application/schema+json"),
            "/openapi.json": lambda: Response(status=200, body=_json(pages)),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        fields = [field for field in scope["headers"] if field[0] in self._headers]
        head = dict(fields)
        request_id = self._request_id(head.get(b"x-request-id"))
        method, path = scope["method"], self._own_path(scope["path"])
        state = scope.get("state", ())
        if shutting_down := SHUTTING_DOWN in state:
            self.draining = True
        if path == "/invocations" and method == "POST" and PAGES_ONLY not in state:
            self.metrics.in_flight += 1
            try:
                request = Request(
                    content_type=head[b"content-type"].decode("latin-1") if b"content-type" in head else None,
                    body=b"",
                    request_id=request_id.decode(),
                    trace=head.get(b"traceparent", b"").decode("latin-1"),
                )
                if self._unit_header:
                    request.unit, request.experiment = self._unit(fields), _experiment(head.get(EXPERIMENT, b""))
                header_error = _header_error(fields) if b"content-encoding" in head or len(head) < len(fields) else None
                if shutting_down:
                    response = self._refuse(request, responses.shutting_down(begun=False))
                elif refusal := self._refusal(int(head.get(b"content-length", b"0"))):
                    # A client that waits for "100 Continue" may or may not send the body, so the connection ends.
                    response = self._refuse(request, replace(refusal, closes=b"expect" in head))
                else:
                    response = await self._invocation(request, receive, header_error)
            finally:
                self.metrics.in_flight -= 1
        elif path in self._pages and method == "GET":
            hidden = path == "/metrics" and PAGES_ONLY not in state and _forwarded(scope)
            response = NOT_FOUND if hidden else self._pages[path]()
        else:
            response = NOT_FOUND if PAGES_ONLY in state else self._no_page(path)
        if response is not None:
            await self._send(response, request_id, send)

    def _own_path(self, path: str) -> str:
        """Return the path without a slash at its end, and without the prefix that clients outside the cluster use."""
        if self._path_prefix and f"{path}/".startswith(f"{self._path_prefix}/"):
            path = path.removeprefix(self._path_prefix)
        return path.rstrip("/") or "/"

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        scope["state"][BODY_BUDGET] = self.budget
        self.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.drain)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def start(self) -> None:
        """Start the workers, which deliver their responses to the running event loop."""
        self._loop, settings = asyncio.get_running_loop(), self.settings
        # Separate workers, so that MLflow's slower functions, and their import, delay no other request.
        self._fallback_workers = Workers(settings.threads, partial(score_by_mlflow, self._model), self._deliver)
        self._workers = Workers(
            settings.threads,
            partial(score, self._model, self._fall_back),
            self._deliver,
            most=settings.max_batch,
            patience=settings.max_wait_ms / 1000,
        )

    def stop(self) -> None:
        """Stop the workers, then call the functions in `at_stop`."""
        self._log_refusals()
        for workers in self._all_workers():
            workers.stop()
        for last in self.at_stop:
            last()

    def _all_workers(self) -> list[Workers]:
        return [workers for workers in (self._workers, self._fallback_workers) if workers]

    def _queued(self) -> int:
        return sum(workers.queued() for workers in self._all_workers())

    def drain(self) -> None:
        """Send `Connection: close` with each response from now on, so that clients reconnect to another server."""
        self.draining = True
        LOG.info("draining %s", self.settings.title)

    def _refusal(self, declared: int) -> Response | None:
        """Return the response to a body of the declared size if the server need not read it, else None."""
        if declared > self.settings.max_request_bytes:
            return responses.too_large(self.settings.max_request_bytes)
        return None if self.budget.has_room(declared) else responses.no_room()

    async def _invocation(self, request: Request, receive: Receive, header_error: Response | None) -> Response | None:
        """Read the body and return the response, or None if the client has disconnected.

        `header_error` is the response to send when the headers are not acceptable; the body is read first.
        """
        message = await receive()
        body = message.get("body", b"")
        if message["type"] == "http.disconnect":
            return None
        if message.get("more_body"):
            return await self._slow_invocation(request, body, receive, header_error)
        self.budget.take(len(body))
        try:
            return await self._predicted(request, body, header_error)
        finally:
            self.budget.release(len(body))

    async def _slow_invocation(
        self, request: Request, start: bytes, receive: Receive, header_error: Response | None
    ) -> Response | None:
        """Read the rest of a body that does not arrive at once, and return the response."""
        body: bytes | None = None
        clock = asyncio.timeout(self.settings.deadline_seconds)
        with self.budget.receiving(partial(_expire, clock)) as sender:
            with suppress(TimeoutError):
                async with clock:
                    body = await self._read_rest(sender, start, receive)
            if sender.evicted:
                return self._refuse(request, responses.evicted())
            if clock.expired():
                return self._refuse(request, responses.too_slow(self.settings.deadline_seconds))
            return await self._predicted(request, body, header_error) if body is not None else None

    async def _read_rest(self, sender: Sender, start: bytes, receive: Receive) -> bytes | None:
        """Return the whole body, cut off when it exceeds the limit, or None if the client disconnected."""
        parts, more = [start], True
        self.budget.add(sender, len(start))
        while more and sender.held <= self.settings.max_request_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
            if not more:
                self.budget.senders.discard(sender)
            self.budget.add(sender, len(parts[-1]))
        return b"".join(parts)

    async def _predicted(self, request: Request, body: bytes, header_error: Response | None) -> Response:
        if self._workers is None or self._loop is None:
            raise RuntimeError("the server was not started")
        if len(body) > self.settings.max_request_bytes:
            return self._refuse(request, responses.too_large(self.settings.max_request_bytes))
        if header_error:
            return self._refuse(request, header_error)
        request.body = body
        if full := self._full(self._workers):
            return self._refuse(request, full)
        request.future = future = self._loop.create_future()
        timer = self._loop.call_later(self.settings.deadline_seconds, self._time_out, request)
        self._workers.put(request)
        try:
            return await future
        except asyncio.CancelledError:  # the time for a graceful stop is over
            return self._refuse(request, responses.shutting_down(begun=True))
        finally:
            timer.cancel()

    def _full(self, workers: Workers) -> Response | None:
        """Return the 429 response if these workers would start a new request too late, else None."""
        waiting, seconds = self._queued(), workers.expected_wait()
        if waiting < self.settings.max_queue and seconds <= QUEUE_SHARE * self.settings.deadline_seconds:
            return None
        return responses.too_many(waiting, max(1, ceil(seconds)))

    def _fall_back(self, request: Request) -> None:
        """Queue the request for the fallback workers, or refuse it if their queue is full. Called in worker threads."""
        if not self._fallback_workers:
            raise RuntimeError("the server was not started")
        if full := self._full(self._fallback_workers):
            request.response = full
            request.predicted = request.finished = perf_counter()
            self._deliver([request])
        else:
            self._fallback_workers.put(request)

    def _time_out(self, request: Request) -> None:
        if request.future and not request.future.done():
            request.future.set_result(self._refuse(request, responses.too_late(self.settings.deadline_seconds)))
            request.body = b""  # the request stays in the queue until a worker takes it

    def _deliver(self, requests: Sequence[Request]) -> None:
        """Hand the requests to the event loop. Called in worker threads."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, requests)

    def _settle(self, requests: Sequence[Request]) -> None:
        awaited = [request for request in requests if request.future and not request.future.done()]
        for request in awaited:
            if request.future and request.response:
                request.future.set_result(request.response)
        self.metrics.answered(awaited)
        self._notify(awaited)

    def _notify(self, requests: Sequence[Request]) -> None:
        for watch in self.watchers:
            for request in requests:
                watch(request)

    def _refuse(self, request: Request, response: Response) -> Response:
        self.metrics.refused(response.status)
        if self.watchers:
            # A copy, because a worker may still change the request.
            self._notify([replace(request, response=response, predicted=0, finished=perf_counter(), future=None)])
        if not self._refused and self._loop:
            self._loop.call_later(LOG_EVERY, self._log_refusals)
        self._refused[response.status] += 1
        return response

    def _log_refusals(self) -> None:
        for status, times in self._refused.items():
            LOG.warning("requests refused", extra={"about": {"status": status, "count": times}})
        self._refused.clear()

    def _health(self) -> Response:
        """Return 503 when all workers hang, because then only a restart helps."""
        if any(workers.stuck(STUCK_DEADLINES * self.settings.deadline_seconds) for workers in self._all_workers()):
            return responses.error_response(
                503, "TEMPORARILY_UNAVAILABLE", "All prediction threads hang; restart the server."
            )
        return Response(status=200, body=b"\n")

    def _no_page(self, path: str) -> Response:
        """Return 404 or 405 with the body that MLflow's server sends."""
        if path == "/invocations" or path in self._pages:
            allowed = (b"allow", b"POST" if path == "/invocations" else b"GET")
            return Response(status=405, body=b'{"detail":"Method Not Allowed"}', headers=(allowed,))
        return NOT_FOUND

    def _request_id(self, header: bytes | None) -> bytes:
        """Return the client's request ID if it is valid in a header and a log line, else a new ID."""
        if header and REQUEST_ID.fullmatch(header):
            return header
        return f"{self._prefix}-{next(self._ids):x}".encode()

    def _unit(self, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return the caller's key. Several values are one key in any order, as for the router that hashes them."""
        return b",".join(sorted(value for name, value in fields if name == self._unit_header))

    async def _send(self, response: Response, request_id: bytes, send: Send) -> None:
        headers = [
            (b"content-type", response.media_type.encode()),
            (b"content-length", str(len(response.body)).encode()),
            *self._named,
            (b"x-request-id", request_id),
            *response.headers,
        ]
        # The rest of a body that was not read completely must not be parsed as the next request.
        if self.draining or response.closes:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})


def _experiment(header: bytes) -> str:
    """Return the name of the experiment if it is one that a router writes, else the empty text."""
    return header.decode() if REQUEST_ID.fullmatch(header) else ""


def _header_error(fields: Sequence[tuple[bytes, bytes]]) -> Response | None:
    """Return an error response if the headers do not say clearly what the body is, else None."""
    kinds, coding = list[bytes](), b""
    for name, value in fields:
        if name == b"content-type" and value not in kinds:
            kinds.append(value)
        elif name == b"content-encoding" and value.lower() != b"identity":
            coding = value
    if len(kinds) > 1:
        return responses.ambiguous(kinds)
    return responses.compressed(coding.decode("latin-1")) if coding else None


def _expire(clock: asyncio.Timeout) -> None:
    """Let the timeout expire now."""
    if not clock.expired():
        clock.reschedule(asyncio.get_running_loop().time())


def _forwarded(scope: Scope) -> bool:
    """Return whether a proxy has forwarded the request."""
    return any(name in FORWARDED for name, _ in scope["headers"])


def _json(page: Mapping[str, Any]) -> bytes:
    return json.dumps(page).encode()
