"""Loads a model version and chooses the predictors for it."""

import importlib
import json
import logging
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast, runtime_checkable

import yaml

from model_server.failure import ServingError
from model_server.predict.decoding import BodyDecoder, Row, body_decoder
from model_server.predict.fast.boosted import has_native_format, load_native, predict_function
from model_server.predict.fast.estimators import Predictor, fast_predictor
from model_server.predict.fast.probes import agree, probes
from model_server.predict.frames import FramePredictor, ModelError
from model_server.predict.signature import Signature, read_signature
from model_server.responses import Response

LOG = logging.getLogger("serving")
EXAMPLE = "serving_input_example.json"
# MLflow loader module to the flavour that describes how the object was saved.
FLAVORS = {"mlflow.sklearn": "sklearn", "mlflow.lightgbm": "lightgbm", "mlflow.xgboost": "xgboost"}
METHODS = frozenset({"predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba"})
# Packages whose estimators and functions use only the values of a table, not its index.
VALUE_ONLY = frozenset({
    "_codecs", "builtins", "collections", "copyreg", "lightgbm", "numpy", "onnx_estimators", "scipy", "sklearn",
    "xgboost",
})  # fmt: skip


class _Mlflow(Protocol):
    """Interface of `model_server.predict.fallback`, which takes seconds to import and is imported only when needed."""

    def load(self, folder: Path) -> "_Pyfunc": ...
    def wrap(self, folder: Path, predict: object) -> "_Pyfunc": ...
    def unchecked(self, model: "_Pyfunc") -> Callable[[Any], object]: ...
    def encode(self, value: object) -> object: ...
    def score(self, model: "_Pyfunc", content_type: str | None, body: bytes) -> Response: ...
    def model_failed(self, table: object, error: BaseException | None) -> Response: ...
    def rows(self, model: "_Pyfunc", content_type: str, body: bytes, names: Sequence[str]) -> list[Row] | None: ...


class _Pyfunc(Protocol):
    def predict(self, data: object) -> object: ...
    def get_raw_model(self) -> object: ...


@runtime_checkable
class _Estimator(Protocol):
    def get_params(self) -> dict[str, object]: ...


@cache
def mlflow_protocol() -> _Mlflow:
    """Return the module with MLflow's scoring protocol; import it at the first call."""
    return cast("_Mlflow", importlib.import_module("model_server.predict.fallback"))


