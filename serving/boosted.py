"""LightGBM's models on bare numbers: what their own `predict` gives for a table, without the table.

XGBoost's are left to `mlflow.pyfunc`: its package holds GPU libraries and is not in the image.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[Any]
# Parameters that LightGBM reads when it predicts, under all their names; its classes take any and name none of these.
PREDICTION = re.compile("pred|iteration|raw_score|leaf_index|contrib")
REGRESSIONS = frozenset({"LGBMRanker", "LGBMRegressor"})


class _Booster(Protocol):
    pandas_categorical: list[list[object]] | None

    def num_feature(self) -> int: ...
    def predict(self, data: Matrix, *, num_threads: int) -> Matrix: ...


def boosted(model: object, method: str) -> tuple[int, Callable[[Matrix], Matrix]] | None:
    """How many numbers the model takes in a row, and its `method` on a float64 matrix of them; None for other models.

    Each row is answered by itself, in one thread; NaN is a missing number.
    """
    kind = type(model)
    if kind.__module__ not in {"lightgbm.basic", "lightgbm.sklearn"}:
        return None
    booster = _booster(model)
    # Words of a pandas column are numbers only to a table.
    if booster is None or booster.pandas_categorical:
        return None
    decide = _decide(model, method)
    if decide is None:
        return None

    def answer(matrix: Matrix) -> Matrix:
        return decide(booster.predict(matrix, num_threads=1))

    return booster.num_feature(), answer


def _booster(model: object) -> "_Booster | None":
    """What predicts, or None where more than its trees decides."""
    if type(model).__name__ == "Booster":
        return cast("_Booster", model)
    fitted = cast("Any", model)
    more = set(fitted.get_params()) - set(inspect.signature(type(model)).parameters)
    decides = callable(fitted.objective) or any(PREDICTION.search(name) for name in more)
    return None if decides else cast("_Booster", fitted.booster_)


def _decide(model: object, method: str) -> Callable[[Matrix], Matrix] | None:
    kind = type(model).__name__
    if kind == "Booster" or kind in REGRESSIONS:
        return _as_said if method == "predict" else None
    if kind != "LGBMClassifier":
        return None
    classes: Matrix = cast("Any", model).classes_
    shares = _both if len(classes) == 2 else _as_said
    if method == "predict":
        return lambda said: classes.take(shares(said).argmax(axis=1))
    return shares if method == "predict_proba" else None


def _as_said(said: Matrix) -> Matrix:
    return said


def _both(positive: Matrix) -> Matrix:
    return np.stack([1.0 - positive, positive], axis=1)
