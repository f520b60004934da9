"""Truth and predictions of some rows, with the metrics of their task. Each class stands for one task."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

ROWS_DRAWN = 20_000
"""Largest number of rows that `groups` returns for a task whose rows cannot be counted together."""
STEPS = 1_000
"""Largest number of distinct probabilities that `groups` keeps."""


class Predictions(ABC):
    """Truth and predictions of some rows, in the order of the rows."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @property
    @abstractmethod
    def outputs(self) -> NDArray[np.float64]:
        """Probabilities or predicted numbers, in which two models differ."""

    @abstractmethod
    def only(self, rows: NDArray[np.bool_]) -> Self:
        """Return the predictions of the selected rows."""

    @abstractmethod
    def measure(self, weights: NDArray[Any] | None = None) -> dict[str, float]:
        """Return the metrics of the task; nan if undefined. `weights` holds how often each row counts."""

    @property
    @abstractmethod
    def rarer(self) -> int:
        """Number of rows with the rarest label, 0 if all rows have the same one; all rows for a regression."""

    @property
    @abstractmethod
    def is_constant(self) -> bool:
        """True if all rows have the same truth, so that nothing can be measured."""

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

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def rank(self) -> NDArray[np.intp]:
        """Rank of each row's probability among the distinct probabilities, from 0."""
        return np.unique(self.probability, return_inverse=True)[1]

    def only(self, rows: NDArray[np.bool_]) -> "BinaryPredictions":
        """Return the predictions of the selected rows."""
        return BinaryPredictions(
            truth=self.truth[rows], predicted=self.predicted[rows], probability=self.probability[rows]
        )

    def measure(self, weights: NDArray[Any] | None = None) -> dict[str, float]:
        """Return accuracy, f1 and roc_auc, 0 to 1; nan if undefined. `weights` holds how often each row counts."""
        truth, predicted = self.truth, self.predicted
        weights = np.ones(len(truth)) if weights is None else weights
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
    def is_constant(self) -> bool:
        """True if all rows have the same truth."""
        return not self.rarer

    @property
    def outputs(self) -> NDArray[np.float64]:
        """Probability of the label of interest."""
        return self.probability

    def groups(self) -> tuple["BinaryPredictions", NDArray[np.intp]]:
        """Return one row for each group of rows that count alike in every metric, and the size of each group.

        If there are more than 1,000 probabilities, each thousandth of the rows shares one, which changes roc_auc by at
        most 0.0005.
        """
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

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def confusion(self) -> NDArray[np.float64]:
        """Number of rows by label (first axis) and predicted label (second axis)."""
        return self._confusion(np.ones(len(self)))

    @cached_property
    def ranks(self) -> list[NDArray[np.intp]]:
        """Rank of each row's probability of a label among the distinct probabilities, from 0, for each label."""
        return [np.unique(column, return_inverse=True)[1] for column in self.probabilities.T]

    def only(self, rows: NDArray[np.bool_]) -> "MulticlassPredictions":
        """Return the predictions of the selected rows."""
        return MulticlassPredictions(
            truth=self.truth[rows], predicted=self.predicted[rows], probabilities=self.probabilities[rows]
        )

    def measure(self, weights: NDArray[Any] | None = None) -> dict[str, float]:
        """Return accuracy, f1_macro and roc_auc_ovr, 0 to 1; nan if undefined.

        f1_macro and roc_auc_ovr (each label against the rest) are means over the labels that occur.
        """
        weights = np.ones(len(self)) if weights is None else weights
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
    def is_constant(self) -> bool:
        """True if all rows have the same truth."""
        return len(np.unique(self.truth)) < 2

    @property
    def outputs(self) -> NDArray[np.float64]:
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

    def __len__(self) -> int:
        return len(self.truth)

    def only(self, rows: NDArray[np.bool_]) -> "RegressionPredictions":
        """Return the predictions of the selected rows."""
        return RegressionPredictions(truth=self.truth[rows], predicted=self.predicted[rows])

    def measure(self, weights: NDArray[Any] | None = None) -> dict[str, float]:
        """Return mae and rmse, in the unit of the target, and r2, at most 1; nan if undefined."""
        weights = np.ones(len(self)) if weights is None else weights
        rows, missed = float(weights.sum()), self.truth - self.predicted
        squares = float(weights @ missed**2)
        around = self.truth - _ratio(float(weights @ self.truth), rows)
        return {
            "mae": _ratio(float(weights @ np.abs(missed)), rows),
            "r2": 1 - _ratio(squares, float(weights @ around**2)),
            "rmse": math.sqrt(_ratio(squares, rows)),
        }

    @property
    def rarer(self) -> int:
        """Number of all rows."""
        return len(self)

    @property
    def is_constant(self) -> bool:
        """True if all rows have the same truth."""
        return bool((self.truth == self.truth[0]).all())

    @property
    def outputs(self) -> NDArray[np.float64]:
        """Predicted numbers."""
        return self.predicted


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
