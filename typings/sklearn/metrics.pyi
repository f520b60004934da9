from typing import Any, Literal

from numpy.typing import NDArray

def accuracy_score(
    y_true: NDArray[Any], y_pred: NDArray[Any], *, sample_weight: NDArray[Any] | None = None
) -> float: ...
def confusion_matrix(y_true: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[Any]: ...
def f1_score(
    y_true: NDArray[Any],
    y_pred: NDArray[Any],
    *,
    sample_weight: NDArray[Any] | None = None,
    pos_label: object = 1,
    average: Literal["binary", "macro"] = "binary",
) -> float: ...
def mean_absolute_error(
    y_true: NDArray[Any], y_pred: NDArray[Any], *, sample_weight: NDArray[Any] | None = None
) -> float: ...
def r2_score(y_true: NDArray[Any], y_pred: NDArray[Any], *, sample_weight: NDArray[Any] | None = None) -> float: ...
def roc_auc_score(
    y_true: NDArray[Any],
    y_score: NDArray[Any],
    *,
    sample_weight: NDArray[Any] | None = None,
    multi_class: Literal["raise", "ovr"] = "raise",
) -> float: ...
def root_mean_squared_error(
    y_true: NDArray[Any], y_pred: NDArray[Any], *, sample_weight: NDArray[Any] | None = None
) -> float: ...