@dataclass(kw_only=True)
class Model:
    """A loaded model and its predictors, the fastest first. MLflow's own functions are always there as the fallback.

    The predictors take rows that `decoder` has read. Each returns the predictions that MLflow would return, or raises.
    With `batched`, the first predictor takes the rows of many requests in one call.
    """

    decoder: BodyDecoder | None
    predictors: Sequence[Predictor]
    batched: bool
    signature: Signature | None
    metadata: Mapping[str, Any]
    classes: Sequence[str]
    """Classes that the model predicts, as text; empty if the model does not name them."""
    make_pyfunc: Callable[[], _Pyfunc]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pyfunc: _Pyfunc | None = None

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Return the least and the largest value of each feature in training, as far as the metadata hold them."""
        return ranges_of(self.metadata)

    def respond_by_mlflow(
        self, content_type: str | None, body: bytes, model_error: ModelError | None = None
    ) -> Response:
        """Return the response of MLflow's own functions to any request, error responses included.

        If the model has already raised `model_error` for this request, it is not called again.
        """
        if model_error:
            return mlflow_protocol().model_failed(model_error.table, model_error.__cause__)
        return mlflow_protocol().score(self._pyfunc_model(), content_type, body)

    def rows_by_mlflow(self, content_type: str | None, body: bytes, names: Sequence[str]) -> list[Row] | None:
        """Return the named columns of a body to which MLflow has responded, or None if the body is not a table."""
        return mlflow_protocol().rows(self._pyfunc_model(), content_type or "", body, names) if names else None

    def _pyfunc_model(self) -> _Pyfunc:
        with self._lock:
            self._pyfunc = self._pyfunc or self.make_pyfunc()
        return self._pyfunc


def ranges_of(metadata: Mapping[str, Any]) -> Mapping[str, tuple[float, float]]:
    """Return the least and the largest value of each feature in training, where the metadata hold two numbers."""
    own: object = metadata.get("metadata")
    stored = cast("dict[object, object]", own).get("feature_ranges") if isinstance(own, dict) else None
    ranges = dict[str, tuple[float, float]]()
    for name, found in (cast("dict[object, object]", stored) if isinstance(stored, dict) else {}).items():
        pair = cast("list[object]", found) if isinstance(found, list | tuple) else []
        numbers = [float(one) for one in pair if isinstance(one, int | float)]
        if len(numbers) == len(pair) == 2:
            ranges[str(name)] = (numbers[0], numbers[1])
    return ranges


def classes_of(estimator: object, metadata: Mapping[str, Any]) -> Sequence[str]:
    """Return the classes that a model predicts, as text: the metadata's `classes`, else the estimator's `classes_`.

    The result is empty for a model without classes, and for one that predicts several labels for a row.
    """
    own: object = metadata.get("metadata")
    found = cast("dict[object, object]", own).get("classes") if isinstance(own, dict) else None
    try:
        found = found or cast("Any", estimator).classes_.tolist()
    except Exception:  # a regressor, a list for each label, or an estimator of another library
        LOG.debug("the model names no classes", exc_info=True)
    classes = cast("list[object]", found) if isinstance(found, list) else []
    return [str(one) for one in classes if isinstance(one, str | int)]


def load(folder: Path, title: str, *, pickles: bool = True) -> Model:
    """Load the model in the folder. With `pickles` it may contain pickled objects, which run code when they are loaded.

    Raises:
        ServingError: the model cannot be loaded.
    """
    if not (folder / "MLmodel").is_file():
        raise ServingError(
            f"there is no model in {folder}; run `python -m model_server.fetch` first, with the same MODEL_DIR"
        )
    try:
        metadata = cast("dict[str, Any]", yaml.safe_load((folder / "MLmodel").read_text()))
        load_model = _load_estimator if pickles and _is_estimator(metadata) else _load_pyfunc
        return load_model(folder, metadata)
    except Exception as error:
        raise ServingError(
            f"{title} cannot be loaded: {_line(error)}; serve another version, or use an image with the packages in "
            f"{folder / 'requirements.txt'}"
        ) from error


def _is_estimator(metadata: Mapping[str, Any]) -> bool:
    """Return whether the model is one scikit-learn, LightGBM or XGBoost object without code of its own.

    An XGBoost model must have no params in its signature, because MLflow passes their defaults on to `predict`.
    """
    function = metadata["flavors"]["python_function"]
    name: str = FLAVORS.get(function["loader_module"], "")
    flavor = metadata["flavors"].get(name, {})
    signature = cast("dict[str, Any]", metadata.get("signature") or {})
    return (
        bool(flavor)
        and not function.get("code")
        and not flavor.get("code")
        and function.get("predict_fn", "predict") in (METHODS if name == "sklearn" else {"predict"})
        and not (name == "xgboost" and json.loads(signature.get("params") or "null"))
        and (
            has_native_format(flavor.get("model_class", ""))
            or flavor.get("serialization_format") in {"skops", "cloudpickle", "pickle"}
        )
    )


class _Unpickler(pickle.Unpickler):
    """Unpickler that records the packages of all classes and functions in the object."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.packages = set[str]()

    def find_class(self, module_name: str, global_name: str, /) -> object:
        """Return the class or function with that name."""
        self.packages.add(module_name.partition(".")[0])
        return super().find_class(module_name, global_name)


def _deserialize(folder: Path, flavor: Mapping[str, Any]) -> tuple[object, bool]:
    """Return the object as MLflow restores it, and whether all code in it comes from VALUE_ONLY packages."""
    file = folder / flavor.get("pickled_model", flavor.get("data", ""))
    if has_native_format(kind := flavor.get("model_class", "")):
        return load_native(kind, file), True
    if flavor["serialization_format"] == "skops":
        trusted = cast("list[str]", flavor.get("skops_trusted_types") or [])
        plain = {name.partition(".")[0] for name in trusted} <= VALUE_ONLY
        return importlib.import_module("skops.io").load(file, trusted=trusted), plain
    with file.open("rb") as content:
        unpickler = _Unpickler(content)  # also reads the output of cloudpickle
        estimator = cast("object", unpickler.load())
    return estimator, unpickler.packages <= VALUE_ONLY


