"""Everything that is worked out about a fitted model, in a folder, before anybody is told."""

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
from training.project import Classifier, Project

ROWS_SHUFFLED, FEATURES_TOGETHER = 2_000, 20


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model does on the rows held out, each metric with its interval."""

    estimates: Mapping[str, metrics.Estimate]
    profile: Path | None
    """The reference profile, as JSON; None where it could not be made."""
    ranges: Mapping[str, Sequence[float]]
    """The least and the largest value that the model has learnt from, of every number."""

    def __str__(self) -> str:
        return ", ".join(f"{name} {estimate}" for name, estimate in self.estimates.items())

    @property
    def metrics(self) -> dict[str, float]:
        """`roc_auc`, `roc_auc_low`, `roc_auc_high`, and so on."""
        return {
            name + end: value
            for name, estimate in self.estimates.items()
            for end, value in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high))
        }


def evaluate(
    project: Project[Any], model: Classifier, known: pd.DataFrame, unseen: pd.DataFrame, *, folder: Path, extras: Extras
) -> Evaluation:
    """The folder holds pictures, feature importance, reference profile and the versions of all packages.

    A part that cannot be made is left out and noted in `extras`.

    Raises:
        DataError: the rows held out have one label alone.
    """
    predictions = metrics.predict(project, model, unseen)
    if predictions.truth.all() or not predictions.truth.any():
        raise DataError(
            f"the {len(unseen)} rows held out by {project.split} have one label alone; give more rows, or another split"
        )
    folder.mkdir(parents=True)
    estimates = metrics.estimate(predictions, project.split.seed)
    importance: Mapping[str, float] = {}
    with extras.attempt("feature importance"):
        importance = _importance(project, model, unseen)
        _write(folder / "feature_importance.json", importance)
    with extras.attempt("pictures"):
        plots.draw(folder, project.target.labels, predictions, estimates["roc_auc"], importance)
    profile = folder / "reference_profile.json"
    with extras.attempt("reference profile"):
        _write(profile, reference_profile.describe(project, known, predictions))
    with extras.attempt("list of packages"):
        installed = sorted(f"{one.metadata['Name']}=={one.version}" for one in distributions())
        (folder / "environment.txt").write_text("\n".join(installed) + "\n")
    return Evaluation(
        estimates=estimates,
        profile=profile if profile.exists() else None,
        ranges=reference_profile.ranges(project, known),
    )


def _importance(project: Project[Any], model: Classifier, unseen: pd.DataFrame) -> dict[str, float]:
    """How much of roc_auc is lost when a feature is shuffled, whatever kind of model it is.

    Several features are asked about in one table: a call costs a forest more than its rows.
    """
    some = unseen.iloc[:: -(-len(unseen) // ROWS_SHUFFLED)]
    other = some.sample(frac=1, random_state=project.split.seed)
    lost: dict[str, float] = {}
    for start in range(0, len(project.features), FEATURES_TOGETHER):
        names = project.features[start : start + FEATURES_TOGETHER]
        shuffled = [some.assign(**{name: other[name].array}) for name in names]
        predictions = metrics.predict(project, model, pd.concat([some, *shuffled], ignore_index=True))
        table = np.arange(len(predictions.truth)) // len(some)
        whole, *rest = (metrics.measure(predictions.only(table == one))["roc_auc"] for one in range(1 + len(names)))
        lost |= {name: whole - area for name, area in zip(names, rest, strict=True)}
    return lost


def _write(file: Path, content: object) -> None:
    text = json.dumps(content, indent=1)
    file.write_text(text)
