"""Tasks of a model project and the metrics of each, which training, the stack file and the preview share."""

import json
from collections.abc import Collection, Mapping
from typing import Literal, cast, get_args

Task = Literal["binary", "multiclass", "regression", "custom"]
"""Task of a project: to predict one of two labels, one of several labels, a number, or something else, which only the
project's own metrics measure."""
TASKS: tuple[Task, ...] = get_args(Task)
METRICS: Mapping[Task, tuple[str, ...]] = {
    "binary": ("accuracy", "f1", "roc_auc"),
    "multiclass": ("accuracy", "f1_macro", "roc_auc_ovr"),
    "regression": ("mae", "r2", "rmse"),
    "custom": (),
}
"""Metrics that are computed for every model of a task, with the names that scikit-learn gives them."""
RANKED: Mapping[Task, str] = {"binary": "roc_auc", "multiclass": "roc_auc_ovr", "regression": "r2"}
"""Metric of each task that measures how much a feature matters, from 0 or below to 1. A custom task has none."""
ERRORS = frozenset({"mae", "rmse"})
"""Metrics of the tasks that are better when smaller. They have the unit of the target, from 0 up."""
SHARES = frozenset(name for names in METRICS.values() for name in names) - ERRORS
"""Metrics that are at most 1. A loss in any other metric counts as a share of the champion's value."""
Side = Literal["larger", "smaller"]
"""Side on which a metric is better."""


def sides(text: str) -> Mapping[str, Side]:
    """Return the metrics in the tag `own_metrics` of a version, with their sides; empty if it is no such tag."""
    try:
        found: object = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    items = cast("dict[str, object]", found).items() if isinstance(found, dict) else ()
    return {name: cast("Side", side) for name, side in items if side in get_args(Side)}


def better(name: str, smaller: Collection[str] = ERRORS) -> str:
    """Return the metric's name, and which side is better unless larger is, for a table that a person reads.

    `smaller` has the names of the metrics that are better when smaller.
    """
    return f"{name} (smaller is better)" if name in smaller else name
