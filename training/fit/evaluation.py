"""Evaluates a fitted model on the rows held out and writes the results to a folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training.data.source import DataError
from training.fit import metrics, plots, reference_profile
from training.fit.extras import Extras
from training.project import Model, Project

ROWS_SHUFFLED, FEATURES_TOGETHER = 2_000, 20


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Results of a model on the rows held out."""

    estimates: Mapping[str, metrics.Estimate]
    """Each metric with its interval."""
    profile: Path | None
    """File with the reference profile, as JSON; None if it could not be made."""
    ranges: Mapping[str, Sequence[float]]
    """Smallest and largest value of each number in the rows that the model learned from; empty if unknown."""

    def __str__(self) -> str:
        return ", ".join(f"{name} {estimate}" for name, estimate in self.estimates.items())

    @property
    def metrics(self) -> dict[str, float]:
        """Values and bounds by name: `roc_auc`, `roc_auc_low`, `roc_auc_high`, and so on."""
        return {
            name + end: value
            for name, estimate in self.estimates.items()
            for end, value in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high))
        }


def evaluate(
    project: Project[Any], model: Model, known: pd.DataFrame, unseen: pd.DataFrame, *, folder: Path, extras: Extras
) -> Evaluation:
    """Evaluate the model; write plots, feature importance, reference profile and packages to the folder.

    A file that cannot be made is left out and noted in `extras`.

    Raises:
        DataError: the rows held out all have the same label or value.
        ProjectError: the model does not predict what the project's task needs.
    """
    predictions = metrics.predict(project, model, unseen)
    metrics.check_own(predictions)
    if predictions.is_constant:
        what = "label" if project.target.labels else "value"
        raise DataError(
            f"the {len(unseen)} rows held out by {project.split} all have one {what}; give more rows, or another split"
        )
    folder.mkdir(parents=True)
    estimates = metrics.estimate(predictions, project.split.seed)
    importance: Mapping[str, float] = {}
    with extras.attempt("feature importance"):
        importance = _importance(project, model, unseen)
        _write(folder / "feature_importance.json", importance)
    with extras.attempt("plots"):
        plots.draw(folder, project, predictions, estimates, importance)
    profile = folder / "reference_profile.json"
    with extras.attempt("reference profile"):
        _write(profile, reference_profile.describe(project, known, predictions))
    ranges: Mapping[str, Sequence[float]] = {}
    with extras.attempt("ranges of features"):
        ranges = reference_profile.ranges(project, known)
    with extras.attempt("list of packages"):
        installed = sorted(f"{one.metadata['Name']}=={one.version}" for one in distributions())
        (folder / "environment.txt").write_text("\n".join(installed) + "\n")
    return Evaluation(
        estimates=estimates,
        profile=profile if profile.exists() else None,
        ranges=ranges,
    )


def _importance(project: Project[Any], model: Model, unseen: pd.DataFrame) -> dict[str, float]:
    """Return the loss of the ranking metric when a feature is shuffled, for each feature and any kind of model.

    One call predicts the rows of several features, because for a forest a call costs more than its rows.
    """
    sample = unseen.iloc[:: -(-len(unseen) // ROWS_SHUFFLED)]
    other = sample.sample(frac=1, random_state=project.split.seed)
    lost: dict[str, float] = {}
    side = -1 if project.ranked in project.smaller else 1
    for start in range(0, len(project.features), FEATURES_TOGETHER):
        names = project.features[start : start + FEATURES_TOGETHER]
        shuffled = [sample.assign(**{name: other[name].array}) for name in names]
        predictions = metrics.predict(project, model, pd.concat([sample, *shuffled], ignore_index=True))
        table = np.arange(len(predictions)) // len(sample)
        whole, *rest = (predictions.only(table == one).measure()[project.ranked] for one in range(1 + len(names)))
        lost |= {name: side * (whole - area) for name, area in zip(names, rest, strict=True)}
    return lost


def _write(file: Path, content: object) -> None:
    text = json.dumps(content, indent=1)
    file.write_text(text)
