"""MLflow's scoring protocol: a body and its content type in, a status and a body out.

MLflow's own functions do the parsing and the prediction, so answers are the same. Three things differ on purpose:
a missing content type is 415 and not a crash, content types are compared without regard to case, and no stack trace
is sent to a client.
"""

import json
import logging
from dataclasses import dataclass
from typing import Any, Protocol, cast

from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel, scoring_server

from serving.logs import place_of

LOG = logging.getLogger("serving")
JSON = "application/json"
TEXT = "text/plain"


class _Invocation(Protocol):
    response: str
    status: int
    mimetype: str


class _ScoringServer(Protocol):
    """`mlflow.pyfunc.scoring_server` carries no types; this is all of it that is used here."""

    CONTENT_TYPES: list[str]

    def invocations(self, data: bytes, content_type: str, model: PyFuncModel, input_schema: object) -> _Invocation: ...


class _Metadata(Protocol):
    def get_input_schema(self) -> object: ...


MLFLOW = cast("_ScoringServer", scoring_server)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a client gets."""

    status: int
    body: str
    media_type: str = JSON


def answer(model: PyFuncModel, content_type: str | None, body: bytes) -> Answer:
    """The answer to one POST /invocations. Never raises; what went wrong is one line in the log."""
    if content_type is None:
        return _unsupported(f"This predictor needs a content type, one of {MLFLOW.CONTENT_TYPES}. Got none.")
    schema = cast("_Metadata", model.metadata).get_input_schema()
    try:
        said = MLFLOW.invocations(body, content_type.lower(), model, schema)
    except MlflowException as error:
        return _refusal(error)
    except Exception as error:
        LOG.exception("request failed", extra={"about": {"status": 500}})
        return _error(500, "INTERNAL_ERROR", f"The server failed on this request: {type(error).__name__}.")
    if said.status != 200:
        return _unsupported(said.response, said.status)
    return Answer(status=said.status, body=said.response, media_type=said.mimetype)


def too_large(limit: int) -> Answer:
    """The answer to a body over the limit, in bytes."""
    LOG.warning("request refused", extra={"about": {"status": 413, "limit": limit}})
    return _error(413, "REQUEST_TOO_LARGE", f"The body is over {limit} bytes; send fewer rows at a time.")


def _unsupported(sentence: str, status: int = 415) -> Answer:
    LOG.warning("request refused", extra={"about": {"status": status, "cause": "content type"}})
    return Answer(status=status, body=sentence, media_type=TEXT)


def _refusal(error: MlflowException) -> Answer:
    """MLflow's words, without the stack trace."""
    said = cast("dict[str, Any]", json.loads(error.serialize_as_json()))
    said.pop("stack_trace", None)
    status = error.get_http_status_code()
    about = {"status": status, "cause": error.error_code, "exception": place_of(error)}
    LOG.log(logging.ERROR if status >= 500 else logging.WARNING, "request refused", extra={"about": about})
    return Answer(status=status, body=json.dumps(said))


def _error(status: int, code: str, message: str) -> Answer:
    return Answer(status=status, body=json.dumps({"error_code": code, "message": message}))
