"""The ASGI application of one model version."""

import asyncio
import gc
import json
import logging
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
from model_server.failure import ServingError
from model_server.openapi import PATHS, document
from model_server.predict.model import EXAMPLE, Model, load
from model_server.predict.schema import request_schema
from model_server.predict.scoring import Call, score, score_slowly
from model_server.predict.signature import read_outputs
from model_server.predict.workers import Threads
from model_server.prediction_log.log import prediction_log
from model_server.responses import Answer
from model_server.settings import ServerSettings
from model_server.telemetry.metrics import Metrics

LOG = logging.getLogger("serving")
Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]
# A body over the limit is still read this many times the limit, so that its sender can read the 413.
READ_ON = 4
# A thread that is with one request for this many deadlines will not come back.
STUCK = 2
# Of the deadline. Who would wait longer is refused at once: a queue as long as the deadline makes every answer late.
HOPE = 0.5
LOG_EVERY = 1  # second: under overload refusals are counted, and told together
REQUEST_ID = re.compile(rb"[!-~]{1,128}")
HEADERS = frozenset({b"content-encoding", b"content-type", b"traceparent", b"x-request-id"})


class _Tracing(Protocol):
    def watch(self, call: Call) -> None: ...
    def close(self) -> None: ...


def create() -> "Server":
    """The application of the model that the environment names; it is loaded and warm when this returns.

    Raises:
        ServingError: there is no such model, or it does not work.
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
    # What is here stays for good: no collection need look at it again.
    gc.freeze()
    gc.enable()
    server.metrics.load_seconds = seconds = perf_counter() - start
    LOG.info("%s loaded and warm in %.1f s", settings.title, seconds)
    return server


def warm(model: Model, settings: ServerSettings) -> None:
    """The model has answered its own input example, if it has one.

    Raises:
        ServingError: it refused the example, and the settings require an answer.
    """
    example = settings.version_dir / EXAMPLE
    if not example.is_file():
        return
    call = Call(content_type=responses.JSON, body=example.read_bytes(), request_id="warm")
    left: list[Call] = []
    for _ in chain(score(model, left.append, [call]), score_slowly(model, left)):
        said = call.answer
        if not said or said.status == 200:
            continue
        fault = f"{settings.title} fails on its own input example: {said.body.decode()}"
        if settings.example == "require":
            raise ServingError(
                f"{fault}; serve another version, or set example: warn if the model is meant to refuse it", final=True
            )
        LOG.warning("%s", fault)


class Server:
    """Answers for one loaded model; never predicts on the event loop.

    Every function in `watchers` is called on the event loop with each call that has an answer, and those in `at_stop`
    after the last of them.
    """

    def __init__(self, model: Model, settings: ServerSettings) -> None:
        self.metrics = Metrics(settings.labels, model.signature, model.ranges)
        self.metrics.queue_length = self._waiting
        self.watchers: list[Callable[[Call], None]] = []
        self.at_stop: list[Callable[[], None]] = []
        self.draining = False
        self._model, self.settings = model, settings
        self._version = str(settings.model_version).encode()
        self._ids, self._prefix = count(1), token_hex(6)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: Threads | None = None
        self._refused: Counter[int] = Counter()
        self._slow: Threads | None = None
        schema = request_schema(model.signature, settings.title, read_outputs(model.metadata))
        pages = document(settings.title, str(settings.model_version), schema)
        index = _json({"model": settings.model, "version": settings.model_version, "paths": PATHS})
        self._pages: dict[str, Callable[[], Answer]] = {
            **dict.fromkeys(("/", "/docs"), lambda: Answer(status=200, body=index)),
            "/ping": self._health,
            "/health": self._health,
            "/version": lambda: Answer(status=200, body=version("mlflow-skinny").encode()),
            "/metrics": lambda: Answer(status=200, body=self.metrics.text(), media_type=CONTENT_TYPE_LATEST),
            "/schema": lambda: Answer(status=200, body=_json(schema), media_type="application/schema+json"),
            "/openapi.json": lambda: Answer(status=200, body=_json(pages)),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        fields = [field for field in scope["headers"] if field[0] in HEADERS]
        head = dict(fields)
        request_id = self._request_id(head.get(b"x-request-id"))
        method, path = scope["method"], scope["path"].rstrip("/") or "/"
        if leaving := "leaving" in scope.get("state", ()):
            self.draining = True
        if path == "/invocations" and method == "POST":
            self.metrics.in_flight += 1
            try:
                call = Call(
                    content_type=head[b"content-type"].decode("latin-1") if b"content-type" in head else None,
                    body=b"",
                    request_id=request_id.decode(),
                    trace=head.get(b"traceparent", b"").decode("latin-1"),
                )
                odd = _odd(fields) if b"content-encoding" in head or len(head) < len(fields) else None
                refused = responses.leaving() if leaving else None
                answer = self._refuse(call, refused) if refused else await self._invocation(call, receive, odd)
            finally:
                self.metrics.in_flight -= 1
        elif path in self._pages and method == "GET":
            answer = self._pages[path]()
        else:
            answer = self._no_page(path)
        if answer is not None:
            await self._send(answer, request_id, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.drain)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def start(self) -> None:
        """Predictions are made for the event loop that runs."""
        self._loop, settings = asyncio.get_running_loop(), self.settings
        # Apart, so that a request which MLflow's own functions answer, and their import, hold up no other.
        self._slow = Threads(settings.threads, partial(score_slowly, self._model), self._deliver)
        self._threads = Threads(
            settings.threads,
            partial(score, self._model, self._leave),
            self._deliver,
            most=settings.max_batch,
            patience=settings.max_wait_ms / 1000,
        )

    def stop(self) -> None:
        """No more predictions are made."""
        self._tell_refusals()
        for threads in self._all_threads():
            threads.stop()
        for last in self.at_stop:
            last()

    def _all_threads(self) -> list[Threads]:
        return [threads for threads in (self._threads, self._slow) if threads]

    def _waiting(self) -> int:
        return sum(threads.waiting() for threads in self._all_threads())

    def drain(self) -> None:
        """From now on each answer asks its client to connect anew, and so to find another server."""
        self.draining = True
        LOG.info("draining %s", self.settings.title)

    async def _invocation(self, call: Call, receive: Receive, odd: Answer | None) -> Answer | None:
        """The answer to the call, whose body is still to come, or None when nobody is there to read it.

        `odd` is a refusal for the sake of the headers.
        """
        limit = self.settings.max_request_bytes
        try:
            message = await receive()
            body = message.get("body", b"")
            if message["type"] == "http.disconnect":
                return None
            if message.get("more_body"):
                async with asyncio.timeout(self.settings.deadline_seconds):
                    body = await _rest(body, receive, limit)
        except TimeoutError:
            return self._refuse(call, responses.too_slow(self.settings.deadline_seconds))
        if body is None:
            return None
        if len(body) > limit:
            return self._refuse(call, responses.too_large(limit))
        if odd:
            return self._refuse(call, odd)
        call.body = body
        return await self._predicted(call)

    async def _predicted(self, call: Call) -> Answer:
        if self._threads is None or self._loop is None:
            raise RuntimeError("the server was not started")
        if full := self._full(self._threads):
            return self._refuse(call, full)
        call.waiting = waiting = self._loop.create_future()
        alarm = self._loop.call_later(self.settings.deadline_seconds, self._give_up, call)
        self._threads.put(call)
        try:
            return await waiting
        except asyncio.CancelledError:  # the time to finish is over
            return self._refuse(call, responses.leaving())
        finally:
            alarm.cancel()

    def _full(self, threads: Threads) -> Answer | None:
        """The refusal of a request that these threads would not come to in time."""
        waiting, seconds = self._waiting(), threads.wait()
        if waiting < self.settings.max_queue and seconds <= HOPE * self.settings.deadline_seconds:
            return None
        return responses.too_many(waiting, max(1, ceil(seconds)))

    def _leave(self, call: Call) -> None:
        """For the threads that ask MLflow, if they would come to it in time. Called in the others."""
        if not self._slow:
            raise RuntimeError("the server was not started")
        if full := self._full(self._slow):
            call.answer = full
            call.predicted = call.finished = perf_counter()
            self._deliver([call])
        else:
            self._slow.put(call)

    def _give_up(self, call: Call) -> None:
        if call.waiting and not call.waiting.done():
            call.waiting.set_result(self._refuse(call, responses.too_late(self.settings.deadline_seconds)))

    def _deliver(self, calls: Sequence[Call]) -> None:
        """Called in the threads."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, calls)

    def _settle(self, calls: Sequence[Call]) -> None:
        awaited = [call for call in calls if call.waiting and not call.waiting.done()]
        for call in awaited:
            if call.waiting and call.answer:
                call.waiting.set_result(call.answer)
        self.metrics.answered(awaited)
        self._show(awaited)

    def _show(self, calls: Sequence[Call]) -> None:
        for watch in self.watchers:
            for call in calls:
                watch(call)

    def _refuse(self, call: Call, answer: Answer) -> Answer:
        self.metrics.refused(answer.status)
        if self.watchers:
            # Not the call itself, which a thread may be at work on still.
            self._show([replace(call, answer=answer, predicted=0, finished=perf_counter(), waiting=None)])
        if not self._refused and self._loop:
            self._loop.call_later(LOG_EVERY, self._tell_refusals)
        self._refused[answer.status] += 1
        return answer

    def _tell_refusals(self) -> None:
        for status, times in self._refused.items():
            LOG.warning("requests refused", extra={"about": {"status": status, "count": times}})
        self._refused.clear()

    def _health(self) -> Answer:
        """A server whose threads all hang can only be started anew."""
        if any(threads.stuck(STUCK * self.settings.deadline_seconds) for threads in self._all_threads()):
            return responses.refusal(503, "TEMPORARILY_UNAVAILABLE", "All prediction threads hang.")
        return Answer(status=200, body=b"\n")

    def _no_page(self, path: str) -> Answer:
        """404 and 405 in the shape that MLflow's server gives them."""
        if path == "/invocations" or path in self._pages:
            allowed = (b"allow", b"POST" if path == "/invocations" else b"GET")
            return Answer(status=405, body=b'{"detail":"Method Not Allowed"}', headers=(allowed,))
        return Answer(status=404, body=b'{"detail":"Not Found"}')

    def _request_id(self, given: bytes | None) -> bytes:
        """The client's own, if it can be a header and a log entry; else a new one."""
        if given and REQUEST_ID.fullmatch(given):
            return given
        return f"{self._prefix}-{next(self._ids):x}".encode()

    async def _send(self, answer: Answer, request_id: bytes, send: Send) -> None:
        headers = [
            (b"content-type", answer.media_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            (b"x-model-version", self._version),
            (b"x-request-id", request_id),
            *answer.headers,
        ]
        # What is left of a body that was not read to its end must not be taken for the next request.
        if self.draining or answer.closes:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def _odd(fields: Sequence[tuple[bytes, bytes]]) -> Answer | None:
    """The refusal of a request whose headers leave open what its body is."""
    kinds, coding = list[bytes](), b""
    for name, value in fields:
        if name == b"content-type" and value not in kinds:
            kinds.append(value)
        elif name == b"content-encoding" and value.lower() != b"identity":
            coding = value
    if len(kinds) > 1:
        return responses.ambiguous(kinds)
    return responses.compressed(coding.decode("latin-1")) if coding else None


def _json(page: Mapping[str, Any]) -> bytes:
    return json.dumps(page).encode()


async def _rest(start: bytes, receive: Receive, limit: int) -> bytes | None:
    """The whole body; one that is over the limit is cut, and None is a client that left."""
    parts, size, more = [start], len(start), True
    while more and size <= READ_ON * limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size - len(part) <= limit:
            parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)
