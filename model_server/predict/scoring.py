"""Turns requests into responses, several at a time."""

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
from model_server.predict.fast.estimators import Predictor
from model_server.predict.frames import ModelError
from model_server.predict.model import Model, mlflow_protocol
from model_server.responses import JSON, Response, unwritable

LOG = logging.getLogger("serving")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(kw_only=True, slots=True)
class Request:
    """One POST /invocations in progress.

    Times are `perf_counter` seconds, in the order of the fields; 0 means not yet.
    """

    content_type: str | None
    """Content-Type header, or None if there is none."""
    body: bytes
    """The body as received."""
    request_id: str
    """ID from the X-Request-Id header, or a generated one."""
    trace: str = ""
    """W3C `traceparent` header as received, or empty."""
    experiment: str = ""
    """Name of the experiment that the router wrote into the request, or empty."""
    unit: bytes = b""
    """The caller's key in an experiment, or empty. It is written nowhere; the prediction log gets its keyed hash."""
    arrived: float = field(default_factory=perf_counter)
    """Time when the headers were complete."""
    started: float = 0
    """Time when a worker took the request."""
    parsed: float = 0
    """Time when the body was decoded."""
    predicted: float = 0
    """Time when the prediction was ready."""
    finished: float = 0
    """Time when the response was ready."""
    rows: list[Row] | None = None
    """Rows of a plain body, else None."""
    predictions: Any = None
    """Predictions for the rows."""
    model_error: ModelError | None = None
    """Exception of the model, so that the fallback does not call the model again."""
    response: Response | None = None
    """The response, as soon as there is one."""
    future: Future[Response] | None = None
    """Future that the event loop waits for. It is done if the deadline has passed."""

    @property
    def names(self) -> dict[str, str]:
        """Return the fields that identify the request in a log line."""
        trace = {"trace_id": self.trace.split("-")[1]} if TRACEPARENT.fullmatch(self.trace) else {}
        return {"request_id": self.request_id, **trace}


FallBack: TypeAlias = Callable[[Request], None]


def score(model: Model, fall_back: FallBack, requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    """Score the plain requests of a batch in one call if possible, and pass the others to the fallback.

    Yields the requests that have a response now, in groups that were predicted together.
    """
    plain: list[Request] = []
    for request in requests:
        request.started = perf_counter()
        if model.decoder and _is_json(request.content_type):
            request.rows = model.decoder.rows(request.body)
        request.parsed = perf_counter()
        if request.rows is None:
            fall_back(request)
        else:
            plain.append(request)
    if plain:
        score_plain = _score_together if model.batched else _score_separately
        yield from score_plain(model, fall_back, plain)


def score_by_mlflow(model: Model, requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    """Score each request with MLflow's own functions. They handle bodies that are not plain, and errors."""
    for request in requests:
        request.rows = None
        known = REQUEST.set(request.names)
        request.response = model.respond_by_mlflow(request.content_type, request.body, request.model_error)
        request.model_error = None
        REQUEST.reset(known)
        request.predicted = request.finished = perf_counter()
        yield [request]


@lru_cache(maxsize=64)
def _is_json(content_type: str | None) -> bool:
    """Return whether MLflow would read the content type as JSON."""
    kind, *parameters = [part.strip() for part in (content_type or "").lower().split(";")]
    return kind == JSON and set(parameters) <= {"charset=utf-8"}


def _score_together(model: Model, fall_back: FallBack, requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    if _predict(model.predictors[0], requests):
        yield requests
    else:  # one of the requests made the batch fail
        yield from _score_separately(model, fall_back, requests)


def _score_separately(model: Model, fall_back: FallBack, requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    for request in requests:
        if any(_predict(predictor, [request]) for predictor in model.predictors):
            yield [request]
        else:
            fall_back(request)


def _predict(predictor: Predictor, requests: Sequence[Request]) -> bool:
    """Predict the requests in one call and set their responses. Return whether that succeeded."""
    sizes = [len(request.rows or ()) for request in requests]
    try:
        rows = [row for request in requests for row in request.rows or ()]
        results = list(zip(requests, predictor(rows, sizes), strict=True))
    except ModelError as error:
        requests[0].model_error = error  # a predictor that raises this gets one request at a time
        return False
    except Exception:
        LOG.debug("left to a slower predictor", exc_info=True)
        return False
    for request, predictions in results:
        request.predicted = perf_counter()
        request.predictions, request.response = predictions, _prediction_response(predictions)
        request.finished = perf_counter()
    return True


def _prediction_response(predictions: object) -> Response:
    try:
        return Response(status=200, body=json.dumps({"predictions": predictions}, default=mlflow_encode).encode())
    except Exception as error:
        LOG.exception("request failed", extra={"about": {"status": 500, "exception": place_of(error)}})
        return unwritable(error)


def mlflow_encode(value: object) -> object:
    """Convert a value that the `json` module cannot write, as MLflow does."""
    return mlflow_protocol().encode(value)
