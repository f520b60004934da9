"""Tasks of a model project and the metrics of each, which training, the stack file and the preview share."""

from collections.abc import Mapping
from typing import Literal, get_args

Task = Literal["binary", "multiclass", "regression"]
"""Task of a project: to predict one of two labels, one of several labels, or a number."""
TASKS: tuple[Task, ...] = get_args(Task)
METRICS: Mapping[Task, tuple[str, ...]] = {
    "binary": ("accuracy", "f1", "roc_auc"),
    "multiclass": ("accuracy", "f1_macro", "roc_auc_ovr"),
    "regression": ("mae", "r2", "rmse"),
}
"""Metrics that are computed for every model of a task, with the names that scikit-learn gives them."""
RANKED: Mapping[Task, str] = {"binary": "roc_auc", "multiclass": "roc_auc_ovr", "regression": "r2"}
"""Metric of each task that measures how much a feature matters, from 0 or below to 1."""
ERRORS = frozenset({"mae", "rmse"})
"""Metrics in the unit of the target, from 0 up: the smaller, the better. All other metrics are better when larger."""


def better(name: str) -> str:
    """Return the metric's name, and which side is better unless larger is, for a table that a person reads."""
    return f"{name} (smaller is better)" if name in ERRORS else name
