"""Logs a training run to MLflow and registers its version."""

import json
import logging
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import mlflow
import mlflow.pyfunc as mlflow_pyfunc
import mlflow.sklearn as mlflow_sklearn
import numpy as np
import pandas as pd
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from mlflow.data.dataset_source_registry import get_dataset_source_from_json
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModel, LoggedModelStatus, RunInfo
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, Schema
from numpy.typing import NDArray

from contract import locations
from contract.digest import folder_digest
from training.data.columns import spelled
from training.data.reading import Dataset
from training.project import Model as FittedModel
from training.project import Project, ProjectError
from training.registry import filters

LOG = logging.getLogger(__name__)
REQUIREMENTS = ("mlflow-skinny", "numpy", "pandas", "scikit-learn", "scipy", "skops")
"""Packages that loading every model needs; the version records the versions of this process."""
# skops refuses unknown types. These hold numbers (a tree's nodes and their type) or a model in LightGBM's text format.
TRUSTED = (
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
)
TYPES = {"integer": "long", "number": "double", "category": "string", "text": "string", "time": "datetime"}
DIGEST_LENGTH = 36  # MLflow's limit for the digest of a dataset
LONGEST_DESCRIPTION = 5000  # characters; limit of MLflow's database
UNAVAILABLE = (MlflowException, BotoCoreError, Boto3Error, ClientError, ConnectionError)
TRANSIENT = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
Result = TypeVar("Result")


class TrackingError(Exception):
    """MLflow or its artifact store is not available; another try may succeed."""


class _Mlflow(Protocol):
    def set_experiment(self, experiment_name: str) -> object: ...
    def register_model(self, model_uri: str, name: str, *, tags: dict[str, str]) -> ModelVersion: ...


class _MlflowSklearn(Protocol):
    def save_model(
        self,
        sk_model: FittedModel,
        path: Path,
        *,
        signature: ModelSignature,
        input_example: pd.DataFrame,
        pip_requirements: Sequence[str],
        skops_trusted_types: Sequence[str],
        extra_files: Sequence[str],
        metadata: Mapping[str, object],
    ) -> None: ...


class _Described(Protocol):
    """Content of the file MLmodel."""

    run_id: str | None
    model_id: str | None
    model_uuid: str | None
    artifact_path: str | None

    def save(self, path: str) -> None: ...


class _Mlmodel(Protocol):
    def load(self, path: str) -> _Described: ...


class _Predicts(Protocol):
    def predict(self, data: pd.DataFrame) -> object: ...


class _MlflowPyfunc(Protocol):
    def load_model(self, model_uri: str) -> _Predicts: ...


# Typed parts of MLflow, whose own types are incomplete.
MLFLOW = cast("_Mlflow", mlflow)
MLFLOW_SKLEARN = cast("_MlflowSklearn", mlflow_sklearn)
MLFLOW_PYFUNC = cast("_MlflowPyfunc", mlflow_pyfunc)
MLMODEL = cast("_Mlmodel", Model)


