"""Metrics of a model on rows that it has not seen, with bootstrap intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.fit.predictions import (
    BinaryPredictions,
    CustomPredictions,
    MulticlassPredictions,
    Predictions,
    RegressionPredictions,
)
from training.project import Classifier, Model, Project, ProjectError

RESAMPLES = 200
"""Bootstrap samples of one estimate."""
CONFIDENCE = 0.95
"""Share of the bootstrap samples that lie inside an interval."""
ROWS_PREDICTED = 10_000
"""Largest number of rows for which `predict` is called, in addition to `predict_proba`."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric with its 95 % bootstrap interval."""

    value: float
    """Value of the metric, or of a difference of two."""
    low: float
    """Lower bound of the interval."""
    high: float
    """Upper bound of the interval."""

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def predict(
    project: Project[Any], model: Model, table: pd.DataFrame, columns: Sequence[str] | None = None
) -> Predictions:
    """Return the model's predictions for the rows of a checked table.

    `columns` are the columns that the model takes, by default those of the project.

    Raises:
        ProjectError: the model does not predict what the project's task needs.
    """
    found = _predict(project, model, table[list(project.features if columns is None else columns)], table)
    weights = table[project.weight].to_numpy(dtype=float) if project.weight else None
    return replace(found, weights=weights, own=project.metrics, table=table if project.metrics else None)


def check_own(predictions: Predictions) -> None:
    """Check that each metric of the project's own measures the predictions.

    Raises:
        ProjectError: a metric fails, or returns no finite number.
    """
    for name, metric in predictions.own.items():
        try:
            value = predictions.measure_own(metric, strict=True)
        except Exception as error:
            raise ProjectError(
                f"the metric {name} fails on the {len(predictions)} rows held out ({type(error).__name__}: {error}); "
                "correct its function in the project"
            ) from error
        if not np.isfinite(value):
            raise ProjectError(
                f"the metric {name} is {value} on the {len(predictions)} rows held out, so versions cannot be compared "
                "by it; return a finite number"
            )


def _predict(project: Project[Any], model: Model, features: pd.DataFrame, table: pd.DataFrame) -> Predictions:
    truth = table[project.target.name]
    if project.task == "regression":
        return _numbers(project, model, features, truth)
    if project.task == "custom":
        return CustomPredictions(truth=truth.to_numpy(), predicted=_one_each(model, features))
    classifier = cast("Classifier", model)
    if not hasattr(classifier, "predict_proba"):
        raise ProjectError(
            f"{type(model).__name__} has no predict_proba, which the task {project.task} needs; return a classifier "
            "from `fit`, or write task='regression'"
        )
    predicted, probabilities = _labels(classifier, features)
    labels = project.target.labels
    if unknown := sorted({str(label) for label in classifier.classes_} - set(labels)):
        raise ProjectError(
            f"the model predicts the label {', '.join(unknown)}, and the target {project.target.name} declares "
            f"{', '.join(labels)}; give `fit` the labels as they are"
        )
    learned = [str(label) for label in classifier.classes_]
    if missing := [label for label in labels if label not in learned]:
        raise ProjectError(
            f"the model cannot predict the label {', '.join(missing)} of the target {project.target.name}; fit it with "
            "rows of every label"
        )
    places = [learned.index(label) for label in labels]
    if project.task == "binary":
        return BinaryPredictions(
            truth=(truth == labels[-1]).to_numpy(),
            predicted=predicted == labels[-1],
            probability=probabilities[:, places[-1]],
        )
    known = pd.Index(labels)
    return MulticlassPredictions(
        truth=known.get_indexer(pd.Index(truth.astype(str))),
        predicted=known.get_indexer(pd.Index(predicted)),
        probabilities=probabilities[:, places],
    )


def _labels(model: Classifier, features: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the predicted label of each row, and the probabilities.

    If there are more than 10,000 rows, `predict` is called for 10,000 of them, because a call for all doubles the time.
    If it returns the likeliest label for each, all rows get the likeliest label; then less than 1 row in 3,000 is wrong
    (with 95 % confidence).
    """
    every = -(-len(features) // ROWS_PREDICTED)
    probabilities, labels = model.predict_proba(features), model.predict(features.iloc[::every])
    if every > 1:
        likeliest = model.classes_[probabilities.argmax(axis=1)]
        labels = likeliest if np.array_equal(labels, likeliest[::every]) else model.predict(features)
    return labels, probabilities


def _numbers(
    project: Project[Any], model: Model, features: pd.DataFrame, truth: "pd.Series[Any]"
) -> RegressionPredictions:
    predicted = np.asarray(model.predict(features))
    if predicted.shape not in {(len(features),), (len(features), 1)} or predicted.dtype.kind not in "fiu":
        raise ProjectError(
            f"{type(model).__name__} predicts an array of {predicted.dtype} with the shape {predicted.shape}, and the "
            f"task regression needs one number for each of {len(features)} rows; return such a model from `fit`"
        )
    numbers = predicted.reshape(-1).astype(float)
    if wrong := int((~np.isfinite(numbers)).sum()):
        raise ProjectError(
            f"{type(model).__name__} predicts no finite number for {wrong} of {len(numbers)} rows, so that "
            f"{project.target.name} cannot be compared; fill missing values in `fit`"
        )
    return RegressionPredictions(truth=truth.to_numpy(dtype=float), predicted=numbers)


def _one_each(model: Model, features: pd.DataFrame) -> NDArray[Any]:
    """Return one number or text for each row."""
    predicted = np.asarray(model.predict(features))
    if predicted.shape != (len(features),) or predicted.dtype.kind not in "fiubOU":
        raise ProjectError(
            f"{type(model).__name__} predicts an array of {predicted.dtype} with the shape {predicted.shape}, and a "
            f"server returns one number or text for each of {len(features)} rows; return such a model from `fit`"
        )
    return predicted


def resamples(rows: int, seed: int, count: int = RESAMPLES) -> Iterator[NDArray[np.intp]]:
    """Yield `count` bootstrap samples of `rows` rows: for each row, how often the sample contains it.

    Two models measured with the same samples give a paired interval of their difference.
    """
    chance = np.random.default_rng(seed)
    for _ in range(count):
        yield np.bincount(chance.integers(rows, size=rows), minlength=rows)


def estimate(predictions: Predictions, seed: int) -> Mapping[str, Estimate]:
    """Return each metric with its bootstrap interval, at a cost that hardly grows with the number of rows.

    A sample draws a count for each group of rows that `Predictions.groups` returns. If the groups stand for a part of
    the rows, the interval is narrowed by the square root of that share. It is moved to the exact value.
    """
    values, (groups, counts) = predictions.measure(), predictions.groups()
    rows = int(counts.sum())
    samples = np.random.default_rng(seed).multinomial(rows, counts / rows, RESAMPLES)
    drawn = pd.DataFrame([groups.measure(weights) for weights in samples]) - pd.Series(groups.measure(counts))
    drawn *= (rows / len(predictions)) ** 0.5
    low, high = (drawn.quantile(tail) for tail in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return {
        name: Estimate(value=value, low=value + float(low[name]), high=value + float(high[name]))
        for name, value in values.items()
    }
