"""Fast prediction for LightGBM and XGBoost models, with their own predict functions but without a pandas table."""

import importlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from model_server.predict.fast.known import known

Matrix: TypeAlias = NDArray[Any]
Predict: TypeAlias = Callable[[Matrix], Matrix]
REGRESSIONS = frozenset({"LGBMRanker", "LGBMRegressor"})
BOOSTER = "lightgbm.basic.Booster"
LIGHTGBM = frozenset({"lightgbm.basic", "lightgbm.sklearn"})
XGBOOST = frozenset({"xgboost.core", "xgboost.sklearn"})
SHOWN = 20  # trees whose thresholds are read
CATEGORY = "c"
"""XGBoost's type for a feature that was a categorical pandas column."""


@dataclass(frozen=True, kw_only=True)
class Boosted:
    """A boosted model that takes `width` numbers for each row, in columns called `names` if these are not None.

    `predict` takes a float64 matrix and predicts each row independently, in one thread. NaN is a missing value.
    """

    width: int
    names: Sequence[str] | None
    predict: Predict


class _Booster(Protocol):
    pandas_categorical: list[list[object]] | None

    def num_feature(self) -> int: ...
    def predict(self, data: Matrix, *, num_threads: int) -> Matrix: ...


def boosted(model: object, method: str) -> Boosted | None:
    """Return the model's `method`, or None for other models and for models that encode categories themselves."""
    if not known(model):
        return None
    module = type(model).__module__
    if module in LIGHTGBM:
        return _lightgbm(model, method)
    return _xgboost(model, method) if module in XGBOOST else None


def has_native_format(kind: str) -> bool:
    """Return whether MLflow saves a model of this class in the library's own file format, without pickle."""
    return kind == BOOSTER or kind.rpartition(".")[0] in XGBOOST


def load_native(kind: str, file: object) -> object:
    """Load a model of class `kind` from a file in the library's own format."""
    module, _, name = kind.rpartition(".")
    model_class = getattr(importlib.import_module(module), name)
    if kind == BOOSTER:
        return model_class(model_file=file)
    model = model_class()
    model.load_model(file)
    return model


def predict_function(model: object, method: str, *, by_name: bool = True) -> Callable[[Any], object]:
    """Return the model's `method` for a table, or for a matrix if its columns need not match `by_name`.

    XGBoost's plain boosters accept only a DMatrix, so the function converts its argument.
    """
    if type(model).__module__ in XGBOOST and type(model).__name__ == "Booster":
        xgboost = importlib.import_module("xgboost")
        return lambda data: cast("Any", model).predict(xgboost.DMatrix(data), validate_features=by_name)
    return cast("Callable[[Any], object]", getattr(model, method))


def _booster(model: object) -> object:
    """Return the booster of a LightGBM or XGBoost model, which may be the booster itself."""
    if type(model).__name__ == "Booster":
        return model
    fitted = cast("Any", model)
    return fitted.get_booster() if hasattr(model, "get_booster") else fitted.booster_


def thresholds(model: object) -> list[tuple[int, float]]:
    """Return split thresholds of the first trees, each with the index of its feature."""
    booster = cast("Any", _booster(model))
    if type(model).__module__ in LIGHTGBM:
        shown = booster.model_to_string(num_iteration=SHOWN)
        fields = re.findall(r"^(?:split_feature|threshold)=(.*)$", shown, re.MULTILINE)
        features, numbers = (" ".join(fields[start::2]).split() for start in (0, 1))
        return [(int(feature), float(number)) for feature, number in zip(features, numbers, strict=True)]
    first = booster[: min(SHOWN, booster.num_boosted_rounds())]
    grown = json.loads(first.save_raw(raw_format="json"))["learner"]["gradient_booster"]
    trees = grown.get("gbtree", grown)["model"]["trees"]
    return [
        (feature, number)
        for tree in trees
        for left, feature, number in zip(
            tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True
        )
        if left >= 0
    ]


def _xgboost(model: object, method: str) -> Boosted | None:
    # XGBoost's scikit-learn interface does more than its booster: labels, the best iteration.
    booster = cast("Any", _booster(model))
    if CATEGORY in (booster.feature_types or ()) or not hasattr(model, method):
        return None
    booster.set_param({"nthread": 1})
    predict = cast("Predict", predict_function(model, method, by_name=False))
    return Boosted(width=booster.num_features(), names=booster.feature_names, predict=predict)


def _lightgbm(model: object, method: str) -> Boosted | None:
    booster, decide = cast("_Booster", _booster(model)), _decide(model, method)
    if booster.pandas_categorical or decide is None:
        return None

    def predict(matrix: Matrix) -> Matrix:
        return decide(booster.predict(matrix, num_threads=1))

    # LightGBM uses the position of a column, not its name.
    return Boosted(width=booster.num_feature(), names=None, predict=predict)


def _decide(model: object, method: str) -> Predict | None:
    kind = type(model).__name__
    if kind == "Booster" or kind in REGRESSIONS:
        return _unchanged if method == "predict" else None
    if kind != "LGBMClassifier":
        return None
    classes: Matrix = cast("Any", model).classes_
    shares = _both if len(classes) == 2 else _unchanged
    if method == "predict":
        return lambda scores: classes.take(shares(scores).argmax(axis=1))
    return shares if method == "predict_proba" else None


def _unchanged(scores: Matrix) -> Matrix:
    return scores


def _both(positive: Matrix) -> Matrix:
    return np.stack([1.0 - positive, positive], axis=1)
