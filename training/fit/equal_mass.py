"""Bins with about the same number of rows each, and the calibration of probabilities, for the reference profile."""

import numpy as np
from numpy.typing import NDArray

BINS = 100
"""Largest number of bins; a column with fewer distinct values has one bin for each of them."""
CALIBRATION_BINS = 20


def bins(values: NDArray[np.float64]) -> dict[str, list[float] | list[int]]:
    """Return bins of equal mass for numbers without gaps: the upper edge of each, and its number of rows.

    A bin holds the values above the edge before it, up to its own edge. All edges are values of the column: the first
    is the smallest value, the last the largest one, and the others are its percentiles.
    """
    ordered = np.sort(values)
    distinct = ordered[np.r_[True, np.diff(ordered) > 0]]
    if len(distinct) > BINS:
        last = np.ceil(np.arange(BINS + 1) / BINS * len(ordered)).astype(int) - 1
        distinct = np.unique(ordered[np.maximum(last, 0)])
    counts = np.diff(np.searchsorted(ordered, distinct, side="right"), prepend=0)
    return {"edges": distinct.tolist(), "counts": counts.tolist()}


def calibration(probability: NDArray[np.float64], truth: NDArray[np.bool_]) -> dict[str, list[float] | list[int]]:
    """Return, for up to 20 groups of rows with near probabilities: mean probability, rows, and positive rows."""
    order = np.argsort(probability, kind="stable")
    groups = [group for group in np.array_split(order, CALIBRATION_BINS) if len(group)]
    return {
        "probability": [float(probability[group].mean()) for group in groups],
        "rows": [len(group) for group in groups],
        "positives": [int(truth[group].sum()) for group in groups],
    }
