"""Metrics of a binary classifier on rows that it has not seen, with bootstrap intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.project import Classifier, Project

NAMES = ("accuracy", "f1", "roc_auc")
"""Metrics that are computed for every model."""
RESAMPLES = 200
"""Bootstrap samples of one estimate."""
CONFIDENCE = 0.95
"""Share of the bootstrap samples that lie inside an interval."""
ROWS_PREDICTED = 10_000
"""Largest number of rows for which `predict` is called, in addition to `predict_proba`."""
STEPS = 1_000
"""Largest number of distinct probabilities that `estimate` keeps."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Labels and predictions of some rows, in the order of the rows."""

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

    def only(self, rows: NDArray[np.bool_]) -> "Predictions":
        """Return the predictions of the selected rows."""
        return Predictions(truth=self.truth[rows], predicted=self.predicted[rows], probability=self.probability[rows])


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric with its 95 % bootstrap interval."""

    value: float
    """Value of the metric, from 0 to 1, or of a difference of two, from -1 to 1."""
    low: float
    """Lower bound of the interval."""
    high: float
    """Upper bound of the interval."""

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def predict(
    project: Project[Any], model: Classifier, table: pd.DataFrame, columns: Sequence[str] | None = None
) -> Predictions:
    """Return the model's predictions for the rows of a checked table.

    `columns` are the columns that the model takes, by default those of the project. If there are more than 10,000 rows,
    `predict` is called for 10,000 of them, because a call for all doubles the time. If it returns the likelier label
    for each, all rows get the likelier label; then less than 1 row in 3,000 is wrong (with 95 % confidence).
    """
    features, interesting = table[list(project.features if columns is None else columns)], project.target.labels[-1]
    every = -(-len(table) // ROWS_PREDICTED)
    probabilities, labels = model.predict_proba(features), model.predict(features.iloc[::every])
    if every > 1:
        likelier = model.classes_[probabilities.argmax(axis=1)]
        labels = likelier if np.array_equal(labels, likelier[::every]) else model.predict(features)
    return Predictions(
        truth=(table[project.target.name] == interesting).to_numpy(),
        predicted=labels == interesting,
        probability=probabilities[:, list(model.classes_).index(interesting)],
    )


def measure(predictions: Predictions, weights: NDArray[Any] | None = None) -> dict[str, float]:
    """Return accuracy, f1 and roc_auc, 0 to 1; nan if undefined. `weights` holds how often each row counts."""
    truth, predicted = predictions.truth, predictions.predicted
    weights = np.ones(len(truth)) if weights is None else weights
    right, hits = float(weights @ (truth == predicted)), float(weights @ (truth & predicted))
    wrong = float(weights.sum()) - right
    positive = np.bincount(predictions.rank, weights * truth)
    negative = np.bincount(predictions.rank, weights * ~truth)
    # Pairs of a positive and a negative row in which the positive ranks higher, half of those in which they tie
    ordered = float(positive @ (np.cumsum(negative) - negative / 2))
    return {
        "accuracy": _ratio(right, right + wrong),
        "f1": _ratio(2 * hits, 2 * hits + wrong),
        "roc_auc": _ratio(ordered, float(positive.sum() * negative.sum())),
    }


def resamples(rows: int, seed: int, count: int = RESAMPLES) -> Iterator[NDArray[np.intp]]:
    """Yield `count` bootstrap samples of `rows` rows: for each row, how often the sample contains it.

    Two models measured with the same samples give a paired interval of their difference.
    """
    chance = np.random.default_rng(seed)
    for _ in range(count):
        yield np.bincount(chance.integers(rows, size=rows), minlength=rows)


def estimate(predictions: Predictions, seed: int) -> Mapping[str, Estimate]:
    """Return each metric with its bootstrap interval, at a cost that hardly grows with the number of rows.

    Rows with the same label, prediction and probability form a group, and a sample draws a count for each group. If
    there are more than 1,000 probabilities, each thousandth of the rows shares one, which changes roc_auc by at most
    0.0005. The interval is moved to the exact value.
    """
    values, (groups, counts) = measure(predictions), _groups(predictions)
    rows = len(predictions.truth)
    samples = np.random.default_rng(seed).multinomial(rows, counts / rows, RESAMPLES)
    drawn = pd.DataFrame([measure(groups, weights) for weights in samples]) - pd.Series(measure(groups, counts))
    low, high = (drawn.quantile(tail) for tail in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return {
        name: Estimate(value=value, low=value + float(low[name]), high=value + float(high[name]))
        for name, value in values.items()
    }


def _groups(predictions: Predictions) -> tuple[Predictions, NDArray[np.intp]]:
    """Return one row for each group of rows that count alike in every metric, and the size of each group."""
    occurring = np.bincount(predictions.rank)
    step = np.arange(len(occurring))
    if len(step) > STEPS:
        step = (np.cumsum(occurring) - 1) * STEPS // len(predictions.rank)
    code, counts = np.unique(
        4 * step[predictions.rank] + 2 * predictions.truth + predictions.predicted, return_counts=True
    )
    alike = Predictions(truth=code // 2 % 2 == 1, predicted=code % 2 == 1, probability=(code // 4).astype(float))
    return alike, counts


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
