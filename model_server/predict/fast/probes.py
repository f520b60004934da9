"""Rows that test whether a fast predictor gives the model's own predictions. They are made from the model's own values.

Strings come from the encoders' categories. Numbers come from the thresholds of trees, the means of scalers and the
ranges of the training data. Arbitrary values would be unknown, or all fall into the same leaf, and prove nothing.
"""

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, inf, isfinite, nextafter
from typing import Any, TypeAlias, cast

from model_server.predict.decoding import Row
from model_server.predict.fast.boosted import SHOWN, boosted, thresholds
from model_server.predict.fast.estimators import FORESTS, TREES, Sizes, steps_of
from model_server.predict.fast.known import known
from model_server.predict.signature import Column, Signature
from model_server.predict.types import TYPES

LOG = logging.getLogger("serving")
ROWS = 64  # generated rows; half of them have only usual values
LEAST = 16  # rows that the fast predictor must accept
PredictRows: TypeAlias = Callable[[Sequence[Row], Sizes], Sequence[Any]]
SHARE = 200  # limit of sampled thresholds


@dataclass(kw_only=True)
class _Feature:
    """Numeric column inside the model, computed from one input column: input = value * scale + shift."""

    position: int
    scale: float = 1
    shift: float = 0


@dataclass(kw_only=True)
class _Values:
    """Values that the model knows for each column of the signature."""

    signature: Signature
    by_column: list[list[Any]] = field(default_factory=list[list[Any]])

    def add(self, feature: _Feature, value: float) -> None:
        """Add the input at which the feature has this value, and the numbers next to it."""
        found, kind = value * feature.scale + feature.shift, self.signature.columns[feature.position].kind
        if not isfinite(found) or kind not in {"double", "long", "integer"}:
            return
        near = (found, nextafter(found, inf), nextafter(found, -inf))
        most = 2**31 - 2 if kind == "integer" else 2**53 - 1
        whole = max(min(floor(found), most), -most)
        self.by_column[feature.position] += near if kind == "double" else (whole, whole + 1)


def probes(
    estimator: object,
    signature: Signature,
    ranges: Mapping[str, tuple[float, float]],
    example: Sequence[Row],
) -> list[Row]:
    """Return the example's rows and generated rows. The result is the same at each start."""
    rng = random.Random(0)
    values = _Values(signature=signature, by_column=[[] for _ in signature.columns])
    try:
        _collect(estimator, values, rng)
    except Exception:
        LOG.debug("the values that the model knows cannot be read", exc_info=True)
    for position, column in enumerate(signature.columns):
        for number in ranges.get(column.name, ()):
            values.add(_Feature(position=position), number)
    return [*example, *(_row(signature.columns, values.by_column, rng, odd=number % 2 == 1) for number in range(ROWS))]


def _row(columns: Sequence[Column], values: Sequence[Sequence[Any]], rng: random.Random, *, odd: bool) -> Row:
    """Return a value for each column. In an `odd` row, one value is missing, unknown or very large."""
    strange = rng.randrange(len(columns)) if odd else -1
    return tuple(
        rng.choice(TYPES[column.kind].odd)
        if position == strange
        else rng.choice(known_here if known_here and rng.random() < 0.9 else TYPES[column.kind].usual)
        for position, (column, known_here) in enumerate(zip(columns, values, strict=True))
    )


def _collect(estimator: object, values: _Values, rng: random.Random) -> None:
    """Add the values that the estimator knows."""
    *steps, final = steps_of(estimator)
    features: list[_Feature | None] = [_Feature(position=position) for position in range(len(values.signature.columns))]
    for step in steps:
        if known(step) == "ColumnTransformer":
            features = list(_columns(step, values))
        else:
            features = _through(step, features, values)
    for position, threshold in _thresholds(final, rng):
        feature = features[position]
        if feature:
            values.add(feature, threshold)


def _columns(transformer: object, values: _Values) -> Iterator[_Feature | None]:
    """Yield the features that the transformer outputs; None for those that are not numbers of the input."""
    at = {name: position for position, name in enumerate(values.signature.names)}
    for _, fitted, chosen in cast("list[tuple[str, object, list[str]]]", cast("Any", transformer).transformers_):
        if fitted == "drop":
            continue
        positions = [at[name] for name in chosen]
        if hasattr(fitted, "categories_"):
            for position, categories in zip(positions, cast("Any", fitted).categories_, strict=True):
                values.by_column[position] += list(categories)
                yield from [None] * (len(categories) if known(fitted) == "OneHotEncoder" else 1)
        else:
            features: list[_Feature | None] = [_Feature(position=position) for position in positions]
            for step in steps_of(fitted):
                features = _through(step, features, values)
            yield from features


def _through(step: object, features: Sequence[_Feature | None], values: _Values) -> list[_Feature | None]:
    """Return the features after a step that transforms each of them separately."""
    if known(step) != "StandardScaler":
        return list(features)
    fitted, after = cast("Any", step), list[_Feature | None]()
    for position, feature in enumerate(features):
        mean = float(fitted.mean_[position]) if fitted.with_mean else 0.0
        scale = float(fitted.scale_[position]) if fitted.with_std else 1.0
        if feature is None:
            after.append(None)
            continue
        after.append(
            _Feature(position=feature.position, scale=scale * feature.scale, shift=mean * feature.scale + feature.shift)
        )
        for distance in (-2, -1, -0.3, 0.3, 1, 2):
            values.add(feature, mean + distance * scale)
    return after


def _thresholds(final: object, rng: random.Random) -> Sequence[tuple[int, float]]:
    """Return a sample of the thresholds of the trees, with the indexes of their features."""
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


def agree(predictors: Sequence[tuple[PredictRows, PredictRows]], rows: Sequence[Row]) -> bool:
    """Return whether each fast predictor gives exactly the predictions of its reference.

    Rows that the fast predictor refuses do not count, because the reference predicts those. At least LEAST rows must
    remain, and at least one predictor must return different predictions for them; otherwise the comparison proves
    nothing.
    """
    try:
        distinct = [_distinct(fast, reference, rows) > 1 for fast, reference in predictors]
    except Exception:
        LOG.warning("the fast predictor is not used", exc_info=True)
        return False
    if not any(distinct):
        LOG.warning("the fast predictor is not used: the model returns one prediction for all test rows")
    return any(distinct)


def _distinct(fast: PredictRows, reference: PredictRows, rows: Sequence[Row]) -> int:
    """Return the number of distinct predictions, which both predictors share.

    Raises:
        ValueError: the predictions differ, or too few rows were predicted.
    """
    accepted = [row for row in rows if _accepts(fast, row)]
    if len(accepted) < LEAST:
        raise ValueError(
            f"the fast predictor accepts {len(accepted)} of {len(rows)} test rows, and must accept at least {LEAST}"
        )
    predictions: Sequence[Any] = ()
    for sizes in ([1] * 6, [2, 3], [len(accepted)], [len(accepted) - 7, 7]):
        some = accepted[: sum(sizes)]
        predictions = fast(some, sizes)
        if repr(predictions) != repr(reference(some, sizes)):
            raise ValueError("the fast predictor's predictions differ from the model's")
    return len({repr(prediction) for part in predictions for prediction in part})


def _accepts(fast: PredictRows, row: Row) -> bool:
    try:
        fast([row], [1])
    except Exception:  # as for a request, which then goes to the reference
        LOG.debug("the fast predictor refuses a row", exc_info=True)
        return False
    return True
