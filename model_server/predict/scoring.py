"""Requests into answers, many at a time."""

import json
import logging
import re
from asyncio import Future
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter
from typing import Any, TypeAlias

from model_server.logs import REQUEST, place_of
from model_server.predict.decoding import Row
from model_server.predict.fast.estimators import Rows
from model_server.predict.frames import FailedError
from model_server.predict.model import Model, mlflow_protocol
from model_server.responses import JSON, Answer, unwritable

LOG = logging.getLogger("serving")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(kw_only=True, slots=True)
class Call:
    """One POST /invocations on its way. Times are `perf_counter` seconds, in the order of the fields."""

    content_type: str | None
    body: bytes
    request_id: str
    trace: str = ""
    """W3C's traceparent, as it came."""
    arrived: float = field(default_factory=perf_counter)
    started: float = 0
    parsed: float = 0
    predicted: float = 0
    finished: float = 0
    rows: list[Row] | None = None
    """The rows, when the body was a plain one."""
    predictions: Any = None
    """What the model said about them."""
    failed: FailedError | None = None
    """What the model raised, so that it need not be asked again."""
    answer: Answer | None = None
    waiting: Future[Answer] | None = None
    """Whoever waits for the answer; done when it is too late for one."""

    @property
    def names(self) -> dict[str, str]:
        """What a log line calls it."""
        trace = {"trace_id": self.trace.split("-")[1]} if TRACEPARENT.fullmatch(self.trace) else {}
        return {"request_id": self.request_id, **trace}


Leave: TypeAlias = Callable[[Call], None]


def score(model: Model, leave: Leave, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
    """Answers the calls with a plain body, and leaves the others; what is done together comes together."""
    plain: list[Call] = []
    for call in calls:
        call.started = perf_counter()
        if model.forms and _is_json(call.content_type):
            call.rows = model.forms.rows(call.body)
        call.parsed = perf_counter()
        if call.rows is None:
            leave(call)
        else:
            plain.append(call)
    if plain:
        yield from _together(model, leave, plain) if model.together else _apart(model, leave, plain)


def score_slowly(model: Model, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
    """Answers the calls that were left, each by MLflow's own functions: bodies that are not plain, and refusals."""
    for call in calls:
        call.rows = None
        known = REQUEST.set(call.names)
        call.answer = model.left_to_mlflow(call.content_type, call.body, call.failed)
        call.failed = None
        REQUEST.reset(known)
        call.predicted = call.finished = perf_counter()
        yield [call]


@lru_cache(maxsize=64)
def _is_json(content_type: str | None) -> bool:
    """Whether MLflow would read it as JSON."""
    kind, *parameters = [part.strip() for part in (content_type or "").lower().split(";")]
    return kind == JSON and set(parameters) <= {"charset=utf-8"}


def _together(model: Model, leave: Leave, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
    if _predict(model.ways[0], calls):
        yield calls
    else:  # one of them is to blame
        yield from _apart(model, leave, calls)


def _apart(model: Model, leave: Leave, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
    for call in calls:
        if any(_predict(way, [call]) for way in model.ways):
            yield [call]
        else:
            leave(call)


def _predict(way: Rows, calls: Sequence[Call]) -> bool:
    """Whether the calls are answered."""
    sizes = [len(call.rows or ()) for call in calls]
    try:
        answers = list(zip(calls, way([row for call in calls for row in call.rows or ()], sizes), strict=True))
    except FailedError as error:
        calls[0].failed = error  # a way that raises this takes one request at a time
        return False
    except Exception:
        LOG.debug("left to a slower way", exc_info=True)
        return False
    for call, predictions in answers:
        call.predicted = perf_counter()
        call.predictions, call.answer = predictions, _written(predictions)
        call.finished = perf_counter()
    return True


def _written(predictions: object) -> Answer:
    try:
        return Answer(status=200, body=json.dumps({"predictions": predictions}, default=mlflow_encode).encode())
    except Exception as error:
        LOG.exception("request failed", extra={"about": {"status": 500, "exception": place_of(error)}})
        return unwritable(error)


def mlflow_encode(value: object) -> object:
    """What the `json` module cannot write, as MLflow writes it."""
    return mlflow_protocol().encode(value)
