"""MLflow's scoring protocol through MLflow's own functions, for every model, every body and every error message.

Importing this module takes seconds, so the server imports it only when a request needs it. The responses differ from
MLflow's server on purpose: a missing content type is 415 and not a crash, the case of content types does not matter,
clients get no stack trace, and a body that no parser can read (nested too deeply, a number of thousands of digits) is
400 and not 500. A schema error gives its reason without the data and the schema, and no message recommends MLflow 1.
"""

import inspect
import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc import PyFuncModel, scoring_server
from mlflow.utils.proto_json_utils import NumpyEncoder
from mlflow.version import VERSION

from model_server.logs import place_of
from model_server.responses import TEXT, Response, error_response, internal_error, unwritable

LOG = logging.getLogger("serving")

__all__ = ["VERSION", "encode", "load", "model_failed", "rows", "score", "unchecked", "wrap"]
WAY_OUT = 'GET /schema describes the request; send for example {"dataframe_records": [{"column": value, ...}]}.'


class _Invocation(Protocol):
    response: str
    status: int
    mimetype: str


class _ScoringServer(Protocol):
    """The parts of `mlflow.pyfunc.scoring_server` that this module uses. It has no type annotations."""

    CONTENT_TYPES: list[str]
    SCORING_PROTOCOL_CHANGE_INFO: str

    def invocations(self, data: bytes, content_type: str, model: PyFuncModel, input_schema: object) -> _Invocation: ...


class _Models(Protocol):
    def load(self, path: str) -> Model: ...


class _Metadata(Protocol):
    def get_input_schema(self) -> object: ...


MLFLOW = cast("_ScoringServer", scoring_server)


class _Wrapped:
    """Model that is already in memory, with the methods of MLflow's flavour wrappers."""

    def __init__(self, predict: object) -> None:
        self._predict = cast("Any", predict)

    def predict(self, data: object, params: dict[str, Any] | None = None) -> object:
        del params  # scikit-learn has none
        return self._predict(data)


def load(folder: Path) -> PyFuncModel:
    """Return the model in the folder, of any flavour."""
    return mlflow.pyfunc.load_model(str(folder))


def unchecked(model: PyFuncModel) -> object:
    """Return the model's predict function without the checks of its signature, for tables that need none.

    MLflow has no public name for it. The result is the whole `predict` if the model needs more than the table: params,
    a type hint from the example, or schemas of dependencies.
    """
    untyped = cast("Any", model)
    stored: dict[str, Any] = untyped.metadata.to_dict()
    plain = not stored.get("type_hint_from_example") and not stored.get("metadata")
    function: Any = vars(model).get("_predict_fn")
    if not plain or function is None or cast("dict[str, Any]", stored.get("signature") or {}).get("params"):
        return untyped.predict
    params = inspect.signature(function).parameters.get("params")
    takes_params = params is not None and params.kind != inspect.Parameter.VAR_KEYWORD
    return partial(function, params=None) if takes_params else function


def wrap(folder: Path, predict: object) -> PyFuncModel:
    """Return the model in the folder around a predict function that is already in memory."""
    return PyFuncModel(model_meta=cast("_Models", Model).load(str(folder)), model_impl=_Wrapped(predict))


def encode(value: object) -> object:
    """Convert a value that the `json` module cannot write, as MLflow does."""
    return cast("Any", NumpyEncoder()).default(value)


def score(model: PyFuncModel, content_type: str | None, body: bytes) -> Response:
    """Return the response to one POST /invocations. It never raises; an error is one line in the log."""
    if content_type is None:
        sentence = f"This predictor needs a content type, one of {MLFLOW.CONTENT_TYPES}. Got none."
        return _unsupported(sentence, 415)
    schema = cast("_Metadata", model.metadata).get_input_schema()
    observed = _ObservedModel(model)
    try:
        result = MLFLOW.invocations(body, content_type.lower(), cast("Any", observed), schema)
    except MlflowException as error:
        return _refusal(error)
    except Exception as error:
        if observed.predicted:
            LOG.exception("request failed", extra={"about": {"status": 500}})
            return unwritable(error)
        return _unread(error)
    if result.status != 200:
        return _unsupported(plainly(result.response), result.status)
    return Response(status=result.status, body=result.response.encode(), media_type=result.mimetype)


