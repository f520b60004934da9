"""Test of all features together: can a classifier tell the rows of the window from those of the training?

It finds shifts that no single column shows, such as two columns that no longer belong together.
"""

from collections.abc import Sequence
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drift.hypotheses import SPECIAL, Finding
from drift.reference import Column, Numbers, Reference

TREES = 40
PARAMETERS = {
    "objective": "binary", "num_leaves": 15, "min_data_in_leaf": 10, "learning_rate": 0.1, "num_threads": 1,
    "deterministic": True, "verbosity": -1,
}  # fmt: skip
ROWS = 2_000
"""Largest number of rows of the training's table that take part."""
NAMED = 3
"""Number of features that the finding names."""
LEAST = 50
"""Smallest number of rows on each side; with fewer there is no test."""


def compare(
    reference: Reference, known: pd.DataFrame, sample: pd.DataFrame, block: NDArray[np.int64], seed: int = 0
) -> Finding | None:
    """Return the finding, or None if there are too few rows.

    A classifier learns on half of the rows and is judged on the others, and a second one the other way round. The rows
    of one block are on the same side, so that rows that a client sent together do not help the classifier.

    Args:
        reference: reference of the version.
        known: rows of the training's table, with the features.
        sample: rows of the window, with the features.
        block: block of each row of the window.
        seed: seed of the random generator.
    """
    names = [one.name for one in reference.features if one.name in known and one.name in sample]
    chance = np.random.default_rng(seed)
    used = np.unique(block)
    sides = _sides(block, used, chance)
    if not names or len(known) < 2 * LEAST or min((~sides).sum(), sides.sum()) < LEAST:
        return None
    known = known.sample(ROWS, random_state=seed) if len(known) > ROWS else known
    old, new = _encoded(reference, known, names), _encoded(reference, sample, names)
    half = chance.permutation(len(old)) % 2 == 1
    areas: list[float] = []
    chances: list[float] = []
    weights: NDArray[np.float64] = np.zeros(len(names))
    for side in (False, True):
        rows = np.vstack([old[half == side], new[sides == side]])
        is_new = np.arange(len(rows)) >= (half == side).sum()
        booster = lightgbm.train({**PARAMETERS, "seed": seed}, lightgbm.Dataset(rows, label=is_new), TREES)
        weights += booster.feature_importance("gain")
        area, p = _area(
            booster.predict(old[half != side]),
            booster.predict(new[sides != side]),
            block[sides != side],
        )
        areas.append(area)
        chances.append(p)
    first = sorted(names, key=lambda name: -weights[names.index(name)])[:NAMED]
    area = float(np.mean(areas))
    said = (
        f"a classifier tells the rows from those of the training with an area under the ROC curve of {area:.3f} "
        f"(0.5 is chance), mostly by {_listed(first)}"
    )
    return Finding(column="", kind="joint", test="classifier", effect=area, p=min(1.0, 2 * min(chances)), said=said)


def _sides(block: NDArray[np.int64], used: NDArray[np.int64], chance: np.random.Generator) -> NDArray[np.bool_]:
    """Return the side of each row: that of its block, or its own if nearly all rows are in one block."""
    order = chance.permutation(len(used)) % 2 == 1
    sides = order[np.searchsorted(used, block)] if len(used) else np.zeros(0, dtype=bool)
    if len(block) and not 0.2 < sides.mean() < 0.8:
        return chance.permutation(len(block)) % 2 == 1
    return sides


def _encoded(reference: Reference, table: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    by_name = {one.name: one for one in reference.features}
    return np.clip(np.column_stack([_numbers(by_name[name], table[name]) for name in names]), -1e30, 1e30)


def _numbers(one: Column, values: "pd.Series[Any]") -> NDArray[np.float64]:
    """Return the values as numbers: a missing value is below all others, a new word above them."""
    if isinstance(one, Numbers):
        number = values.to_numpy(dtype="float64", na_value=np.nan)
        return np.where(np.isnan(number), one.least - 1, number)
    codes = pd.Index(list(one.words)).get_indexer(pd.Index(values.astype(object)))
    return np.where((codes < 0) & values.notna().to_numpy(), len(one.words), codes).astype("float64")


def _area(old: NDArray[np.float64], new: NDArray[np.float64], block: NDArray[np.int64]) -> tuple[float, float]:
    """Return the area under the ROC curve, and the chance of a larger one if both sides are alike (DeLong's variance).

    Rows of the window count by block: their placements are averaged within a block first, if the blocks differ more
    than rows do.
    """
    ordered_old, ordered_new = np.sort(old), np.sort(new)
    place_new = (np.searchsorted(ordered_old, new, "left") + np.searchsorted(ordered_old, new, "right")) / 2 / len(old)
    place_old = (np.searchsorted(ordered_new, old, "left") + np.searchsorted(ordered_new, old, "right")) / 2 / len(new)
    area = float(place_new.mean())
    # Under the hypothesis all placements are uniform, up to ties; the variance between blocks may be larger.
    variance_new = max(float(place_new.var()), 1 / 12) / len(new)
    used, place = np.unique(block, return_inverse=True)
    if len(used) > 1:
        sums = np.bincount(place, place_new - area)
        variance_new = max(variance_new, float((sums**2).sum()) * len(used) / (len(used) - 1) / len(new) ** 2)
    variance = variance_new + max(float(place_old.var()), 1 / 12) / len(old)
    return area, 1 - SPECIAL.ndtr((area - 0.5) / variance**0.5)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
