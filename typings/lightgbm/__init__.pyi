# What we use of LightGBM, whose own types are partly unknown. Add a line here when you use more of it.
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import pandas as pd
from lightgbm import basic as basic
from numpy.typing import NDArray

class LGBMClassifier:
    best_iteration_: int
    def __init__(
        self,
        *,
        n_estimators: int,
        device_type: Literal["cpu", "gpu"] = "cpu",
        verbosity: int,
        learning_rate: float = 0.1,
        num_leaves: int = 31,
        min_child_samples: int = 20,
        random_state: int | None = None,
        deterministic: bool = False,
    ) -> None: ...
    def fit(
        self,
        X: NDArray[Any],
        y: NDArray[Any] | pd.Series[str],
        *,
        eval_X: NDArray[Any] | None = None,
        eval_y: pd.Series[int] | None = None,
        categorical_feature: Sequence[int] | Literal["auto"] = "auto",
        callbacks: Sequence[Callable[..., object]] | None = None,
    ) -> Self: ...
    def set_params(self, **params: object) -> Self: ...

class LGBMRegressor:
    def __init__(
        self,
        *,
        objective: Literal["regression", "quantile"] = "regression",
        alpha: float = 0.9,
        n_estimators: int,
        learning_rate: float = 0.1,
        num_leaves: int = 31,
        random_state: int | None = None,
        deterministic: bool = False,
        verbosity: int,
    ) -> None: ...

def early_stopping(stopping_rounds: int, *, verbose: bool) -> Callable[..., object]: ...

class Dataset:
    def __init__(self, data: NDArray[Any], label: NDArray[Any]) -> None: ...

class Booster:
    def feature_importance(self, importance_type: Literal["split", "gain"]) -> NDArray[Any]: ...
    def predict(self, data: NDArray[Any]) -> NDArray[Any]: ...

def train(params: Mapping[str, object], train_set: Dataset, num_boost_round: int) -> Booster: ...
