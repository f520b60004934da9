"""What MLflow is told of a run, and the registered version that comes of it."""

import json
import logging
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, cast

import mlflow
import mlflow.sklearn as mlflow_sklearn
import pandas as pd
from matplotlib.figure import Figure
from mlflow.data.dataset_source_registry import get_dataset_source_from_json
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from training.data import Dataset

LOG = logging.getLogger(__name__)
# What loading the model needs, at the versions that made it.
REQUIREMENTS = ("mlflow-skinny", "numpy", "pandas", "scikit-learn", "scipy", "skops")
# skops refuses types it does not know; these two hold numbers, a tree's nodes and their type.
TRUSTED = ("numpy.dtype", "sklearn.tree._tree.Tree")
DIGEST_LENGTH = 36  # MLflow's limit for the digest of a dataset


class TrackingError(Exception):
    """MLflow cannot be used; the next try may succeed."""


class _Mlflow(Protocol):
    def set_experiment(self, experiment_name: str) -> object: ...
    def register_model(self, model_uri: str, name: str, *, tags: dict[str, str]) -> ModelVersion: ...


class _MlflowSklearn(Protocol):
    def log_model(
        self,
        sk_model: Pipeline,
        *,
        name: str,
        signature: ModelSignature,
        input_example: pd.DataFrame,
        pip_requirements: Sequence[str],
        skops_trusted_types: Sequence[str],
    ) -> ModelInfo: ...


# MLflow is typed in part; these are the functions used here that are not.
MLFLOW = cast("_Mlflow", mlflow)
MLFLOW_SKLEARN = cast("_MlflowSklearn", mlflow_sklearn)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well the model tells the labels apart on rows it has not seen, each 0 to 1."""

    accuracy: float
    f1: float
    roc_auc: float

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.3f}" for name, value in asdict(self).items())


def wait_for_mlflow(uri: str, patience: float) -> None:
    """Returns when the server at the URI answers; at once when the URI is a local store.

    Args:
        uri: MLflow's tracking URI.
        patience: seconds.

    Raises:
        TrackingError: it did not answer in time.
    """
    if not uri.startswith(("http://", "https://")):
        return
    health = f"{uri.rstrip('/')}/health"
    deadline = time.monotonic() + patience
    pause = 1.0
    while fault := _fault_of(health):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        LOG.info("MLflow at %s does not answer (%s); trying for %.0f more seconds", uri, fault, left)
        time.sleep(min(pause, left))
        pause = min(2 * pause, 5)
    else:
        return
    raise TrackingError(
        f"MLflow at {uri} does not answer ({fault}) after {patience:.0f} seconds of trying; "
        "check MLFLOW_TRACKING_URI and that the server runs, then start the job again"
    )


def _fault_of(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except OSError as error:
        return str(error)


def open_experiment(uri: str, name: str) -> None:
    """Runs started from now on go to this experiment on this server; it is made when it is the first."""
    mlflow.set_tracking_uri(uri)
    MLFLOW.set_experiment(name)


def log_dataset(dataset: Dataset, signature: ModelSignature) -> None:
    """The run shows where the table came from, its digest, its size and its columns."""
    mlflow.log_params({"dataset": dataset.uri, "dataset_size": len(dataset.table), "dataset_digest": dataset.digest})
    kind = "s3" if dataset.uri.startswith("s3:") else "local"
    described = MetaDataset(
        source=get_dataset_source_from_json(json.dumps({"uri": dataset.uri}), kind),
        name=Path(dataset.uri).stem,
        digest=dataset.digest[:DIGEST_LENGTH],
        schema=signature.inputs,
    )
    mlflow.log_input(described, context="training")


class _Axes(Protocol):
    def imshow(self, image: NDArray[Any], *, cmap: str) -> object: ...
    def text(self, x: float, y: float, s: str, *, ha: str, va: str, color: str) -> object: ...
    def set(self, **properties: object) -> object: ...


class _Figure(Protocol):
    """matplotlib's types are partial; this is all of a figure that is used here."""

    def subplots(self) -> _Axes: ...
    def savefig(self, path: Path) -> None: ...


def log_confusion(counts: NDArray[Any], labels: Sequence[str]) -> None:
    """The run holds `confusion_matrix.png`: truth downwards, prediction to the right."""
    # A figure without pyplot draws into memory: no display, no global state.
    figure = cast("_Figure", Figure(figsize=(4, 4), layout="constrained"))
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues")
    ticks = range(len(labels))
    axes.set(xticks=ticks, xticklabels=labels, yticks=ticks, yticklabels=labels, xlabel="predicted", ylabel="true")
    for row in ticks:
        for column in ticks:
            count = counts[row, column]
            color = "white" if count > counts.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color)
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "confusion_matrix.png")
        figure.savefig(picture)
        mlflow.log_artifact(str(picture))


def log_model(model: Pipeline, signature: ModelSignature, example: pd.DataFrame) -> str:
    """The run holds the model in skops' format, which runs no code on loading. Returns its URI."""
    logged = MLFLOW_SKLEARN.log_model(
        model,
        name="model",
        signature=signature,
        input_example=example,
        pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
        skops_trusted_types=TRUSTED,
    )
    return logged.model_uri


def register(name: str, model_uri: str, *, description: str, tags: Mapping[str, str]) -> int:
    """A new version of the registered model, which is made when it is the first. Returns the version's number."""
    made = MLFLOW.register_model(model_uri, name, tags=dict(tags))
    MlflowClient().update_model_version(name, str(made.version), description)
    return int(made.version)
