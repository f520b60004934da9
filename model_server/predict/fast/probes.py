"""Rows that show whether a quick way gives a model's own answers, made of what the model itself knows.

Words come from the encoders' categories; numbers from the thresholds of the trees, the means of the scalers and the
ranges of training. Rows of other values would all fall into one leaf, or be unknown, and would show nothing.
"""

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, inf, isfinite, nextafter
from typing import Any, cast

from model_server.predict.decoding import Row
from model_server.predict.fast.boosted import SHOWN, boosted, thresholds
from model_server.predict.fast.estimators import FORESTS, TREES, Rows, steps_of
from model_server.predict.fast.known import known
from model_server.predict.signature import Column, Signature
from model_server.predict.types import TYPES

LOG = logging.getLogger("serving")
ROWS = 64  # half of them of usual values alone
LEAST = 16  # of them must have been answered by the quick way, and alike
SHARE = 200  # thresholds of a model that are looked at


@dataclass(kw_only=True)
class _Feature:
    """A column of numbers within the model: the input column it comes from, and how: input = value * scale + shift."""

    place: int
    scale: float = 1
    shift: float = 0


@dataclass(kw_only=True)
class _Values:
    """What the model knows of each column of the signature."""

    signature: Signature
    of: list[list[Any]] = field(default_factory=list[list[Any]])

    def add(self, feature: _Feature, value: float) -> None:
        """The input at which the feature has this value, and its neighbours."""
        found, kind = value * feature.scale + feature.shift, self.signature.columns[feature.place].kind
        if not isfinite(found) or kind not in {"double", "long", "integer"}:
            return
        near = (found, nextafter(found, inf), nextafter(found, -inf))
        most = 2**31 - 2 if kind == "integer" else 2**53 - 1
        whole = max(min(floor(found), most), -most)
        self.of[feature.place] += near if kind == "double" else (whole, whole + 1)


def probes(
    estimator: object,
    signature: Signature,
    ranges: Mapping[str, tuple[float, float]],
    example: Sequence[Row],
) -> list[Row]:
    """The example's rows, and others for the estimator, the same at each start."""
    rng = random.Random(0)
    values = _Values(signature=signature, of=[[] for _ in signature.columns])
    try:
        _look(estimator, values, rng)
    except Exception:
        LOG.debug("the model does not show what it knows", exc_info=True)
    for place, column in enumerate(signature.columns):
        for number in ranges.get(column.name, ()):
            values.add(_Feature(place=place), number)
    return [*example, *(_row(signature.columns, values.of, rng, odd=number % 2 == 1) for number in range(ROWS))]


def _row(columns: Sequence[Column], values: Sequence[Sequence[Any]], rng: random.Random, *, odd: bool) -> Row:
    """A value for each column; in an `odd` row one of them is missing, unknown or very large."""
    strange = rng.randrange(len(columns)) if odd else -1
    return tuple(
        rng.choice(TYPES[column.kind].odd)
        if place == strange
        else rng.choice(known_here if known_here and rng.random() < 0.9 else TYPES[column.kind].usual)
        for place, (column, known_here) in enumerate(zip(columns, values, strict=True))
    )


def _look(estimator: object, values: _Values, rng: random.Random) -> None:
    """Adds what the estimator knows to the values."""
    *steps, final = steps_of(estimator)
    features: list[_Feature | None] = [_Feature(place=place) for place in range(len(values.signature.columns))]
    for step in steps:
        if known(step) == "ColumnTransformer":
            features = list(_columns(step, values))
        else:
            features = _through(step, features, values)
    for place, threshold in _thresholds(final, rng):
        feature = features[place]
        if feature:
            values.add(feature, threshold)


def _columns(transformer: object, values: _Values) -> Iterator[_Feature | None]:
    """The features that the transformer makes; None for one that is not a number of the input."""
    at = {name: place for place, name in enumerate(values.signature.names)}
    for _, fitted, chosen in cast("list[tuple[str, object, list[str]]]", cast("Any", transformer).transformers_):
        if fitted == "drop":
            continue
        places = [at[name] for name in chosen]
        if hasattr(fitted, "categories_"):
            for place, words in zip(places, cast("Any", fitted).categories_, strict=True):
                values.of[place] += list(words)
                yield from [None] * (len(words) if known(fitted) == "OneHotEncoder" else 1)
        else:
            features: list[_Feature | None] = [_Feature(place=place) for place in places]
            for step in steps_of(fitted):
                features = _through(step, features, values)
            yield from features


def _through(step: object, features: Sequence[_Feature | None], values: _Values) -> list[_Feature | None]:
    """The features after a step that changes each by itself."""
    if known(step) != "StandardScaler":
        return list(features)
    fitted, after = cast("Any", step), list[_Feature | None]()
    for place, feature in enumerate(features):
        mean = float(fitted.mean_[place]) if fitted.with_mean else 0.0
        scale = float(fitted.scale_[place]) if fitted.with_std else 1.0
        if feature is None:
            after.append(None)
            continue
        after.append(
            _Feature(place=feature.place, scale=scale * feature.scale, shift=mean * feature.scale + feature.shift)
        )
        for distance in (-2, -1, -0.3, 0.3, 1, 2):
            values.add(feature, mean + distance * scale)
    return after


def _thresholds(final: object, rng: random.Random) -> Sequence[tuple[int, float]]:
    """Some of the numbers at which a tree divides, with the places of their features."""
    kind, fitted = known(final), cast("Any", final)
    if kind in FORESTS | TREES:
        trees = fitted.estimators_[:SHOWN] if kind in FORESTS else [fitted]
        pairs = [
            (feature, number)
            for tree in trees
            for feature, number in zip(tree.tree_.feature.tolist(), tree.tree_.threshold.tolist(), strict=True)
            if feature >= 0
        ]
    else:
        pairs = thresholds(final) if boosted(final, "predict") else []
    return rng.sample(pairs, SHARE) if len(pairs) > SHARE else pairs


def agree(ways: Sequence[tuple[Rows, Rows]], rows: Sequence[Row]) -> bool:
    """Whether each quick way gives the same answers as the sure one beside it, to the last bit.

    Rows that the quick way refuses do not count, since the sure one answers these. At least LEAST must be left, and
    one of the ways must give different answers to them: a comparison of nothing, or of one and the same answer, shows
    nothing.
    """
    try:
        telling = [_compared(quick, sure, rows) > 1 for quick, sure in ways]
    except Exception:
        LOG.warning("a quicker way is not taken", exc_info=True)
        return False
    if not any(telling):
        LOG.warning("a quicker way is not taken: the model gives one answer to all rows that it was tried with")
    return any(telling)


def _compared(quick: Rows, sure: Rows, rows: Sequence[Row]) -> int:
    """How many different answers both give.

    Raises:
        ValueError: their answers are not the same, or too few.
    """
    answered = [row for row in rows if _answers(quick, row)]
    if len(answered) < LEAST:
        raise ValueError(f"it answers {len(answered)} of {len(rows)} rows")
    said = list[Any]()
    for sizes in ([1] * 6, [2, 3], [len(answered)], [len(answered) - 7, 7]):
        some = answered[: sum(sizes)]
        said = quick(some, sizes)
        if repr(said) != repr(sure(some, sizes)):
            raise ValueError("its answers are others")
    return len({repr(answer) for part in said for answer in part})


def _answers(quick: Callable[[Sequence[Row], Sequence[int]], object], row: Row) -> bool:
    try:
        quick([row], [1])
    except Exception:  # as in a request: another way is asked then
        LOG.debug("the quick way refuses a row", exc_info=True)
        return False
    return True
