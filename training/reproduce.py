"""Trains a version again, in a checkout with git, and compares the two models. `mlops reproduce` calls it.

The code comes from the recorded commit, in its own worktree. The parameters are the recorded ones, and the dataset must
have the recorded digest. Nothing is registered: the run goes to a temporary MLflow store.
"""

import json
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isclose
from pathlib import Path

import numpy as np
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from contract import locations
from contract.stages import RefusedError
from contract.tags import GIT_COMMIT
from training import project
from training.data import reading, source, split
from training.ending import BadInputError, FailedError
from training.fit.metrics import predict
from training.fit.predictions import BinaryPredictions, MulticlassPredictions, Predictions
from training.mlflow_logging import trusted_types
from training.registry import client as versions
from training.registry.client import Client
from training.validation import candidate
from training.validation.candidate import Candidate

SAME = 1e-9
"""Tolerance for probabilities and metrics, relative above 1: sums in another order differ in the last digits."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Inputs that a version was trained with."""

    project: str
    """Name of the model project."""
    commit: str
    """Git commit of the code; ends with `-dirty` if the code had other changes."""
    dataset: str
    """Address of the dataset."""
    digest: str
    """SHA-256 of the dataset."""
    parameters: Mapping[str, str]
    """Parameters of the project."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of the recorded model and the model trained again, on the same unseen rows."""

    recorded: Mapping[str, float]
    """Metrics of the recorded model."""
    again: Mapping[str, float]
    """Metrics of the model trained again."""
    rows: int
    """Number of rows."""
    other_labels: int
    """Number of rows for which the two models predict different labels."""
    largest: float
    """Largest difference of two probabilities for the same row. For other tasks than classification: of two predicted
    numbers, as a share of the largest one."""

    @property
    def is_same(self) -> bool:
        """True if labels, probabilities and metrics are the same, up to the last digits."""
        metrics = all(
            isclose(value, self.again[name], rel_tol=SAME, abs_tol=SAME) for name, value in self.recorded.items()
        )
        return metrics and not self.other_labels and self.largest < SAME


def recipe(client: Client, version: ModelVersion, dataset: str = "") -> Recipe:
    """Return the recipe of a version, from its tags and its run.

    Raises:
        BadInputError: a tag or the run is missing.
    """
    needed = ("project", GIT_COMMIT, "dataset", "dataset_digest")
    if missing := [name for name in needed if not version.tags.get(name)]:
        raise BadInputError(
            f"{version.name} version {version.version} has no tag {', '.join(missing)}, so it cannot be trained again; "
            "train a version with GIT_COMMIT set, as the platform does"
        )
    if not version.run_id:
        raise BadInputError(
            f"{version.name} version {version.version} has no run, so its parameters are not known; name a version "
            "that the platform trained"
        )
    tags, run = version.tags, client.get_run(version.run_id)
    return Recipe(
        project=tags["project"],
        commit=tags[GIT_COMMIT],
        dataset=dataset or tags["dataset"],
        digest=tags["dataset_digest"],
        parameters=parameters(tags["project"], run),
    )


def train_again(recipe: Recipe, store: str, folder: Path) -> Candidate:
    """Train the recipe with the code of its commit and return the model, downloaded to the folder.

    The model is registered as `again` in the MLflow store.

    Raises:
        BadInputError: this checkout does not have the commit.
        FailedError: the training failed.
    """
    environment = {
        "PROJECT": recipe.project, "DATASET": _absolute(recipe.dataset), "MODEL": "again", "EXPERIMENT": "again",
        "PARAMETERS": json.dumps(dict(recipe.parameters)), "MLFLOW_TRACKING_URI": store,
        "WORK_FOLDER": str(folder / "work"), "GIT_COMMIT": recipe.commit,
    }  # fmt: skip
    variables = [f"{name}={value}" for name, value in environment.items()]
    with _worktree(recipe.commit, folder / "code") as code:
        # Python imports `training` from the working directory first, and a local store writes `mlruns` there.
        command = ["env", *variables, sys.executable, "-m", "training.train"]
        ended = subprocess.run(command, cwd=code, capture_output=True, text=True, check=False)
        if ended.returncode:
            lines = (ended.stdout or ended.stderr).strip().splitlines()
            raise FailedError(f"training again at {recipe.commit} failed: {lines[-1] if lines else 'no output'}")
        client = versions.connect(store)
        return candidate.fetch(client, store, versions.versions(client, "again")[0], folder)


def compare(recipe: Recipe, recorded: Candidate, again: Candidate) -> Comparison:
    """Compare both models on the rows held out of the recipe's dataset."""
    declared = project.load(recipe.project)
    unseen = split.held_out(declared, reading.load(recipe.dataset, declared).table)
    trusted = trusted_types(declared)
    one, other = (
        predict(declared, each.load(trusted).get_raw_model(), unseen, each.columns) for each in (recorded, again)
    )
    # Probabilities are at most 1; numbers have a unit.
    largest = float(np.abs(one.outputs).max()) if declared.task in {"regression", "custom"} else 1
    return Comparison(
        recorded=one.measure(),
        again=other.measure(),
        rows=len(unseen),
        other_labels=_other_labels(one, other),
        largest=float(np.abs(one.outputs - other.outputs).max()) / (largest or 1),
    )


def _other_labels(one: Predictions, other: Predictions) -> int:
    match one, other:
        case (BinaryPredictions(), BinaryPredictions()) | (MulticlassPredictions(), MulticlassPredictions()):
            return int((one.predicted != other.predicted).sum())
        case _:
            return 0


def parameters(name: str, run: Run) -> dict[str, str]:
    """Return the parameters of the project among all values that the run recorded."""
    known = project.load(name).parameters.model_fields
    return {key: value for key, value in run.data.params.items() if key in known}


def check_data(recipe: Recipe) -> None:
    """Raise RefusedError if the dataset no longer has the recorded digest."""
    with source.stream(recipe.dataset) as stream:
        while stream.read(source.BLOCK):
            pass
        if stream.digest != recipe.digest:
            raise RefusedError(
                f"{recipe.dataset} has changed: its SHA-256 is {stream.digest[:12]}, and it was {recipe.digest[:12]} "
                "when the version was trained; give the address of the unchanged file with --dataset"
            )


@contextmanager
def _worktree(commit: str, folder: Path) -> Generator[Path]:
    """Check out the commit in the folder; remove the folder at the end."""
    clean = commit.removesuffix("-dirty")
    try:
        _git("worktree", "add", "--detach", str(folder), clean)
    except FileNotFoundError as error:
        raise BadInputError("git is not installed; run this in a checkout, on a machine with git") from error
    except subprocess.CalledProcessError as error:
        reason = str(error.stderr).strip().splitlines()[-1:]
        raise BadInputError(
            f"commit {clean} cannot be checked out ({''.join(reason)}); fetch it with git fetch --all"
        ) from error
    try:
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)


def _absolute(uri: str) -> str:
    where = locations.parse(uri)
    return str(where.resolve()) if isinstance(where, Path) else uri
