"""Plots of a model's results, written to PNG files without a display."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, cast

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.fit.metrics import Estimate, Predictions

POINTS, BARS = 1_000, 50


class _Axes(Protocol):
    def imshow(self, image: NDArray[Any], *, cmap: str) -> object: ...
    def text(self, x: float, y: float, s: str, *, ha: str, va: str, color: str) -> object: ...
    def plot(self, x: NDArray[Any], y: NDArray[Any], *, color: str) -> object: ...
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
    folder: Path, labels: Sequence[str], predictions: Predictions, area: Estimate, importance: Mapping[str, float]
) -> None:
    """Write `confusion_matrix.png`, `roc.png` and, for the 50 most important features, `feature_importance.png`."""
    with MATPLOTLIB.rc_context({"text.parse_math": False}):  # draw a dollar sign in a name as it is
        _confusion(folder / "confusion_matrix.png", labels, predictions)
        _roc(folder / "roc.png", predictions, area)
        if importance:
            _importance(folder / "feature_importance.png", importance)


def _figure(height: float = 4) -> tuple[_Figure, _Axes]:
    # A figure without pyplot draws into memory: no display, no global state.
    figure = cast("_Figure", Figure(figsize=(4.5, height), layout="constrained"))
    return figure, figure.subplots()


def _confusion(file: Path, labels: Sequence[str], predictions: Predictions) -> None:
    counts = np.bincount(2 * predictions.truth + predictions.predicted, minlength=4).reshape(2, 2)
    figure, axes = _figure()
    axes.imshow(counts, cmap="Blues")
    axes.set(xticks=(0, 1), xticklabels=labels, yticks=(0, 1), yticklabels=labels, xlabel="predicted", ylabel="true")
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color)
    figure.savefig(file)


def _roc(file: Path, predictions: Predictions, area: Estimate) -> None:
    # From the highest probability down; rows with the same probability form one point.
    right = np.bincount(predictions.rank, predictions.truth)[::-1].cumsum()
    wrong = np.bincount(predictions.rank, ~predictions.truth)[::-1].cumsum()
    shown = np.linspace(0, len(right) - 1, min(len(right), POINTS)).astype(int)
    figure, axes = _figure()
    axes.plot(np.array([0, 1]), np.array([0, 1]), color="lightgrey")
    axes.plot(np.r_[0, wrong[shown] / wrong[-1]], np.r_[0, right[shown] / right[-1]], color="tab:blue")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=f"area {area}")
    figure.savefig(file)


def _importance(file: Path, importance: Mapping[str, float]) -> None:
    ranked = sorted(importance, key=lambda name: importance[name])[-BARS:]
    figure, axes = _figure(1 + 0.25 * len(ranked))
    axes.barh(ranked, [importance[name] for name in ranked], color="tab:blue")
    axes.set(xlabel="loss of roc_auc when shuffled")
    figure.savefig(file)
