"""Truth and predictions of some rows, with the metrics of their task. Each class stands for one task."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.project import Metric, Predicted

ROWS_DRAWN = 20_000
"""Largest number of rows that `groups` returns for a task whose rows cannot be counted together."""
STEPS = 1_000
"""Largest number of distinct probabilities that `groups` keeps."""


@dataclass(frozen=True, kw_only=True)
class Predictions(ABC):
    """Truth and predictions of some rows, in the order of the rows."""

    truth: NDArray[Any]
    """Target of each row."""
    predicted: NDArray[Any]
    """Prediction for each row, in the form of `truth`."""
    weights: NDArray[np.float64] | None = None
    """Weight of each row in each metric; None if all rows count alike. Default: None."""
    own: Mapping[str, Metric] = field(default_factory=dict[str, Metric])
    """Metrics of the project's own."""
    table: pd.DataFrame | None = None
    """Declared columns of the rows, for metrics of the project's own; None without such metrics."""

    def __len__(self) -> int:
        return len(self.truth)

    @property
    @abstractmethod
    def outputs(self) -> NDArray[np.float64]:
        """Probabilities or predicted numbers, in which two models differ."""

    def only(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """Return the predictions of the selected rows: those that are True in a mask, or those with these indices."""
        parts: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        chosen: dict[str, Any] = {name: part[rows] for name, part in parts.items() if isinstance(part, np.ndarray)}
        if self.table is not None:
            indices = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
            chosen["table"] = self.table.take(indices).reset_index(drop=True)
        return replace(self, **chosen)

    def measure(self, counts: NDArray[Any] | None = None) -> dict[str, float]:
        """Return the metrics of the task and the project's own; nan if undefined.

        `counts` holds how often each row occurs.
        """
        weights = np.ones(len(self)) if counts is None else counts
        weights = weights if self.weights is None else weights * self.weights
        found = self.measure_task(weights)
        if self.own:
            drawn = self if counts is None else self.only(np.repeat(np.arange(len(self)), counts))
            found |= {name: drawn.measure_own(metric) for name, metric in self.own.items()}
        return found

    @abstractmethod
    def measure_task(self, weights: NDArray[Any]) -> dict[str, float]:
        """Return the metrics of the task; nan if undefined. `weights` holds how much each row counts."""

    def measure_own(self, metric: Metric, *, strict: bool = False) -> float:
        """Return a metric of the project's own; nan if its function fails, or its error if `strict`."""
        if self.table is None:
            raise TypeError("own metrics need the table")
        rows = Predicted(
            table=self.table,
            truth=self.truth,
            predicted=self.predicted,
            probabilities=self.scores,
            weights=np.ones(len(self)) if self.weights is None else self.weights,
        )
        try:
            return float(metric.measure(rows))
        except Exception:
            if strict:
                raise
            return math.nan  # some rows may lack a label

    @property
    def scores(self) -> NDArray[np.float64]:
        """Probabilities that a metric of the project's own gets; empty if the task has none."""
        return np.array([])

    @property
    def rarer(self) -> int:
        """Number of rows with the rarest label, 0 if all rows have the same one; all rows if there are no labels."""
        return len(self)

    @property
    def is_constant(self) -> bool:
        """True if all rows have the same truth, so that nothing can be measured."""
        return len(pd.unique(pd.Series(self.truth))) < 2

    def groups(self) -> tuple["Predictions", NDArray[np.intp]]:
        """Return rows that stand for all of these, at most 20,000, and how many times each counts."""
        every = -(-len(self) // ROWS_DRAWN) or 1
        part = self.only(np.arange(len(self)) % every == 0) if every > 1 else self
        return part, np.ones(len(part), dtype=np.intp)


@dataclass(frozen=True, kw_only=True)
class BinaryPredictions(Predictions):
    """Predictions of one of two labels."""

    truth: NDArray[np.bool_]
    """True if the row has the label of interest, the last one of the target."""
    predicted: NDArray[np.bool_]
    """True if the model predicts the label of interest, the last one of the target."""
    probability: NDArray[np.float64]
    """Probability of the label of interest according to the model, 0 to 1."""

    @cached_property
    def rank(self) -> NDArray[np.intp]:
        """Rank of each row's probability among the distinct probabilities, from 0."""
        return np.unique(self.probability, return_inverse=True)[1]

    def measure_task(self, weights: NDArray[Any]) -> dict[str, float]:
        """Return accuracy, f1 and roc_auc, 0 to 1; nan if undefined. `weights` holds how much each row counts."""
        truth, predicted = self.truth, self.predicted
        right, hits = float(weights @ (truth == predicted)), float(weights @ (truth & predicted))
        wrong = float(weights.sum()) - right
        return {
            "accuracy": _ratio(right, right + wrong),
            "f1": _ratio(2 * hits, 2 * hits + wrong),
            "roc_auc": _area(self.rank, truth, weights),
        }

    @property
    def rarer(self) -> int:
        """Number of rows with the rarest label."""
        positives = int(self.truth.sum())
        return min(positives, len(self) - positives)

    @property
    def outputs(self) -> NDArray[np.float64]:
        """Probability of the label of interest."""
        return self.probability

    @property
    def scores(self) -> NDArray[np.float64]:
        """Probability of the label of interest."""
        return self.probability

    def groups(self) -> tuple[Predictions, NDArray[np.intp]]:
        """Return one row for each group of rows that count alike in every metric, and the size of each group.

        If there are more than 1,000 probabilities, each thousandth of the rows shares one, which changes roc_auc by at
        most 0.0005. With weights or own metrics, no two rows count alike, and at most 20,000 rows are returned.
        """
        if self.own or self.weights is not None:
            return super().groups()
        occurring = np.bincount(self.rank)
        step = np.arange(len(occurring))
        if len(step) > STEPS:
            step = (np.cumsum(occurring) - 1) * STEPS // len(self.rank)
        code, counts = np.unique(4 * step[self.rank] + 2 * self.truth + self.predicted, return_counts=True)
        alike = BinaryPredictions(
            truth=code // 2 % 2 == 1, predicted=code % 2 == 1, probability=(code // 4).astype(float)
        )
        return alike, counts


@dataclass(frozen=True, kw_only=True)
class MulticlassPredictions(Predictions):
    """Predictions of one of several labels. A label is its place among the labels of the target."""

    truth: NDArray[np.intp]
    """Label of each row."""
    predicted: NDArray[np.intp]
    """Label that the model predicts for each row."""
    probabilities: NDArray[np.float64]
    """Probability of each label according to the model, 0 to 1, one row for each row and one column for each label."""

    @property
    def confusion(self) -> NDArray[np.float64]:
        """Number of rows by label (first axis) and predicted label (second axis)."""
        return self._confusion(np.ones(len(self)))

    @cached_property
    def ranks(self) -> list[NDArray[np.intp]]:
        """Rank of each row's probability of a label among the distinct probabilities, from 0, for each label."""
        return [np.unique(column, return_inverse=True)[1] for column in self.probabilities.T]

    def measure_task(self, weights: NDArray[Any]) -> dict[str, float]:
        """Return accuracy, f1_macro and roc_auc_ovr, 0 to 1; nan if undefined.

        f1_macro and roc_auc_ovr (each label against the rest) are means over the labels that occur.
        """
        counts = self._confusion(weights)
        right, either = counts.diagonal(), counts.sum(axis=0) + counts.sum(axis=1)
        areas = [_area(rank, self.truth == label, weights) for label, rank in enumerate(self.ranks)]
        return {
            "accuracy": _ratio(float(right.sum()), float(counts.sum())),
            "f1_macro": _mean([_ratio(2 * float(hit), float(any_)) for hit, any_ in zip(right, either, strict=True)]),
            "roc_auc_ovr": _mean(areas),
        }

    @property
    def rarer(self) -> int:
        """Number of rows with the rarest label."""
        counts = np.bincount(self.truth)
        return 0 if self.is_constant else int(counts[counts > 0].min())

    @property
    def outputs(self) -> NDArray[np.float64]:
        """Probability of each label."""
        return self.probabilities

    @property
    def scores(self) -> NDArray[np.float64]:
        """Probability of each label."""
        return self.probabilities

    def _confusion(self, weights: NDArray[Any]) -> NDArray[np.float64]:
        labels = self.probabilities.shape[1]
        counts = np.bincount(labels * self.truth + self.predicted, weights, labels**2)
        return counts.astype(float).reshape(labels, labels)


@dataclass(frozen=True, kw_only=True)
class RegressionPredictions(Predictions):
    """Predictions of a number."""

    truth: NDArray[np.float64]
    """Value of the target in each row."""
    predicted: NDArray[np.float64]
    """Number that the model predicts for each row."""

    def measure_task(self, weights: NDArray[Any]) -> dict[str, float]:
        """Return mae and rmse, in the unit of the target, and r2, at most 1; nan if undefined."""
        rows, missed = float(weights.sum()), self.truth - self.predicted
        squares = float(weights @ missed**2)
        around = self.truth - _ratio(float(weights @ self.truth), rows)
        return {
            "mae": _ratio(float(weights @ np.abs(missed)), rows),
            "r2": 1 - _ratio(squares, float(weights @ around**2)),
            "rmse": math.sqrt(_ratio(squares, rows)),
        }

    @property
    def outputs(self) -> NDArray[np.float64]:
        """Predicted numbers."""
        return self.predicted


@dataclass(frozen=True, kw_only=True)
class CustomPredictions(Predictions):
    """Predictions of a task that only the project's own metrics measure."""

    def measure_task(self, weights: NDArray[Any]) -> dict[str, float]:
        """Return no metric."""
        del weights
        return {}

    @property
    def outputs(self) -> NDArray[np.float64]:
        """Predicted numbers; the place among the predicted texts, in alphabetical order, if they are no numbers."""
        is_number = self.predicted.dtype.kind in "fiub"
        numbers = self.predicted if is_number else np.unique(self.predicted, return_inverse=True)[1]
        return numbers.astype(np.float64)


def _area(rank: NDArray[np.intp], truth: NDArray[np.bool_], weights: NDArray[Any]) -> float:
    """Return the area under the ROC curve: the share of pairs in which the row that is true ranks higher."""
    positive, negative = np.bincount(rank, weights * truth), np.bincount(rank, weights * ~truth)
    # Half of the pairs in which both rank alike count, too.
    ordered = float(positive @ (np.cumsum(negative) - negative / 2))
    return _ratio(ordered, float(positive.sum() * negative.sum()))


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return _ratio(sum(known), len(known))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
