"""A model version from disk to its first prediction."""

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
from model_server.predict.decoding import Forms, Row, forms_of
from model_server.predict.fast.boosted import predicting, restored, saves_itself
from model_server.predict.fast.estimators import Rows, taken_apart
from model_server.predict.fast.probes import agree, probes
from model_server.predict.frames import FailedError, on_frames
from model_server.predict.signature import Signature, read_signature
from model_server.responses import Answer

LOG = logging.getLogger("serving")
EXAMPLE = "serving_input_example.json"
# By what loads it, the flavour that says how one object was saved.
FLAVORS = {"mlflow.sklearn": "sklearn", "mlflow.lightgbm": "lightgbm", "mlflow.xgboost": "xgboost"}
METHODS = frozenset({"predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba"})
# Packages whose estimators, and functions, look at nothing but the values of a table.
PLAIN = frozenset({
    "_codecs", "builtins", "collections", "copyreg", "lightgbm", "numpy", "scipy", "sklearn", "xgboost"
})  # fmt: skip


class _Mlflow(Protocol):
    """`model_server.predict.fallback`, which takes seconds to import: nothing does before it is needed."""

    def load(self, folder: Path) -> "_Pyfunc": ...
    def wrap(self, folder: Path, predict: object) -> "_Pyfunc": ...
    def unchecked(self, model: "_Pyfunc") -> Callable[[Any], object]: ...
    def encode(self, value: object) -> object: ...
    def score(self, model: "_Pyfunc", content_type: str | None, body: bytes) -> Answer: ...
    def failed_on(self, table: object, error: BaseException | None) -> Answer: ...
    def rows(self, model: "_Pyfunc", content_type: str, body: bytes, names: Sequence[str]) -> list[Row] | None: ...


class _Pyfunc(Protocol):
    def predict(self, data: object) -> object: ...
    def get_raw_model(self) -> object: ...


@runtime_checkable
class _Estimator(Protocol):
    def get_params(self) -> dict[str, object]: ...


@cache
def mlflow_protocol() -> _Mlflow:
    """MLflow's own way, imported at the first call."""
    return cast("_Mlflow", importlib.import_module("model_server.predict.fallback"))


@dataclass(kw_only=True)
class Model:
    """A loaded model and the ways to ask it, the quickest first. MLflow's own way is always there, and is the last.

    `ways` take rows that `forms` has read; each gives the answers that MLflow would give, or raises. With `together`
    the first of them takes the rows of many requests at once.
    """

    forms: Forms | None
    ways: Sequence[Rows]
    together: bool
    signature: Signature | None
    metadata: Mapping[str, Any]
    make_pyfunc: Callable[[], _Pyfunc]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pyfunc: _Pyfunc | None = None

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """The least and the largest value of each feature in training, if its metadata hold them."""
        return ranges_of(self.metadata)

    def left_to_mlflow(self, content_type: str | None, body: bytes, failed: FailedError | None = None) -> Answer:
        """The answer of MLflow's own functions to any request, a refusal included.

        A model that has `failed` on this request is not asked again.
        """
        if failed:
            return mlflow_protocol().failed_on(failed.table, failed.__cause__)
        return mlflow_protocol().score(self._by_mlflow(), content_type, body)

    def rows_by_mlflow(self, content_type: str | None, body: bytes, names: Sequence[str]) -> list[Row] | None:
        """The columns of these names in a body that MLflow has answered; None where it is no such table."""
        return mlflow_protocol().rows(self._by_mlflow(), content_type or "", body, names) if names else None

    def _by_mlflow(self) -> _Pyfunc:
        with self._lock:
            self._pyfunc = self._pyfunc or self.make_pyfunc()
        return self._pyfunc


def ranges_of(metadata: Mapping[str, Any]) -> Mapping[str, tuple[float, float]]:
    """The least and the largest value of each feature in training, where the model's metadata hold two numbers."""
    own: object = metadata.get("metadata")
    stored = cast("dict[object, object]", own).get("feature_ranges") if isinstance(own, dict) else None
    ranges = dict[str, tuple[float, float]]()
    for name, found in (cast("dict[object, object]", stored) if isinstance(stored, dict) else {}).items():
        pair = cast("list[object]", found) if isinstance(found, list | tuple) else []
        numbers = [float(one) for one in pair if isinstance(one, int | float)]
        if len(numbers) == len(pair) == 2:
            ranges[str(name)] = (numbers[0], numbers[1])
    return ranges


def load(folder: Path, title: str, *, pickles: bool = True) -> Model:
    """The model in the folder. With `pickles` it may hold pickled objects, which run code when they are loaded.

    Raises:
        ServingError: it cannot be loaded.
    """
    if not (folder / "MLmodel").is_file():
        raise ServingError(
            f"{folder} holds no model; run `python -m model_server.fetch` first, with the same MODEL_DIR"
        )
    try:
        metadata = cast("dict[str, Any]", yaml.safe_load((folder / "MLmodel").read_text()))
        return _one_object(folder, metadata) if pickles and _is_one_object(metadata) else _any(folder, metadata)
    except Exception as error:
        raise ServingError(
            f"{title} cannot be loaded: {_line(error)}; serve another version, or an image with the packages that "
            f"{folder / 'requirements.txt'} names"
        ) from error


