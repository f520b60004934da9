"""MLflow's scoring protocol by MLflow's own functions: any model, any body, and the words of every refusal.

Importing this takes seconds, so a server that does without it does not. Some things differ from MLflow's server on
purpose: a missing content type is 415 and not a crash, content types are compared without regard to case, and no stack
trace is sent to a client. A body that no JSON parser can follow (nested too deeply, a number of thousands of digits) is
400 and not 500. A refusal by the schema tells its reason without the data and the schema before it, and no answer
advises MLflow 1.
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
from model_server.responses import TEXT, Answer, failed, refusal, unwritable

LOG = logging.getLogger("serving")

__all__ = ["VERSION", "encode", "failed_on", "load", "rows", "score", "unchecked", "wrap"]
WAY_OUT = 'GET /schema says what the model takes; send for example {"dataframe_records": [{"column": value, ...}]}.'


class _Invocation(Protocol):
    response: str
    status: int
    mimetype: str


class _ScoringServer(Protocol):
    """`mlflow.pyfunc.scoring_server` carries no types; this is all of it that is used here."""

    CONTENT_TYPES: list[str]
    SCORING_PROTOCOL_CHANGE_INFO: str

    def invocations(self, data: bytes, content_type: str, model: PyFuncModel, input_schema: object) -> _Invocation: ...


class _Models(Protocol):
    def load(self, path: str) -> Model: ...


class _Metadata(Protocol):
    def get_input_schema(self) -> object: ...


MLFLOW = cast("_ScoringServer", scoring_server)


class _Wrapped:
    """A model that is loaded already, as MLflow's wrappers of flavours have it."""

    def __init__(self, predict: object) -> None:
        self._predict = cast("Any", predict)

    def predict(self, data: object, params: dict[str, Any] | None = None) -> object:
        del params  # scikit-learn takes none
        return self._predict(data)


def load(folder: Path) -> PyFuncModel:
    """The model in the folder, of any flavour."""
    return mlflow.pyfunc.load_model(str(folder))


def unchecked(model: PyFuncModel) -> object:
    """The model's function without the enforcement of its signature, for tables that need none.

    MLflow has no public name for it. Where more than the table counts (params, a type taken from the example, schemas
    of dependencies), it is the whole `predict`.
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
    """The model in the folder, around a function of it that is in memory already."""
    return PyFuncModel(model_meta=cast("_Models", Model).load(str(folder)), model_impl=_Wrapped(predict))


def encode(value: object) -> object:
    """What the `json` module cannot write, as MLflow writes it."""
    return cast("Any", NumpyEncoder()).default(value)


def score(model: PyFuncModel, content_type: str | None, body: bytes) -> Answer:
    """The answer to one POST /invocations. Never raises; what went wrong is one line in the log."""
    if content_type is None:
        sentence = f"This predictor needs a content type, one of {MLFLOW.CONTENT_TYPES}. Got none."
        return _unsupported(sentence, 415)
    schema = cast("_Metadata", model.metadata).get_input_schema()
    asked = _Asked(model)
    try:
        said = MLFLOW.invocations(body, content_type.lower(), cast("Any", asked), schema)
    except MlflowException as error:
        return _refusal(error)
    except Exception as error:
        if asked.answered:
            LOG.exception("request failed", extra={"about": {"status": 500}})
            return unwritable(error)
        return _unread(error)
    if said.status != 200:
        return _unsupported(plainly(said.response), said.status)
    return Answer(status=said.status, body=said.response.encode(), media_type=said.mimetype)


class _Asked:
    """A model that notes whether it has answered: what fails afterwards is the writing of its answer."""

    def __init__(self, model: PyFuncModel) -> None:
        self.metadata, self.answered, self._model = cast("object", model.metadata), False, model

    def predict(self, data: object, params: dict[str, Any] | None = None) -> object:
        said: object = cast("Any", self._model).predict(data, params=params)
        self.answered = True
        return said


def failed_on(table: object, error: BaseException | None) -> Answer:
    """MLflow's answer where the model, asked about the table, raised the exception."""
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
    """MLflow's words, the reason first and alone."""
    if "Failed to enforce schema of data" in message:
        reason = message.rpartition("'. Error: ")[2].strip()
        return f"{reason} GET /schema says what the model takes."
    return message.replace(MLFLOW.SCORING_PROTOCOL_CHANGE_INFO, WAY_OUT)


def _unread(error: Exception) -> Answer:
    """To a body that no parser can follow, and to a defect."""
    if isinstance(error, RecursionError | ValueError):
        LOG.warning("request refused", extra={"about": {"status": 400, "exception": place_of(error)}})
        return refusal(400, "BAD_REQUEST", f"The body cannot be read: {type(error).__name__}.")
    LOG.error("request failed", extra={"about": {"status": 500}}, exc_info=error)
    return failed(error)


class _Reader:
    """A model that keeps what MLflow has read for it."""

    def __init__(self, metadata: object) -> None:
        self.metadata, self.data = metadata, None

    def predict(self, data: object, params: object = None) -> list[object]:
        del params
        self.data = cast("Any", data)
        return []


def rows(model: PyFuncModel, content_type: str, body: bytes, names: Sequence[str]) -> list[tuple[Any, ...]] | None:
    """The columns of these names in a body that `score` has answered, a missing value as None; else None.

    A column that is not there is missing in every row. MLflow reads the body as it did; the model is not asked.
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
        data.columns = [str(name) for name in data.columns]  # a signature may name columns by numbers
    if not isinstance(data, pd.DataFrame) or not set(names) & set(data.columns):
        return None
    values = data.reindex(columns=list(names)).astype(object)
    return list(values.where(values.notna(), None).itertuples(index=False, name=None))


def _unsupported(sentence: str, status: int) -> Answer:
    LOG.warning("request refused", extra={"about": {"status": status, "cause": "content type"}})
    return Answer(status=status, body=sentence.encode(), media_type=TEXT)


def _refusal(error: MlflowException) -> Answer:
    """MLflow's words, without the stack trace."""
    said = cast("dict[str, Any]", json.loads(error.serialize_as_json()))
    said.pop("stack_trace", None)
    said["message"] = plainly(said["message"])
    status = error.get_http_status_code()
    about = {"status": status, "cause": error.error_code, "exception": place_of(error)}
    LOG.log(logging.ERROR if status >= 500 else logging.WARNING, "request refused", extra={"about": about})
    return Answer(status=status, body=json.dumps(said).encode())
