"""Distributions of the features and predictions of a version at its training, as a reference to detect drift."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.fit import equal_mass
from training.fit.predictions import (
    BinaryPredictions,
    CustomPredictions,
    MulticlassPredictions,
    Predictions,
    RegressionPredictions,
)
from training.project import Project

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
BINS = 20
MOST_CATEGORIES = 100


def describe(project: Project[Any], known: pd.DataFrame, predictions: Predictions) -> Mapping[str, object]:
    """Return the distribution of each feature in the rows learned from, and of the predictions for the rows held out.

    The result can be written as JSON. A number has quantiles, a histogram of 20 bins of equal width (fewer if there are
    not enough floats between the values) and 100 bins of equal mass; a category the counts of its 100 most frequent
    values; a text the number of its characters as a number has; a time its first and last value.
    """
    return {
        "rows": len(known),
        "features": {
            column.name: {"kind": column.kind} | _described(column.kind, known[column.name])
            for column in project.columns
        },
        "prediction": {"rows": len(predictions)} | _predicted(project, predictions),
    }


def _described(kind: str, values: "pd.Series[Any]") -> dict[str, object]:
    match kind:
        case "category":
            return _categories(values)
        case "text":  # the texts themselves are not kept
            return {"missing": int((values == "").sum()), "characters": _numbers(values.str.len())}
        case "time":
            return {"missing": 0, "first": values.min().isoformat(), "last": values.max().isoformat()}
        case _:
            return _numbers(values)


def _predicted(project: Project[Any], predictions: Predictions) -> dict[str, object]:
    """Return the distribution of the predicted labels and their probability, or of the predicted numbers.

    The probability is that of the label of interest or, with more than two labels, that of the predicted one.
    """
    more = dict[str, object]()
    match predictions:
        case RegressionPredictions():
            return {"value": _numbers(pd.Series(predictions.predicted))}
        case CustomPredictions():
            if predictions.predicted.dtype.kind in "fiub":
                return {"value": _numbers(pd.Series(predictions.predicted))}
            return {"label": _categories(pd.Series(pd.Categorical(predictions.predicted)))}
        case MulticlassPredictions():
            probability = predictions.probabilities.max(axis=1)
        case BinaryPredictions():
            probability = predictions.probability
            more["calibration"] = equal_mass.calibration(probability, predictions.truth)
        case _:
            raise TypeError(f"{type(predictions).__name__} has no distribution")
    codes = predictions.predicted.astype("int64")
    labels = pd.Series(pd.Categorical.from_codes(codes, pd.Index(project.target.labels)))
    return {"label": _categories(labels), "probability": _numbers(pd.Series(probability), (0.0, 1.0)), **more}


def ranges(project: Project[Any], known: pd.DataFrame) -> dict[str, list[float]]:
    """Return the smallest and largest value of each number; the model server counts values outside this range."""
    kinds = {"integer", "number"}
    present = {column.name: known[column.name].dropna() for column in project.columns if column.kind in kinds}
    return {name: [values.min().item(), values.max().item()] for name, values in present.items() if len(values)}


def _categories(values: "pd.Series[Any]") -> dict[str, object]:
    counts = values.cat.codes.value_counts()
    missing = int(counts.pop(-1)) if -1 in counts else 0
    frequent = counts.head(MOST_CATEGORIES)
    words = values.cat.categories
    return {
        "missing": missing,
        "counts": {str(words[code]): int(count) for code, count in zip(frequent.index, frequent, strict=True)},
        "others": int(counts.sum() - frequent.sum()),
    }


def _numbers(values: "pd.Series[Any]", limits: tuple[float, float] | None = None) -> dict[str, object]:
    present: NDArray[np.float64] = values.to_numpy(dtype="float64", copy=True)
    if (gaps := np.isnan(present)).any():
        present = present[~gaps]
    if not len(present):
        return {"missing": len(values)}
    counts, edges = _histogram(present, limits)
    deviation = float(present.std())
    quantiles = np.quantile(present, list(QUANTILES), overwrite_input=True)
    return {
        "missing": len(values) - len(present),
        "mean": float(present.mean()),
        "deviation": deviation,
        "least": float(present.min()),
        "most": float(present.max()),
        "quantiles": {f"{q:g}": float(v) for q, v in zip(QUANTILES, quantiles, strict=True)},
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        "bins": equal_mass.bins(present),
    }


def _histogram(
    present: NDArray[np.float64], limits: tuple[float, float] | None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    try:
        return np.histogram(present, BINS, limits)
    except ValueError:
        # Between large numbers that are close to each other there are fewer floats than bins.
        least, most = float(present.min()), float(present.max())
        edges = np.unique(
            [np.nextafter(least, -np.inf), *np.linspace(least, most, BINS - 1), np.nextafter(most, np.inf)]
        )
        return np.histogram(present, edges)
