"""Reference profile of a version: the distribution of each feature and of the predictions at its training.

`training/fit/reference_profile.py` writes the profile. Profiles of former releases have no bins of equal mass; their
histograms are used.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from training.ending import BadInputError

FEW = 20
"""Largest number of distinct values of a number that is compared value by value, like a category."""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Bins(_Shape):
    edges: list[float]
    counts: list[int]


class _Column(_Shape):
    kind: str = ""
    missing: int = 0
    counts: dict[str, int] | None = None
    others: int = 0
    least: float = 0
    most: float = 0
    bins: _Bins | None = None
    histogram: _Bins | None = None


class _Calibration(_Shape):
    probability: list[float]
    rows: list[int]
    positives: list[int]


class _Prediction(_Shape):
    rows: int
    label: _Column | None = None
    value: _Column | None = None
    calibration: _Calibration | None = None


class _Profile(_Shape):
    rows: int
    features: dict[str, _Column]
    prediction: _Prediction


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Distribution of a number."""

    name: str
    """Name of the column."""
    missing: int
    """Rows without a value."""
    edges: NDArray[np.float64]
    """Edges between the bins, in ascending order."""
    counts: NDArray[np.int64]
    """Rows of each bin; there is one bin more than edges."""
    least: float
    """Smallest value."""
    most: float
    """Largest value."""
    open_right: bool = False
    """True if a bin ends before its upper edge, as in a histogram; False if the edge belongs to the bin below it."""

    @property
    def rows(self) -> int:
        """Rows with a value."""
        return int(self.counts.sum())

    @property
    def is_discrete(self) -> bool:
        """True if the column has so few values that each is compared by itself."""
        return not self.open_right and len(self.edges) <= FEW


@dataclass(frozen=True, kw_only=True)
class Words:
    """Distribution of a category."""

    name: str
    """Name of the column."""
    missing: int
    """Rows without a value."""
    words: Sequence[str]
    """Words that the profile lists, the most frequent first."""
    counts: NDArray[np.int64]
    """Rows of each word, and at the end those of all words that the profile does not list."""

    @property
    def rows(self) -> int:
        """Rows with a value."""
        return int(self.counts.sum())

    @property
    def is_complete(self) -> bool:
        """True if the profile lists all words of the training, so that any other word is new."""
        return not self.counts[-1]


Column = Numbers | Words


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Share of positive rows among the rows held out, by predicted probability."""

    probability: NDArray[np.float64]
    """Mean probability of each group of rows, in ascending order."""
    rows: NDArray[np.int64]
    """Rows of each group."""
    positives: NDArray[np.int64]
    """Rows of each group that have the label of interest."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Distributions to compare a window with."""

    rows: int
    """Rows that the model learned from."""
    features: Sequence[Column]
    """Features that had a value at the training."""
    empty: Sequence[str] = ()
    """Features that had no value at the training, and are not compared."""
    prediction: Column | None = None
    """Predictions for the rows held out; None if the profile has none that can be compared."""
    calibration: Calibration | None = None
    """Calibration of the probabilities; None for a profile of a former release."""
    is_old: bool = False
    """True if the profile has histograms of equal width only, so that shifts of skewed columns are found later."""


def parse(profile: object, title: str) -> Reference:
    """Return the reference of a profile that was read from JSON; `title` names the version.

    Raises:
        BadInputError: it is not a reference profile.
    """
    try:
        found = _Profile.model_validate(profile)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadInputError(
            f"{title}: its reference profile cannot be read ({'.'.join(map(str, first['loc']))}: {first['msg']}), so "
            "there is nothing to compare with; train the model again"
        ) from None
    columns = {name: _column(name, one) for name, one in found.features.items()}
    compared = found.prediction.label or found.prediction.value
    measured = found.prediction.calibration
    return Reference(
        rows=found.rows,
        features=[one for one in columns.values() if one],
        empty=[name for name, one in columns.items() if one is None],
        prediction=_column("prediction", compared) if compared else None,
        calibration=Calibration(
            probability=np.array(measured.probability),
            rows=np.array(measured.rows),
            positives=np.array(measured.positives),
        )
        if measured
        else None,
        is_old=any(isinstance(one, Numbers) and one.open_right for one in columns.values()),
    )


def read(text: str, title: str) -> Reference:
    """Return the reference of a profile in JSON.

    Raises:
        BadInputError: it is not a reference profile.
    """
    try:
        content = cast("Mapping[str, Any]", json.loads(text))
    except ValueError as error:
        raise BadInputError(f"{title}: its reference profile is not JSON ({error}); train the model again") from error
    return parse(content, title)


def _column(name: str, one: _Column) -> Column | None:
    if one.counts is not None:
        counts = np.array([*one.counts.values(), one.others], dtype="int64")
        return Words(name=name, missing=one.missing, words=list(one.counts), counts=counts)
    shape = one.bins or one.histogram
    if shape is None:
        return None
    if one.bins:
        edges, counts = np.array(shape.edges), np.array([*shape.counts, 0], dtype="int64")
    else:
        # The last bin of a histogram holds its upper edge.
        edges = np.array([*shape.edges[:-1], np.nextafter(shape.edges[-1], np.inf)])
        counts = np.array([0, *shape.counts, 0], dtype="int64")
    return Numbers(
        name=name,
        missing=one.missing,
        edges=edges,
        counts=counts,
        least=one.least,
        most=one.most,
        open_right=one.bins is None,
    )
