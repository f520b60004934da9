"""Splits a table into the rows that a model learns from and the rows held out, by the project's declaration alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.data.reading import DataError
from training.project import Project, Rows, Split


def held_out(project: Project[Any], table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a checked table that no model of the project learns from. Models are compared on these rows.

    The same table always gives the same rows. Categories are pandas categories.
    """
    return table.loc[_mask(project.split, project.target.name, table)].reset_index(drop=True)


def divide(project: Project[Any], table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to learn from and the rows held out.

    The table is empty afterwards: each column is removed once it is split, so that the data is in memory once.
    """
    return _take(table, _mask(project.split, project.target.name, table))


def rows(project: Project[Any], known: pd.DataFrame, used: set[str] | None = None) -> Rows:
    """Return the argument of `fit` for the rows that a model may learn from.

    `used` collects the optional parts that `fit` reads.
    """
    used = set[str]() if used is None else used

    def again(share: float) -> tuple[Rows, Rows]:
        split = Split(how=project.split.how, by=project.split.by, test_share=share, seed=project.split.seed + 1)
        mask = _mask(split, project.target.name, known)
        return rows(project, known.loc[~mask], used), rows(project, known.loc[mask], used)

    return Rows(
        features=known[project.features],
        labels=known[project.target.name],
        divide=again,
        seed=project.split.seed,
        weigh=lambda: _weights(project, known),
        further=known[[column.name for column in project.further]],
        used=used,
    )


def _weights(project: Project[Any], known: pd.DataFrame) -> "pd.Series[float]":
    """Return the weight of each row times the weight of its label."""
    weights = known[project.weight].astype(float) if project.weight else pd.Series(1.0, known.index)
    by_label = project.target.class_weights
    if by_label is None:
        return weights
    labels = known[project.target.name].astype(str)
    if by_label == "balanced":
        counts = labels.value_counts()
        by_label = {str(label): len(labels) / (len(counts) * count) for label, count in counts.items()}
    return weights * labels.map({**dict.fromkeys(project.target.labels, 1.0), **by_label}).astype(float)


def _mask(split: Split, target: str, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return True for each row that is held out."""
    mask = _SPLITS[split.how](split, target, table)
    for part, fault in ((mask, "holds out no row"), (~mask, "leaves no row to learn from")):
        if not part.any():
            raise DataError(f"the split {split} {fault} of {len(table)}; give more rows, or another split")
    if _has_labels(table[target]):
        held, learned = (set(table[target][part].unique()) for part in (mask, ~mask))
        if unseen := sorted(held - learned):
            raise DataError(
                f"the split {split} holds out all rows with the label {', '.join(unseen)}, so a model cannot learn it; "
                "give more such rows, or another split"
            )
    return mask


def _has_labels(target: "pd.Series[Any]") -> bool:
    return not pd.api.types.is_numeric_dtype(target)


def _random(split: Split, target: str, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Hold out the share of each label, or of all rows if the target is a number.

    Only the indices of one label are in memory at a time.
    """
    chance, mask = np.random.default_rng(split.seed), np.zeros(len(table), dtype=bool)
    if not _has_labels(table[target]):
        mask[chance.permutation(len(table))[: round(split.test_share * len(table))]] = True
        return mask
    labels = table[target].astype("category").cat
    for code, label in enumerate(labels.categories):
        rows = np.flatnonzero(labels.codes == code)
        count = round(split.test_share * len(rows))
        if not 0 < count < len(rows):
            raise DataError(
                f"{len(rows)} of {len(table)} rows have the label {label}, too few to hold out {split.test_share:.0%} "
                "of them; give more such rows"
            )
        chance.shuffle(rows)
        mask[rows[:count]] = True
    return mask


def _time(split: Split, _target: str, table: pd.DataFrame) -> NDArray[np.bool_]:
    times = table[split.by]
    return (times >= times.quantile(1 - split.test_share, interpolation="higher")).to_numpy()


def _group(split: Split, _target: str, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Hold out groups by a hash of their name, so that a group keeps its side when other groups are added."""
    hashes = pd.util.hash_pandas_object(table[split.by].astype(str), index=False, hash_key=f"{split.seed:016d}")
    return (hashes.to_numpy() < split.test_share * 2**64).astype(bool)


def _row(split: Split, _target: str, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Hold out rows by a hash of their values, so that a row keeps its side when other rows are added or removed."""
    # pandas uses its `hash_key` for texts only, so the hashes begin with the seed.
    hashes = np.full(len(table), split.seed, dtype=np.uint64)
    for name in sorted(table.columns):
        hashes = pd.util.hash_array(hashes ^ pd.util.hash_pandas_object(table[name], index=False).to_numpy())
    return (hashes < split.test_share * 2**64).astype(bool)


_SPLITS: dict[str, Callable[[Split, str, pd.DataFrame], NDArray[np.bool_]]] = {
    "random": _random,
    "time": _time,
    "group": _group,
    "row": _row,
}


def _take(table: pd.DataFrame, mask: NDArray[np.bool_]) -> tuple[pd.DataFrame, pd.DataFrame]:
    known: dict[str, pd.Series[Any]] = {}
    unseen: dict[str, pd.Series[Any]] = {}
    for name in list(table.columns):
        values = table.pop(name).array  # a Series would number its rows, at 8 bytes each
        known[name], unseen[name] = pd.Series(values[~mask]), pd.Series(values[mask])
    return pd.DataFrame(known, copy=False), pd.DataFrame(unseen, copy=False)
