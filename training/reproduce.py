"""Trains a version again and compares the two, in a checkout with git. `mlops reproduce` calls it.

The code is that of the recorded commit, in a worktree of its own; the data must have the recorded digest, and the
parameters are the recorded ones. Nothing is registered: the run goes to an MLflow that is gone afterwards.
"""

import json
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from contract.tags import GIT_COMMIT
from training import project
from training.data import locations, reading, source, split
from training.ending import BadInputError, FailedError
from training.fit.metrics import NAMES, measure, predict
from training.registry import client as versions
from training.registry.client import Client
from training.registry.stages import RefusedError
from training.validation import candidate
from training.validation.candidate import Candidate

SAME = 1e-9
"""Probabilities and metrics that differ by less are the same: sums in another order differ in the last digits."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a version says about how it came to be."""

    project: str
    commit: str
    dataset: str
    digest: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The version beside the one that was trained again, on the same unseen rows."""

    recorded: Mapping[str, float]
    again: Mapping[str, float]
    rows: int
    other_labels: int
    """Rows to which the two give different labels."""
    largest: float
    """Largest difference of two probabilities."""

    @property
    def is_same(self) -> bool:
        """Nobody could tell the two apart."""
        metrics = all(abs(self.recorded[name] - self.again[name]) < SAME for name in NAMES)
        return metrics and not self.other_labels and self.largest < SAME


def recipe(client: Client, version: ModelVersion, dataset: str = "") -> Recipe:
    """What the version's tags and its run say.

    Raises:
        BadInputError: something is missing that a training writes.
    """
    needed = ("project", GIT_COMMIT, "dataset", "dataset_digest")
    if missing := [name for name in needed if not version.tags.get(name)]:
        raise BadInputError(
            f"{version.name} version {version.version} has no tag {', '.join(missing)}: nobody knows how it was made; "
            "train with GIT_COMMIT set, as the platform does"
        )
    if not version.run_id:
        raise BadInputError(f"{version.name} version {version.version} has no run, so its parameters are not known")
    tags, run = version.tags, client.get_run(version.run_id)
    return Recipe(
        project=tags["project"],
        commit=tags[GIT_COMMIT],
        dataset=dataset or tags["dataset"],
        digest=tags["dataset_digest"],
        parameters=_parameters(tags["project"], run),
    )


def train_again(made: Recipe, store: str, folder: Path) -> Candidate:
    """The folder holds a model that the recorded commit trained with the recipe, as a version of `again` in the store.

    Raises:
        BadInputError: this checkout does not have the commit.
        FailedError: the training did not end well.
    """
    environment = {
        "PROJECT": made.project, "DATASET": _absolute(made.dataset), "MODEL": "again", "EXPERIMENT": "again",
        "PARAMETERS": json.dumps(dict(made.parameters)), "MLFLOW_TRACKING_URI": store,
        "WORK_FOLDER": str(folder / "work"), "GIT_COMMIT": made.commit,
    }  # fmt: skip
    told = [f"{name}={value}" for name, value in environment.items()]
    with _worktree(made.commit, folder / "code") as code:
        # A module that is started in a folder comes from it, whatever is installed; so does a store's `mlruns`.
        command = ["env", *told, sys.executable, "-m", "training.train"]
        ended = subprocess.run(command, cwd=code, capture_output=True, text=True, check=False)
        if ended.returncode:
            lines = (ended.stdout or ended.stderr).strip().splitlines()
            raise FailedError(f"training again at {made.commit} failed: {lines[-1] if lines else 'without a word'}")
        client = versions.connect(store)
        return candidate.fetch(client, store, versions.versions(client, "again")[0], folder)


def compare(made: Recipe, recorded: Candidate, again: Candidate) -> Comparison:
    """Both models on the rows held out of the recipe's data."""
    declared = project.load(made.project)
    unseen = split.held_out(declared, reading.load(made.dataset, declared).table)
    one, other = (predict(declared, each.load().get_raw_model(), unseen, each.columns) for each in (recorded, again))
    return Comparison(
        recorded=measure(one),
        again=measure(other),
        rows=len(unseen),
        other_labels=int((one.predicted != other.predicted).sum()),
        largest=float(np.abs(one.probability - other.probability).max()),
    )


def _parameters(name: str, run: Run) -> dict[str, str]:
    """The project's own among all that the run recorded."""
    known = project.load(name).parameters.model_fields
    return {key: value for key, value in run.data.params.items() if key in known}


def check_data(made: Recipe) -> None:
    """Raise RefusedError if the dataset no longer has the recorded digest."""
    with source.stream(made.dataset) as stream:
        while stream.read(source.BLOCK):
            pass
        if stream.digest != made.digest:
            raise RefusedError(
                f"{made.dataset} has changed: its sha256 is {stream.digest[:12]}, and was {made.digest[:12]} when the "
                "version was trained; give the file as it was with --dataset"
            )


@contextmanager
def _worktree(commit: str, folder: Path) -> Generator[Path]:
    """The files of the commit, in a folder that is gone afterwards."""
    wanted = commit.removesuffix("-dirty")
    try:
        _git("worktree", "add", "--detach", str(folder), wanted)
    except FileNotFoundError as error:
        raise BadInputError("git is not here; run this in a checkout, on a machine with git") from error
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip().splitlines()[-1:]
        raise BadInputError(f"commit {wanted} cannot be had ({''.join(said)}); fetch it: git fetch --all") from error
    try:
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)


def _absolute(uri: str) -> str:
    where = locations.parse(uri)
    return str(where.resolve()) if isinstance(where, Path) else uri
