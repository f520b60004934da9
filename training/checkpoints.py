"""Checkpoints of a fit: its state after each step, kept with the MLflow run, from which a later run continues.

A pod whose node was lost, or a run that was killed, leaves an unfinished run in MLflow. The next run of the same work
finds its checkpoint. Work is the same if the project, its parameters, the dataset, the code and the Job are.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from training.mlflow_logging import Patience, TrackingError
from training.registry import filters

LOG = logging.getLogger("training")
KEY = "checkpoint_key"
"""Tag of a run that has a checkpoint: hash of the work that the checkpoint belongs to."""
RESUMED_FROM = "resumed_from"
"""Tag of a run that continued another run's work: ID of that run."""
FOLDER, FILE = "checkpoint", "state"
"""Artifact of the run that holds the last checkpoint."""


def key_of(work: Mapping[str, object]) -> str:
    """Return a short hash of everything that must be equal for a run to continue another one's work."""
    return hashlib.sha256(json.dumps(work, sort_keys=True, default=str).encode()).hexdigest()[:32]


class _Logs(Protocol):
    """Typed part of MLflow's client."""

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str) -> None: ...
    def set_tag(self, run_id: str, key: str, value: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class RunCheckpoints:
    """Checkpoints among the artifacts of an MLflow run."""

    uri: str
    """Tracking URI of MLflow."""
    experiment_id: str
    """Experiment of the run."""
    run_id: str
    """Run that saves."""
    key: str
    """Hash of the work."""
    patience: Patience
    """Retries while MLflow or the artifact store does not respond."""

    def latest(self) -> bytes | None:
        """Return the newest checkpoint of an unfinished run with the same work; None if there is none."""
        client = MlflowClient(self.uri)
        wanted = filters.equal(f"tags.{KEY}", self.key)
        for run in self.patience(lambda: client.search_runs([self.experiment_id], wanted)):
            if run.info.run_id != self.run_id and run.info.status != "FINISHED":
                content = self.patience(lambda run=run: _content(client, run))
                LOG.info("run %s was not finished; its checkpoint is used", run.info.run_id)
                self.patience(lambda run=run: client.set_tag(self.run_id, RESUMED_FROM, run.info.run_id))
                return content
        return None

    def save(self, content: bytes) -> None:
        """Save the checkpoint. If MLflow or the store fails for long, log a warning, because the fit can go on."""
        client = cast("_Logs", MlflowClient(self.uri))
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / FILE
                file.write_bytes(content)
                self.patience(lambda: client.log_artifact(self.run_id, str(file), FOLDER))
            # The tag comes last, so a run with the tag has a whole checkpoint.
            self.patience(lambda: client.set_tag(self.run_id, KEY, self.key))
        except (MlflowException, TrackingError) as error:
            LOG.warning("the checkpoint was not saved (%s)", error)


def _content(client: MlflowClient, run: Run) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run.info.run_id, f"{FOLDER}/{FILE}", folder)).read_bytes()