def _is_one_object(metadata: Mapping[str, Any]) -> bool:
    """Nothing but one object of scikit-learn's, LightGBM's or XGBoost's, without code of its own.

    MLflow's wrapper of XGBoost hands params on to `predict`, also those that the signature alone gives.
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
            saves_itself(flavor.get("model_class", ""))
            or flavor.get("serialization_format") in {"skops", "cloudpickle", "pickle"}
        )
    )


class _Unpickler(pickle.Unpickler):
    """Notes the packages that the object's code comes from."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.packages = set[str]()

    def find_class(self, module_name: str, global_name: str, /) -> object:
        """The class or function of that name."""
        self.packages.add(module_name.partition(".")[0])
        return super().find_class(module_name, global_name)


def _restored(folder: Path, flavor: Mapping[str, Any]) -> tuple[object, bool]:
    """The object, as MLflow restores it, and whether all code in it comes from PLAIN packages."""
    file = folder / flavor.get("pickled_model", flavor.get("data", ""))
    if saves_itself(kind := flavor.get("model_class", "")):
        return restored(kind, file), True
    if flavor["serialization_format"] == "skops":
        trusted = cast("list[str]", flavor.get("skops_trusted_types") or [])
        plain = {name.partition(".")[0] for name in trusted} <= PLAIN
        return importlib.import_module("skops.io").load(file, trusted=trusted), plain
    with file.open("rb") as content:
        unpickler = _Unpickler(content)  # reads what cloudpickle wrote, too
        estimator = cast("object", unpickler.load())
    return estimator, unpickler.packages <= PLAIN


def _one_object(folder: Path, metadata: Mapping[str, Any]) -> Model:
    """Without MLflow, as long as nobody asks for what only MLflow can say."""
    function = metadata["flavors"]["python_function"]
    estimator, plain = _restored(folder, metadata["flavors"][FLAVORS[function["loader_module"]]])
    name: str = function.get("predict_fn", "predict")
    if not plain and name != "predict":
        return _any(folder, metadata)  # MLflow gives params to such a function, if it takes them
    predict_in_one_thread(estimator)
    method = predicting(estimator, name)
    signature = read_signature(metadata)
    # Code of others may look at a table's index, which only MLflow's own functions keep.
    forms = forms_of(signature, rows_alone=plain)
    ways: list[Rows] = []
    if signature and forms:
        ways = [on_frames(method, signature)]
        example = folder / EXAMPLE
        rows = (forms.rows(example.read_bytes()) if example.is_file() else None) or []
        quick = _quick(estimator, name, signature)
        if quick and agree(quick, probes(estimator, signature, ranges_of(metadata), rows)):
            ways.insert(0, quick[0][0])
    return Model(
        forms=forms,
        ways=ways,
        together=len(ways) > 1,
        signature=signature,
        metadata=metadata,
        make_pyfunc=lambda: mlflow_protocol().wrap(folder, method),
    )


def _quick(estimator: object, name: str, signature: Signature) -> list[tuple[Rows, Rows]]:
    """The quick way, if there is one, beside the sure one that it must agree with.

    A classifier's labels tell little, so that its probabilities are compared as well.
    """
    names = ["predict", "predict_proba"] if name == "predict" and hasattr(estimator, "predict_proba") else [name]
    try:
        apart = [(taken_apart(estimator, one, signature), one) for one in names]
    except Exception:
        LOG.debug("the model is not taken apart", exc_info=True)
        return []
    quick = [(rows, on_frames(predicting(estimator, one), signature)) for rows, one in apart if rows]
    return quick if apart[0][0] else []


def _any(folder: Path, metadata: Mapping[str, Any]) -> Model:
    """Through `mlflow.pyfunc`: rows of plain bodies are no longer cast and checked, for nothing could come of it."""
    pyfunc = mlflow_protocol().load(folder)
    predict_in_one_thread(_underneath(pyfunc))
    signature = read_signature(metadata)
    forms = forms_of(signature, rows_alone=False)
    ways = [on_frames(mlflow_protocol().unchecked(pyfunc), signature)] if signature and forms else []
    return Model(
        forms=forms, ways=ways, together=False, signature=signature, metadata=metadata, make_pyfunc=lambda: pyfunc
    )


def _underneath(pyfunc: _Pyfunc) -> object:
    try:
        return pyfunc.get_raw_model()
    except Exception:  # not every flavour has something underneath
        LOG.debug("the model shows nothing underneath", exc_info=True)
        return None


def predict_in_one_thread(estimator: object) -> None:
    """Requests run side by side; threads inside one of them would only wait for each other."""
    if not isinstance(estimator, _Estimator):
        return
    try:
        parameters = estimator.get_params()
        for name in parameters:
            owner, _, parameter = name.rpartition("__")
            if parameter == "n_jobs":
                _set_threads(parameters[owner] if owner else estimator)
    except Exception:
        LOG.warning("the model decides on its threads itself", exc_info=True)


def _set_threads(estimator: object) -> None:
    """Make the estimator predict in one thread.

    Not by `set_params`: a fitted CatBoost refuses it, and a fitted XGBoost writes all its parameters into the booster
    again, which then may not predict any more (several labels, `base_score` and dart).
    """
    cast("Any", estimator).n_jobs = 1
    if booster := getattr(estimator, "get_booster", None):
        booster().set_param({"nthread": 1})


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
