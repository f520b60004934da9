"""Two models on the same rows: how much better one is, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.fit.metrics import CONFIDENCE, Estimate, Predictions, measure, resamples


@dataclass(frozen=True, kw_only=True)
class Scores:
    """A model's metrics on some rows, and how they differ from another's there (positive: it is better)."""

    rows: int
    rarer: int
    """Rows of the rarer label."""
    own: Mapping[str, Estimate]
    other: Mapping[str, Estimate]
    """Empty, like `difference`, when there is no other model."""
    difference: Mapping[str, Estimate]


def compare(own: Predictions, other: Predictions | None, *, samples: int, seed: int) -> Scores:
    """Each metric with its 95 % interval, and its difference with the interval of paired samples.

    Paired: both models are measured on the same resampled rows, so that what makes those rows easy or hard for both
    does not widen the interval.
    """
    models = [own] if other is None else [own, other]
    drawn = [
        np.array([[*measure(model, weights).values()] for model in models])
        for weights in resamples(len(own.truth), seed, samples)
    ]
    values = np.array([[*measure(model).values()] for model in models])
    # A sample without one of the labels has no such metric; they are left out, as if it had not been drawn.
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    names = [*measure(own)]
    stacked = np.stack(drawn)
    positives = int(own.truth.sum())
    return Scores(
        rows=len(own.truth),
        rarer=min(positives, len(own.truth) - positives),
        own=_estimates(names, values[0], stacked[:, 0], tails),
        other=_estimates(names, values[1], stacked[:, 1], tails) if other else {},
        difference=_estimates(names, values[0] - values[1], stacked[:, 0] - stacked[:, 1], tails) if other else {},
    )


def _estimates(
    names: Sequence[str], values: NDArray[np.float64], drawn: NDArray[np.float64], tails: Sequence[float]
) -> dict[str, Estimate]:
    low, high = (np.array([_quantile(column, tail) for column in drawn.T]) for tail in tails)
    return {
        name: Estimate(value=float(values[place]), low=float(low[place]), high=float(high[place]))
        for place, name in enumerate(names)
    }


def _quantile(drawn: NDArray[np.float64], tail: float) -> float:
    known = drawn[~np.isnan(drawn)]
    return float(np.quantile(known, tail)) if len(known) else float("nan")