def wait_for_mlflow(uri: str, patience: float) -> None:
    """Wait until the server at the URI responds. Return at once if the URI is a local store.

    Args:
        uri: tracking URI of MLflow.
        patience: longest time to wait, in seconds.

    Raises:
        TrackingError: the server did not respond in time.
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
        LOG.info("MLflow at %s does not respond (%s); retrying for %.0f more seconds", uri, fault, left)
        time.sleep(min(pause, left))
        pause = min(2 * pause, 5)
    else:
        return
    raise TrackingError(
        f"MLflow at {uri} does not respond after {patience:.0f} seconds ({fault}); "
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
    """Make this experiment on this server the target of new runs; create the experiment if it does not exist."""
    mlflow.set_tracking_uri(uri)
    MLFLOW.set_experiment(name)


def log_dataset(dataset: Dataset, project: Project[Any]) -> None:
    """Log the address, digest, size and columns of the table to the active run."""
    mlflow.log_params({"dataset": dataset.uri, "dataset_size": len(dataset.table), "dataset_digest": dataset.digest})
    kind = "s3" if isinstance(locations.parse(dataset.uri), locations.S3Object) else "local"
    described = MetaDataset(
        source=get_dataset_source_from_json(json.dumps({"uri": dataset.uri}), kind),
        name=Path(dataset.uri).stem,
        digest=dataset.digest[:DIGEST_LENGTH],
        schema=_signature(project).inputs,
    )
    mlflow.log_input(described, context="training")


def _signature(project: Project[Any], predicted: NDArray[Any] | None = None) -> ModelSignature:
    """Return the declared signature. An inferred one depends on the rows and makes MLflow warn about integers.

    The output of a custom task is that of some predictions.
    """
    kind = "double" if project.task == "regression" else "string"
    if project.task == "custom" and predicted is not None:
        kind = {"f": "double", "i": "long", "u": "long", "b": "boolean"}.get(np.asarray(predicted).dtype.kind, "string")
    return ModelSignature(
        inputs=Schema([ColSpec(TYPES[column.kind], column.name) for column in project.columns]),
        outputs=Schema([ColSpec(kind)]),
    )


def truth_values(project: Project[Any]) -> dict[str, list[str]]:
    """Return the categories, by column, that a false and a true of a Parquet file become in training."""
    found: dict[str, list[str]] = {}
    for column in project.columns:
        words = {word.lower(): word for word in ("False", "True")} | spelled(column.categories)
        if set(words.values()) & set(column.categories):
            found[column.name] = list(words.values())
    return found


def trusted_types(project: Project[Any]) -> list[str]:
    """Return the types that loading a model of the project may create, besides those that skops itself trusts."""
    return [*TRUSTED, *project.trusted]


def save_model(
    project: Project[Any],
    model: FittedModel,
    folder: Path,
    *,
    example: pd.DataFrame,
    profile: Path | None,
    ranges: Mapping[str, Sequence[float]],
) -> None:
    """Save the model to the folder in MLflow's layout and skops' format, then load it and predict the example.

    The format of skops runs no code on loading.

    Raises:
        ProjectError: the model contains types that the project does not declare.
    """
    packages = sorted({*REQUIREMENTS, *project.packages})
    try:
        MLFLOW_SKLEARN.save_model(
            model,
            folder,
            signature=_signature(project, model.predict(example)),
            input_example=example,
            pip_requirements=[f"{package}=={metadata.version(package)}" for package in packages],
            skops_trusted_types=trusted_types(project),
            extra_files=[str(profile)] if profile else [],
            # The model server counts values outside of the ranges, and /schema has the spelling of truth values.
            metadata={"feature_ranges": dict(ranges), "truth_values": truth_values(project)},
        )
        MLFLOW_PYFUNC.load_model(str(folder)).predict(example)
    except MlflowException as error:
        if found := re.search(r"Untrusted types found in the file: \[(.*?)\]", str(error)):
            raise ProjectError(
                f"the model contains {found[1]}, and only trusted types are loaded; use types of scikit-learn, or list "
                "these in `trusted` of the project and add their packages to the serving image"
            ) from error
        raise


def log_model(folder: Path, run: RunInfo) -> tuple[str, str]:
    """Log the model in the folder to the run and return the URI and the digest of the logged model.

    A second call completes the first one, so that the run has exactly one model.
    """
    client = MlflowClient()
    earlier = client.search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'")
    logged = earlier[0] if earlier else mlflow.initialize_logged_model("model", source_run_id=run.run_id)
    name_in_files(folder, logged)
    client.log_model_artifacts(logged.model_id, str(folder))
    mlflow.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return f"models:/{logged.model_id}", folder_digest(folder)


def name_in_files(folder: Path, logged: LoggedModel) -> None:
    """Write the IDs of the logged model and of its run to the file MLmodel in the folder."""
    described = MLMODEL.load(str(folder))
    described.run_id, described.model_id = logged.source_run_id, logged.model_id
    described.model_uuid, described.artifact_path = logged.model_id, logged.artifact_location
    described.save(str(folder / "MLmodel"))


@dataclass(frozen=True, kw_only=True)
class Version:
    """Version to register."""

    model_uri: str
    """URI of the logged model."""
    description: str
    """Text that MLflow shows; cut after 5,000 characters."""
    tags: Mapping[str, str]


def register(name: str, version: Version) -> int:
    """Register the version under the model's name and return its number.

    The first version creates the registered model. A second call returns the version of the first call.
    """
    client = MlflowClient()
    similar = client.search_model_versions(filters.equal("name", name))
    same = [one for one in similar if (one.name, one.source) == (name, version.model_uri)]
    registered = same[0] if same else MLFLOW.register_model(version.model_uri, name, tags=dict(version.tags))
    client.update_model_version(name, str(registered.version), version.description[:LONGEST_DESCRIPTION])
    return int(registered.version)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Retries calls while MLflow or its artifact store does not respond."""

    seconds: float
    """Longest time to retry a call."""
    uri: str
    """Tracking URI of MLflow, for messages."""
    kept: str = ""
    """Clause for the error message: the results that are not lost, and where they are."""

    def __call__(self, action: Callable[[], Result]) -> Result:
        """Return the result of the action.

        Raises:
            TrackingError: there was no response in time.
        """
        deadline, pause = time.monotonic() + self.seconds, 1.0
        while True:
            try:
                return action()
            except UNAVAILABLE as error:
                if isinstance(error, MlflowException) and error.error_code not in TRANSIENT:
                    raise
                fault, left = reason(error), deadline - time.monotonic()
                if left <= 0:
                    raise TrackingError(
                        f"MLflow at {self.uri}, or its artifact store, stopped responding during the run, for "
                        f"{self.seconds:.0f} seconds ({fault}); {self.kept or 'the trained model is logged'}; "
                        "check that both run, then start the job again"
                    ) from error
            LOG.warning("MLflow does not respond (%s); retrying for %.0f more seconds", fault, left)
            time.sleep(min(pause, left))
            pause = min(2 * pause, 5)


def reason(error: BaseException) -> str:
    """Return the message of the innermost cause, for example `Connection refused`."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return " ".join(str(error).split())[:500]
