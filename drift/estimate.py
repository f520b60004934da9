"""Estimate of a model's performance without labels, from its probabilities.

If the model's probabilities are calibrated, a row with probability 0.8 is positive in 8 of 10 cases, so the expected
ROC-AUC of a window is known before its labels are. The estimate follows shifts of the features. It cannot see that the
relation of features and label changed (concept drift): only outcomes show that.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drift.reference import Calibration

STEPS = 500
"""Number of steps to which probabilities are rounded."""
RESAMPLES = 200
"""Number of bootstrap samples, of whole blocks, of the interval."""
BLIND = "the estimate sees shifts of the features, and is blind to a changed relation of features and label"


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """Estimated ROC-AUC of a window, with a 95 % interval over its blocks."""

    roc_auc: float
    low: float
    high: float
    rows: int
    """Number of rows that it was estimated from."""


def estimate(
    calibration: Calibration, probability: NDArray[np.float64], block: NDArray[np.int64], seed: int = 0
) -> Estimated:
    """Return the estimate for rows with these probabilities of the label of interest."""
    step = np.clip((probability * STEPS).round().astype(int), 0, STEPS)
    used, place = np.unique(block, return_inverse=True)
    rows = np.bincount(place * (STEPS + 1) + step, minlength=len(used) * (STEPS + 1)).reshape(len(used), STEPS + 1)
    positive = calibrated(calibration, np.arange(STEPS + 1) / STEPS)
    whole = _area(rows.sum(axis=0), positive)
    chance = np.random.default_rng(seed)
    drawn = [_area(rows[chance.integers(len(used), size=len(used))].sum(axis=0), positive) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimated(roc_auc=whole, low=float(low), high=float(high), rows=len(probability))


def calibrated(calibration: Calibration, probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of positive rows to expect at each probability; it never falls as the probability rises."""
    shares = _rising(calibration.positives / calibration.rows, calibration.rows)
    return np.clip(np.interp(probability, calibration.probability, shares), 0, 1)


def _rising(shares: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the nearest sequence that does not fall (pool adjacent violators)."""
    pools: list[tuple[float, int, int]] = []
    for share, weight in zip(shares.tolist(), rows.tolist(), strict=True):
        pools.append((share, weight, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            last, before = pools.pop(), pools.pop()
            total = last[1] + before[1]
            mean = (last[0] * last[1] + before[0] * before[1]) / total
            pools.append((mean, total, last[2] + before[2]))
    return np.repeat([share for share, _, _ in pools], [width for _, _, width in pools])


def _area(rows: NDArray[np.int64], positive: NDArray[np.float64]) -> float:
    """Return the expected area under the ROC curve of rows at each step."""
    up, down = rows * positive, rows * (1 - positive)
    pairs = float(up.sum() * down.sum())
    return float(up @ (np.cumsum(down) - down / 2)) / pairs if pairs else float("nan")
