"""Everything that is worked out about a fitted model, in a folder, before anybody is told."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.inspection import permutation_importance

from training import metrics, plots, reference_profile
from training.project import Classifier, Project
from training.source import DataError

ROWS_SHUFFLED = 2_000


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model does on the rows held out, each metric with its interval."""

    estimates: Mapping[str, metrics.Estimate]
    profile: Path
    """The reference profile, as JSON."""
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
    project: Project[Any], model: Classifier, known: pd.DataFrame, unseen: pd.DataFrame, folder: Path
) -> Evaluation:
    """The folder holds pictures, feature importance, reference profile and the versions of all packages.

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
    importance = _importance(project, model, unseen)
    plots.draw(folder, project.target.labels, predictions, estimates["roc_auc"], importance)
    profile = folder / "reference_profile.json"
    described = reference_profile.describe(project, known, predictions)
    _write(profile, described)
    _write(folder / "feature_importance.json", importance)
    installed = sorted(f"{one.metadata['Name']}=={one.version}" for one in distributions())
    (folder / "environment.txt").write_text("\n".join(installed) + "\n")
    return Evaluation(estimates=estimates, profile=profile, ranges=reference_profile.ranges(described))


def _importance(project: Project[Any], model: Classifier, unseen: pd.DataFrame) -> dict[str, float]:
    """How much of roc_auc is lost when a feature is shuffled, whatever kind of model it is."""
    some = unseen.iloc[:: -(-len(unseen) // ROWS_SHUFFLED)]
    shuffled = permutation_importance(
        model,
        some[project.features],
        some[project.target.name] == project.target.labels[-1],
        scoring=_area(project),
        n_repeats=2,
        random_state=project.split.seed,
    )
    return dict(zip(project.features, map(float, shuffled.importances_mean), strict=True))


def _area(project: Project[Any]) -> Callable[[Classifier, pd.DataFrame, "pd.Series[bool]"], float]:
    def score(model: Classifier, features: pd.DataFrame, truth: "pd.Series[bool]") -> float:
        probability = model.predict_proba(features)[:, list(model.classes_).index(project.target.labels[-1])]
        seen = truth.to_numpy()
        return metrics.measure(metrics.Predictions(truth=seen, predicted=seen, probability=probability))["roc_auc"]

    return score


def _write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=1))