def _load_estimator(folder: Path, metadata: Mapping[str, Any]) -> Model:
    """Load the model without importing MLflow; import it only when a request needs the fallback."""
    function = metadata["flavors"]["python_function"]
    estimator, plain = _deserialize(folder, metadata["flavors"][FLAVORS[function["loader_module"]]])
    name: str = function.get("predict_fn", "predict")
    if not plain and name != "predict":
        return _load_pyfunc(folder, metadata)  # MLflow passes params to such a function
    predict_in_one_thread(estimator)
    method = predict_function(estimator, name)
    signature = read_signature(metadata)
    # Other code may use the index of a table, which only MLflow's own functions keep.
    decoder = body_decoder(signature, values_only=plain)
    predictors: list[Predictor] = []
    if signature and decoder:
        predictors = [FramePredictor(predict=method, signature=signature)]
        example = folder / EXAMPLE
        rows = (decoder.rows(example.read_bytes()) if example.is_file() else None) or []
        fast = _fast_predictors(estimator, name, signature)
        if fast and agree(fast, probes(estimator, signature, ranges_of(metadata), rows)):
            predictors.insert(0, fast[0][0])
    return Model(
        decoder=decoder,
        predictors=predictors,
        batched=len(predictors) > 1,
        signature=signature,
        metadata=metadata,
        classes=classes_of(estimator, metadata) if name == "predict" else (),
        make_pyfunc=lambda: mlflow_protocol().wrap(folder, method),
    )


def _fast_predictors(estimator: object, name: str, signature: Signature) -> list[tuple[Predictor, Predictor]]:
    """Return the fast predictor, if there is one, together with the reference that it must agree with.

    For a classifier, the pair for its probabilities is added, because equal labels alone prove little.
    """
    names = ["predict", "predict_proba"] if name == "predict" and hasattr(estimator, "predict_proba") else [name]
    try:
        built = [(fast_predictor(estimator, one, signature), one) for one in names]
    except Exception:
        LOG.debug("the model has no fast predictor", exc_info=True)
        return []
    fast: list[tuple[Predictor, Predictor]] = [
        (rows, FramePredictor(predict=predict_function(estimator, one), signature=signature))
        for rows, one in built
        if rows
    ]
    return fast if built[0][0] else []


def _load_pyfunc(folder: Path, metadata: Mapping[str, Any]) -> Model:
    """Load the model with `mlflow.pyfunc`.

    Plain bodies skip MLflow's casting and checks, which would not change them.
    """
    pyfunc = mlflow_protocol().load(folder)
    raw_model = _raw_model(pyfunc)
    predict_in_one_thread(raw_model)
    signature = read_signature(metadata)
    decoder = body_decoder(signature, values_only=False)
    predictors = list[Predictor]()
    if signature and decoder:
        predictors.append(FramePredictor(predict=mlflow_protocol().unchecked(pyfunc), signature=signature))
    return Model(
        decoder=decoder,
        predictors=predictors,
        batched=False,
        signature=signature,
        metadata=metadata,
        classes=classes_of(raw_model, metadata),
        make_pyfunc=lambda: pyfunc,
    )


def _raw_model(pyfunc: _Pyfunc) -> object:
    try:
        return pyfunc.get_raw_model()
    except Exception:  # not every flavour has a raw model
        LOG.debug("the model has no raw model", exc_info=True)
        return None


def predict_in_one_thread(estimator: object) -> None:
    """Make the estimator predict in one thread, because the server already runs requests in parallel."""
    if not isinstance(estimator, _Estimator):
        return
    try:
        parameters = estimator.get_params()
        for name in parameters:
            owner, _, parameter = name.rpartition("__")
            if parameter == "n_jobs":
                _set_threads(parameters[owner] if owner else estimator)
    except Exception:
        LOG.warning("the number of threads of the model cannot be set", exc_info=True)


def _set_threads(estimator: object) -> None:
    """Make the estimator predict in one thread.

    `set_params` does not work here: a fitted CatBoost refuses it, and a fitted XGBoost writes all its parameters into
    the booster again, which may then fail to predict (several labels, `base_score` and dart).
    """
    cast("Any", estimator).n_jobs = 1
    if booster := getattr(estimator, "get_booster", None):
        booster().set_param({"nthread": 1})


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
