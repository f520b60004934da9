"""A model version from disk to its first prediction."""

import importlib
import logging
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import yaml

from serving.answers import Answer
from serving.boosted import predicting, restored, saves_itself
from serving.estimators import Rows, UnsureError, taken_apart
from serving.failure import ServingError
from serving.forms import Forms, Row, forms_of
from serving.frames import on_frames
from serving.signature import Kind, Signature, read_signature

LOG = logging.getLogger("serving")
EXAMPLE = "serving_input_example.json"
# By what loads it, the flavour that says how one object was saved.
FLAVORS = {"mlflow.sklearn": "sklearn", "mlflow.lightgbm": "lightgbm", "mlflow.xgboost": "xgboost"}
METHODS = frozenset({"predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba"})
# What every way must agree on, besides the model's own example.
PROBES: Mapping[Kind, Sequence[Any]] = {
    "double": (0.0, 1.0, -1.0, 0.37, 12.5, 1234.5, -7e4),
    "float": (0.0, 1.0, -1.0, 0.25, 12.5, 1234.5, -7e4),
    "long": (0, 1, -1, 3, 12, 1234, -70_000),
    "integer": (0, 1, -1, 3, 12, 1234, -70_000),
    "boolean": (True, False, False, True, True, False, True),
    "string": ("a", "b", "", "c", "a", "d", "e"),
}


class _Mlflow(Protocol):
    """`serving.mlflow_protocol`, which takes seconds to import: nothing does before it is needed."""

    def load(self, folder: Path) -> "_Pyfunc": ...
    def wrap(self, folder: Path, predict: object) -> "_Pyfunc": ...
    def unchecked(self, model: "_Pyfunc") -> Callable[[Any], object]: ...
    def encode(self, value: object) -> object: ...
    def score(self, model: "_Pyfunc", content_type: str | None, body: bytes) -> Answer: ...
    def rows(self, model: "_Pyfunc", content_type: str, body: bytes, names: Sequence[str]) -> list[Row] | None: ...


class _Pyfunc(Protocol):
    def predict(self, data: object) -> object: ...
    def get_raw_model(self) -> object: ...


@runtime_checkable
class _Estimator(Protocol):
    def get_params(self) -> dict[str, object]: ...
    def set_params(self, **parameters: object) -> object: ...


@cache
def mlflow_protocol() -> _Mlflow:
    """MLflow's own way, imported at the first call."""
    return cast("_Mlflow", importlib.import_module("serving.mlflow_protocol"))


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
        metadata = cast("dict[str, Any]", self.metadata.get("metadata") or {})
        stored = cast("dict[str, tuple[float, float]]", metadata.get("feature_ranges") or {})
        return {name: (float(least), float(largest)) for name, (least, largest) in stored.items()}

    def left_to_mlflow(self, content_type: str | None, body: bytes) -> Answer:
        """The answer of MLflow's own functions to any request, a refusal included."""
        return mlflow_protocol().score(self._by_mlflow(), content_type, body)

    def rows_by_mlflow(self, content_type: str | None, body: bytes, names: Sequence[str]) -> list[Row] | None:
        """The columns of these names in a body that MLflow has answered; None where it is no such table."""
        return mlflow_protocol().rows(self._by_mlflow(), content_type or "", body, names) if names else None

    def _by_mlflow(self) -> _Pyfunc:
        with self._lock:
            self._pyfunc = self._pyfunc or self.make_pyfunc()
        return self._pyfunc


def load(folder: Path, title: str, *, pickles: bool = True) -> Model:
    """The model in the folder. With `pickles` it may hold pickled objects, which run code when they are loaded.

    Raises:
        ServingError: it cannot be loaded.
    """
    if not (folder / "MLmodel").is_file():
        raise ServingError(f"{folder} holds no model; run `python -m serving.fetch` first, with the same MODEL_DIR")
    try:
        metadata = cast("dict[str, Any]", yaml.safe_load((folder / "MLmodel").read_text()))
        return _one_object(folder, metadata) if pickles and _is_one_object(metadata) else _any(folder, metadata)
    except Exception as error:
        raise ServingError(
            f"{title} cannot be loaded: {_line(error)}; serve another version, or an image with the packages that "
            f"{folder / 'requirements.txt'} names"
        ) from error


