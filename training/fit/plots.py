"""Plots of a model's results, written to PNG files without a display."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, cast

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.fit.metrics import Estimate
from training.fit.predictions import (
    BinaryPredictions,
    CustomPredictions,
    MulticlassPredictions,
    Predictions,
    RegressionPredictions,
)
from training.project import Project

POINTS, BARS = 1_000, 50


class _Axes(Protocol):
    def imshow(self, image: NDArray[Any], *, cmap: str) -> object: ...
    def text(self, x: float, y: float, s: str, *, ha: str, va: str, color: str) -> object: ...
    def plot(self, x: NDArray[Any], y: NDArray[Any], *, color: str) -> object: ...
    def scatter(self, x: NDArray[Any], y: NDArray[Any], *, s: float, color: str, alpha: float) -> object: ...
    def hist(self, x: NDArray[Any], *, bins: int, color: str) -> object: ...
    def barh(self, y: Sequence[str], width: Sequence[float], *, color: str) -> object: ...
    def set(self, **properties: object) -> object: ...


class _Figure(Protocol):
    """Typed part of a matplotlib figure, whose own types are incomplete."""

    def subplots(self) -> _Axes: ...
    def savefig(self, path: Path) -> None: ...


class _Matplotlib(Protocol):
    def rc_context(self, rc: Mapping[str, object]) -> AbstractContextManager[None]: ...


MATPLOTLIB = cast("_Matplotlib", mpl)


def draw(
    folder: Path,
    project: Project[Any],
    predictions: Predictions,
    estimates: Mapping[str, Estimate],
    importance: Mapping[str, float],
) -> None:
    """Write the plots of the task and, for the 50 most important features, `feature_importance.png`.

    These are `confusion_matrix.png` for labels, `roc.png` for two labels, and `predicted.png` and `errors.png` for a
    regression.
    """
    with MATPLOTLIB.rc_context({"text.parse_math": False}):  # draw a dollar sign in a name as it is
        match predictions:
            case BinaryPredictions():
                counts = np.bincount(2 * predictions.truth + predictions.predicted, minlength=4).reshape(2, 2)
                _confusion(folder / "confusion_matrix.png", project.target.labels, counts)
                _roc(folder / "roc.png", predictions, estimates["roc_auc"])
            case MulticlassPredictions():
                counts = predictions.confusion.astype(int)
                _confusion(folder / "confusion_matrix.png", project.target.labels, counts)
            case RegressionPredictions():
                _predicted(folder / "predicted.png", project.target.name, predictions, estimates["r2"])
                _errors(folder / "errors.png", project.target.name, predictions, estimates["mae"])
            case CustomPredictions():
                pass  # what its predictions mean is not known
            case _:
                raise TypeError(f"{type(predictions).__name__} has no plots")
        if importance:
            _importance(folder / "feature_importance.png", importance, project.ranked)


def _figure(height: float = 4, width: float = 4.5) -> tuple[_Figure, _Axes]:
    # A figure without pyplot draws into memory: no display, no global state.
    figure = cast("_Figure", Figure(figsize=(width, height), layout="constrained"))
    return figure, figure.subplots()


def _confusion(file: Path, labels: Sequence[str], counts: NDArray[np.intp]) -> None:
    size, ticks = 3.1 + 0.45 * len(labels), range(len(labels))
    figure, axes = _figure(size, size + 0.5)
    axes.imshow(counts, cmap="Blues")
    axes.set(xticks=ticks, xticklabels=labels, yticks=ticks, yticklabels=labels, xlabel="predicted", ylabel="true")
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color)
    figure.savefig(file)


def _roc(file: Path, predictions: BinaryPredictions, area: Estimate) -> None:
    # From the highest probability down; rows with the same probability form one point.
    right = np.bincount(predictions.rank, predictions.truth)[::-1].cumsum()
    wrong = np.bincount(predictions.rank, ~predictions.truth)[::-1].cumsum()
    shown = np.linspace(0, len(right) - 1, min(len(right), POINTS)).astype(int)
    figure, axes = _figure()
    axes.plot(np.array([0, 1]), np.array([0, 1]), color="lightgrey")
    axes.plot(np.r_[0, wrong[shown] / wrong[-1]], np.r_[0, right[shown] / right[-1]], color="tab:blue")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=f"area {area}")
    figure.savefig(file)


def _predicted(file: Path, target: str, predictions: RegressionPredictions, r2: Estimate) -> None:
    every = slice(None, None, -(-len(predictions) // POINTS))
    ends = np.array([predictions.truth.min(), predictions.truth.max()])
    figure, axes = _figure()
    axes.plot(ends, ends, color="lightgrey")
    axes.scatter(predictions.truth[every], predictions.predicted[every], s=6, color="tab:blue", alpha=0.4)
    axes.set(xlabel=f"true {target}", ylabel=f"predicted {target}", title=f"r2 {r2}")
    figure.savefig(file)


def _errors(file: Path, target: str, predictions: RegressionPredictions, mae: Estimate) -> None:
    figure, axes = _figure()
    axes.hist(predictions.predicted - predictions.truth, bins=BARS, color="tab:blue")
    axes.set(xlabel=f"predicted minus true {target}", ylabel="rows", title=f"mae {mae}")
    figure.savefig(file)


def _importance(file: Path, importance: Mapping[str, float], metric: str) -> None:
    ranked = sorted(importance, key=lambda name: importance[name])[-BARS:]
    figure, axes = _figure(1 + 0.25 * len(ranked))
    axes.barh(ranked, [importance[name] for name in ranked], color="tab:blue")
    axes.set(xlabel=f"loss of {metric} when shuffled")
    figure.savefig(file)