class _ObservedModel:
    """A model that notes whether it has predicted. A later failure then comes from writing the prediction."""

    def __init__(self, model: PyFuncModel) -> None:
        self.metadata, self.predicted, self._model = cast("object", model.metadata), False, model

    def predict(self, data: object, params: dict[str, Any] | None = None) -> object:
        prediction: object = cast("Any", self._model).predict(data, params=params)
        self.predicted = True
        return prediction


def model_failed(table: object, error: BaseException | None) -> Response:
    """Return MLflow's response for a model that raised this error when it predicted the table."""
    if isinstance(error, MlflowException):
        error.message = f"Failed to predict data '{table}'. \nError: {error.message}"
        return _refusal(error)
    sentence = (
        "Encountered an unexpected error while evaluating the model. Verify that the serialized input Dataframe is "
        "compatible with the model for inference."
    )
    refused = MlflowException(sentence, error_code=BAD_REQUEST)
    refused.__cause__ = error
    return _refusal(refused)


def plainly(message: str) -> str:
    """Return MLflow's message with the reason first, and without the data that it quotes."""
    if "Failed to enforce schema of data" in message:
        reason = message.rpartition("'. Error: ")[2].strip()
        return f"{reason} GET /schema describes the request."
    return message.replace(MLFLOW.SCORING_PROTOCOL_CHANGE_INFO, WAY_OUT)


def _unread(error: Exception) -> Response:
    """Return 400 for a body that no parser can read, and 500 for a defect."""
    if isinstance(error, RecursionError | ValueError):
        LOG.warning("request refused", extra={"about": {"status": 400, "exception": place_of(error)}})
        return error_response(
            400,
            "BAD_REQUEST",
            f"The body cannot be parsed ({type(error).__name__}); send JSON with less nesting and shorter numbers.",
        )
    LOG.error("request failed", extra={"about": {"status": 500}}, exc_info=error)
    return internal_error(error)


class _Reader:
    """A model that keeps the data which MLflow decoded for it, and predicts nothing."""

    def __init__(self, metadata: object) -> None:
        self.metadata, self.data = metadata, None

    def predict(self, data: object, params: object = None) -> list[object]:
        del params
        self.data = cast("Any", data)
        return []


def rows(model: PyFuncModel, content_type: str, body: bytes, names: Sequence[str]) -> list[tuple[Any, ...]] | None:
    """Return the named columns of a body to which `score` has responded, or None if the body is not a table.

    Missing values are None. A column that the body does not contain is None in every row. MLflow decodes the body
    again; the model is not called.
    """
    reader = _Reader(model.metadata)
    schema = cast("_Metadata", model.metadata).get_input_schema()
    MLFLOW.invocations(body, content_type.lower(), cast("Any", reader), schema)
    data: Any = reader.data
    if isinstance(data, dict):
        data = pd.DataFrame(cast("dict[str, Any]", data))
    elif isinstance(data, np.ndarray):
        array = cast("np.ndarray[Any, Any]", data)
        data = pd.DataFrame(array, columns=list(names)) if array.ndim == 2 and array.shape[1] == len(names) else None
    if isinstance(data, pd.DataFrame):
        data.columns = [str(name) for name in data.columns]  # the signature may have numbers as column names
    if not isinstance(data, pd.DataFrame) or not set(names) & set(data.columns):
        return None
    values = data.reindex(columns=list(names)).astype(object)
    return list(values.where(values.notna(), None).itertuples(index=False, name=None))


def _unsupported(sentence: str, status: int) -> Response:
    LOG.warning("request refused", extra={"about": {"status": status, "cause": "content type"}})
    return Response(status=status, body=sentence.encode(), media_type=TEXT)


def _refusal(error: MlflowException) -> Response:
    """Return MLflow's error response without the stack trace."""
    body = cast("dict[str, Any]", json.loads(error.serialize_as_json()))
    body.pop("stack_trace", None)
    body["message"] = plainly(body["message"])
    status = error.get_http_status_code()
    about = {"status": status, "cause": error.error_code, "exception": place_of(error)}
    LOG.log(logging.ERROR if status >= 500 else logging.WARNING, "request refused", extra={"about": about})
    return Response(status=status, body=json.dumps(body).encode())
