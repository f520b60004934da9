"""What MLflow is told of a run, and the registered version that comes of it."""

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

from contract.digest import folder_digest
from training.data import locations
from training.data.reading import Dataset
from training.project import Classifier, Project, ProjectError
from training.registry import filters

LOG = logging.getLogger(__name__)
# What loading the model needs, at the versions that made it.
REQUIREMENTS = ("mlflow-skinny", "numpy", "pandas", "scikit-learn", "scipy", "skops")
# skops refuses types it does not know. These hold numbers (a tree's nodes, their type) or a model as LightGBM's text.
TRUSTED = (
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
)
TYPES = {"integer": "long", "number": "double", "category": "string"}
DIGEST_LENGTH = 36  # MLflow's limit for the digest of a dataset
LONGEST_DESCRIPTION = 5000  # characters, of MLflow's database
UNANSWERED = (MlflowException, BotoCoreError, Boto3Error, ClientError, ConnectionError)
MAY_PASS = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
Result = TypeVar("Result")


class TrackingError(Exception):
    """MLflow cannot be used; the next try may succeed."""


class _Mlflow(Protocol):
    def set_experiment(self, experiment_name: str) -> object: ...
    def register_model(self, model_uri: str, name: str, *, tags: dict[str, str]) -> ModelVersion: ...


class _MlflowSklearn(Protocol):
    def save_model(
        self,
        sk_model: Classifier,
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
    """The file MLmodel."""

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


# MLflow is typed in part; these are the functions used here that are not.
MLFLOW = cast("_Mlflow", mlflow)
MLFLOW_SKLEARN = cast("_MlflowSklearn", mlflow_sklearn)
MLFLOW_PYFUNC = cast("_MlflowPyfunc", mlflow_pyfunc)
MLMODEL = cast("_Mlmodel", Model)


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


def log_dataset(dataset: Dataset, project: Project[Any]) -> None:
    """The run shows where the table came from, its digest, its size and its columns."""
    mlflow.log_params({"dataset": dataset.uri, "dataset_size": len(dataset.table), "dataset_digest": dataset.digest})
    kind = "s3" if isinstance(locations.parse(dataset.uri), locations.S3Object) else "local"
    described = MetaDataset(
        source=get_dataset_source_from_json(json.dumps({"uri": dataset.uri}), kind),
        name=Path(dataset.uri).stem,
        digest=dataset.digest[:DIGEST_LENGTH],
        schema=_signature(project).inputs,
    )
    mlflow.log_input(described, context="training")


def _signature(project: Project[Any]) -> ModelSignature:
    """Written down, not inferred: the same for every sample, and without MLflow's warning about whole numbers."""
    return ModelSignature(
        inputs=Schema([ColSpec(TYPES[column.kind], column.name) for column in project.columns]),
        outputs=Schema([ColSpec("string")]),
    )


def save_model(
    project: Project[Any],
    model: Classifier,
    folder: Path,
    *,
    example: pd.DataFrame,
    profile: Path | None,
    ranges: Mapping[str, Sequence[float]],
) -> None:
    """The folder holds the model as MLflow keeps it, in skops' format, which runs no code on loading; it was tried.

    Raises:
        ProjectError: the model is made of types that the project does not declare.
    """
    packages = sorted({*REQUIREMENTS, *project.packages})
    try:
        MLFLOW_SKLEARN.save_model(
            model,
            folder,
            signature=_signature(project),
            input_example=example,
            pip_requirements=[f"{package}=={metadata.version(package)}" for package in packages],
            skops_trusted_types=[*TRUSTED, *project.trusted],
            extra_files=[str(profile)] if profile else [],
            metadata={"feature_ranges": dict(ranges)},  # a server counts what lies outside
        )
        MLFLOW_PYFUNC.load_model(str(folder)).predict(example)
    except MlflowException as error:
        if found := re.search(r"Untrusted types found in the file: \[(.*?)\]", str(error)):
            raise ProjectError(
                f"the model holds {found[1]}, which loading it would have to trust; use what scikit-learn has, or name "
                "them in `trusted` of the project, and serve it with an image that has them"
            ) from error
        raise


def log_model(folder: Path, run: RunInfo) -> tuple[str, str]:
    """The run holds the model in the folder, and no other. Returns its URI and digest.

    Done again, it ends what it began.
    """
    client = MlflowClient()
    begun = client.search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'")
    made = begun[0] if begun else mlflow.initialize_logged_model("model", source_run_id=run.run_id)
    name_in_files(folder, made)
    client.log_model_artifacts(made.model_id, str(folder))
    mlflow.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    return f"models:/{made.model_id}", folder_digest(folder)


def name_in_files(folder: Path, made: LoggedModel) -> None:
    """The model's own files say which logged model, of which run, they are."""
    described = MLMODEL.load(str(folder))
    described.run_id, described.model_id = made.source_run_id, made.model_id
    described.model_uuid, described.artifact_path = made.model_id, made.artifact_location
    described.save(str(folder / "MLmodel"))


@dataclass(frozen=True, kw_only=True)
class Version:
    """What a registered version will say of a logged model."""

    model_uri: str
    description: str
    tags: Mapping[str, str]


def register(name: str, made: Version) -> int:
    """A new version of the registered model, which is made when it is the first. Returns the version's number.

    Done again, it finds the version that is there.
    """
    client = MlflowClient()
    there = client.search_model_versions(filters.equal("name", name))
    found = [one for one in there if (one.name, one.source) == (name, made.model_uri)]
    version = found[0] if found else MLFLOW.register_model(made.model_uri, name, tags=dict(made.tags))
    client.update_model_version(name, str(version.version), made.description[:LONGEST_DESCRIPTION])
    return int(version.version)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Does what needs MLflow, and again when MLflow or its artifact store does not answer, for so many seconds."""

    seconds: float
    uri: str
    kept: str = ""
    """What is not lost, and where; told when patience is out."""

    def __call__(self, action: Callable[[], Result]) -> Result:
        """The action's result.

        Raises:
            TrackingError: there was no answer in time.
        """
        deadline, pause = time.monotonic() + self.seconds, 1.0
        while True:
            try:
                return action()
            except UNANSWERED as error:
                if isinstance(error, MlflowException) and error.error_code not in MAY_PASS:
                    raise
                fault, left = reason(error), deadline - time.monotonic()
                if left <= 0:
                    raise TrackingError(
                        f"MLflow at {self.uri}, or its artifact store, went away during the run and did not come back "
                        f"in {self.seconds:.0f} seconds ({fault}); {self.kept or 'what was trained is logged'}; "
                        "see that both run, then start the job again"
                    ) from error
            LOG.warning("MLflow does not answer (%s); trying for %.0f more seconds", fault, left)
            time.sleep(min(pause, left))
            pause = min(2 * pause, 5)


def reason(error: BaseException) -> str:
    """The innermost reason: `Connection refused`, not what five layers made of it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return " ".join(str(error).split())[:500]
