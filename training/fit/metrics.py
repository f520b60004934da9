"""How well a model tells the two labels apart on rows it has not seen, and how sure that is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.project import Classifier, Project

NAMES = ("accuracy", "f1", "roc_auc")
"""What is measured of every model."""
RESAMPLES = 200
CONFIDENCE = 0.95
ROWS_ASKED = 10_000
STEPS = 1_000


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model says of some rows, and what is true, in the order of the rows."""

    truth: NDArray[np.bool_]
    """The row has the label of interest."""
    predicted: NDArray[np.bool_]
    probability: NDArray[np.float64]
    """That the row has the label of interest, as the model sees it."""

    @cached_property
    def rank(self) -> NDArray[np.intp]:
        """Where each probability stands among those that occur, from 0."""
        return np.unique(self.probability, return_inverse=True)[1]

    def only(self, rows: NDArray[np.bool_]) -> "Predictions":
        """Those of some of the rows."""
        return Predictions(truth=self.truth[rows], predicted=self.predicted[rows], probability=self.probability[rows])


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric, 0 to 1, and the interval that holds it in 95 of 100 samples of as many rows."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def predict(
    project: Project[Any], model: Classifier, table: pd.DataFrame, columns: Sequence[str] | None = None
) -> Predictions:
    """What a model that takes these columns (the project's, unless told) says of the rows of a checked table.

    Of more than 10,000 rows the label is the likelier one, if `predict` says the same of 10,000 of them: to ask it of
    all would double the time. Should it do so by chance, then less than 1 row in 3,000 differs (with 95 % confidence).
    """
    features, interesting = table[list(project.features if columns is None else columns)], project.target.labels[-1]
    every = -(-len(table) // ROWS_ASKED)
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
    """accuracy, f1 and roc_auc, each 0 to 1, nan where one label is all; `weights` says how often a row counts."""
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
    """The bootstrap: how often each row is in a sample of as many rows, `count` times.

    Two models measured on the same rows with the same weights give a paired interval of their difference.
    """
    chance = np.random.default_rng(seed)
    for _ in range(count):
        yield np.bincount(chance.integers(rows, size=rows), minlength=rows)


def estimate(predictions: Predictions, seed: int) -> Mapping[str, Estimate]:
    """Every metric with its interval, by the bootstrap of `resamples` at a cost that hardly grows with the rows.

    Rows with the same truth, label and probability are drawn together, as a number of them. Where more than 1,000
    probabilities occur, those of a thousandth of the rows are taken as one, which moves roc_auc by 0.0005 at most; the
    interval is put around the exact value.
    """
    values, (kinds, counts) = measure(predictions), _kinds(predictions)
    rows = len(predictions.truth)
    samples = np.random.default_rng(seed).multinomial(rows, counts / rows, RESAMPLES)
    drawn = pd.DataFrame([measure(kinds, weights) for weights in samples]) - pd.Series(measure(kinds, counts))
    low, high = (drawn.quantile(tail) for tail in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return {
        name: Estimate(value=value, low=value + float(low[name]), high=value + float(high[name]))
        for name, value in values.items()
    }


def _kinds(predictions: Predictions) -> tuple[Predictions, NDArray[np.intp]]:
    """One row for all that count alike in every metric, and how many they are."""
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