def _is_one_object(metadata: Mapping[str, Any]) -> bool:
    """Nothing but one object of scikit-learn's, LightGBM's or XGBoost's, without code of its own."""
    function = metadata["flavors"]["python_function"]
    flavor = metadata["flavors"].get(FLAVORS.get(function["loader_module"]), {})
    return (
        bool(flavor)
        and not function.get("code")
        and not flavor.get("code")
        and function.get("predict_fn", "predict") in METHODS
        and (
            saves_itself(flavor.get("model_class", ""))
            or flavor.get("serialization_format") in {"skops", "cloudpickle", "pickle"}
        )
    )


def _restored(folder: Path, flavor: Mapping[str, Any]) -> object:
    """The object, as MLflow restores it."""
    file = folder / flavor.get("pickled_model", flavor.get("data", ""))
    if saves_itself(kind := flavor.get("model_class", "")):
        return restored(kind, file)
    if flavor["serialization_format"] == "skops":
        return importlib.import_module("skops.io").load(file, trusted=flavor.get("skops_trusted_types"))
    return cast("object", pickle.loads(file.read_bytes()))  # what cloudpickle wrote, too


def _one_object(folder: Path, metadata: Mapping[str, Any]) -> Model:
    """Without MLflow, as long as nobody asks for what only MLflow can say."""
    function = metadata["flavors"]["python_function"]
    estimator = _restored(folder, metadata["flavors"][FLAVORS[function["loader_module"]]])
    predict_in_one_thread(estimator)
    name: str = function.get("predict_fn", "predict")
    method = predicting(estimator, name)
    signature = read_signature(metadata)
    forms = forms_of(signature, rows_alone=True)
    ways: list[Rows] = []
    if signature and forms:
        ways = [on_frames(method, signature)]
        apart = taken_apart(estimator, name, signature)
        if apart and agree(apart, ways[0], _probes(folder, forms, signature)):
            ways.insert(0, apart)
    return Model(
        forms=forms,
        ways=ways,
        together=len(ways) > 1,
        signature=signature,
        metadata=metadata,
        make_pyfunc=lambda: mlflow_protocol().wrap(folder, method),
    )


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
    except NotImplementedError:
        return None  # not every flavour has something underneath


def predict_in_one_thread(estimator: object) -> None:
    """Requests run side by side; threads inside one of them would only wait for each other."""
    if isinstance(estimator, _Estimator):
        estimator.set_params(**{name: 1 for name in estimator.get_params() if name.split("__")[-1] == "n_jobs"})


def _probes(folder: Path, forms: Forms, signature: Signature) -> list[Row]:
    example = folder / EXAMPLE
    known = forms.rows(example.read_bytes()) if example.is_file() else None
    return [*(known or []), *zip(*(PROBES[column.kind] for column in signature.columns), strict=True)]


def agree(quick: Rows, sure: Rows, rows: Sequence[Row]) -> bool:
    """Whether both give the same answers, to the last bit, to the rows one by one and all together."""
    try:
        for some in ([row] for row in rows):
            _compare(quick, sure, some, [1])
        _compare(quick, sure, rows, [len(rows)])
        _compare(quick, sure, rows, [2, len(rows) - 2])
    except Exception:
        LOG.warning("a quicker way is not taken", exc_info=True)
        return False
    return True


def _compare(quick: Rows, sure: Rows, rows: Sequence[Row], sizes: Sequence[int]) -> None:
    try:
        answers = quick(rows, sizes)
    except UnsureError:
        return  # it is the other's turn then
    if repr(answers) != repr(sure(rows, sizes)):
        raise ValueError("its answers are others")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
