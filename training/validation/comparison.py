"""Compares the metrics of two models on the same rows, with bootstrap intervals."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.tasks import ERRORS, SHARES
from training.fit.metrics import CONFIDENCE, Estimate, resamples
from training.fit.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Metrics of a model and, if there is one, of another model on the same rows."""

    rows: int
    """Number of rows."""
    rarer: int
    """Number of rows with the rarest label; all rows for a regression."""
    own: Mapping[str, Estimate]
    """Metrics of the model."""
    other: Mapping[str, Estimate]
    """Metrics of the other model; empty if there is none."""
    difference: Mapping[str, Estimate]
    """Advantage of the model, positive if it is better; empty if there is no other model. It is `own` minus `other`, or
    `other` minus `own` for metrics that are better when smaller."""
    smaller: tuple[str, ...] = tuple(sorted(ERRORS))
    """Names of the metrics that are better when smaller."""


def compare(own: Predictions, other: Predictions | None, *, samples: int, seed: int) -> Scores:
    """Return each metric with its 95 % interval, and each difference with an interval from paired samples.

    Both models are measured on the same bootstrap samples. So rows that are hard for both do not widen the interval of
    the difference.
    """
    models = [own] if other is None else [own, other]
    drawn = [
        np.array([[*model.measure(weights).values()] for model in models])
        for weights in resamples(len(own), seed, samples)
    ]
    values = np.array([[*model.measure().values()] for model in models])
    # A metric is undefined for a sample that lacks a label; `_quantile` leaves such values out.
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    names = [*own.measure()]
    smaller = ERRORS | {name for name, metric in own.own.items() if metric.better == "smaller"}
    sides = np.array([-1 if name in smaller else 1 for name in names])
    stacked = np.stack(drawn)
    return Scores(
        rows=len(own),
        rarer=own.rarer,
        own=_estimates(names, values[0], stacked[:, 0], tails),
        other=_estimates(names, values[1], stacked[:, 1], tails) if other else {},
        difference=_estimates(names, sides * (values[0] - values[1]), sides * (stacked[:, 0] - stacked[:, 1]), tails)
        if other
        else {},
        smaller=tuple(sorted(smaller)),
    )


def advantage(scores: Scores, name: str) -> Estimate:
    """Return the advantage in a metric, as a share of the other model's value unless the metric is at most 1 anyway."""
    difference = scores.difference[name]
    unit = 1 if name in SHARES else (abs(scores.other[name].value) or sys.float_info.min)
    return Estimate(value=difference.value / unit, low=difference.low / unit, high=difference.high / unit)


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
