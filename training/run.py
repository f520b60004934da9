"""One training run, from the table to the registered version, and the messages of its failures."""

import contextlib
import errno
import json
import logging
import resource
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from mlflow.entities import RunInfo
from mlflow.exceptions import MlflowException

from contract.exit_codes import ExitCode
from contract.tags import MODEL_DIGEST, NOTEBOOK, OWN_METRICS, is_of_notebook
from contract.tasks import SHARES
from training import checkpoints, mlflow_logging, project
from training.checkpoints import RunCheckpoints
from training.data import reading, split
from training.failure import Failure, StoppedError
from training.fit import sweep
from training.fit.evaluation import Evaluation, evaluate
from training.fit.extras import Extras
from training.project import Parameters, Project, ProjectError
from training.registry import client as versions
from training.registry import duplicates
from training.settings import Settings, SettingsError, SweepPlan

LOG = logging.getLogger("training")
SECONDS_TO_GIVE_UP = 10
"""Seconds to report the failure of a sweep's point; a stopped pod is killed after 30 seconds."""
EXAMPLE_ROWS, ROWS_SEARCHED = 3, 10_000
"""Number of rows in the model's input example, and number of first rows of the table that may be taken for it."""
DEVICE, CPU = "device", "cpu"
"""Fact of a fit that names the device which trained, and its value without a GPU."""
UNUSED_GPUS = "unused_gpus"
"""Tag of a version: number of GPUs that its pod had, if the fit used none of them."""
COLUMNS_LOGGED = 10
"""Largest number of unused columns that the log names."""


def train(settings: Settings) -> int | None:
    """Read the data, fit and evaluate the model, log and register it. Return the number of the new version.

    The MLflow run is created as soon as MLflow responds; if this function raises, the run has the status FAILED and the
    reason. In a sweep the last point registers the best run; the other points return None.
    """
    try:
        return _train(settings)
    except Exception as error:
        failure = explain(error)
        plan = settings.sweep
        if plan and (failure.code == ExitCode.BAD_INPUT or settings.index_failures >= plan.retries):
            _give_up(settings, plan, failure.sentence)
        raise


def _give_up(settings: Settings, plan: SweepPlan, reason: str) -> None:
    """Tell the sweep not to wait for this point. An error here is ignored, because the point has failed already."""
    briefly = mlflow_logging.Patience(seconds=SECONDS_TO_GIVE_UP, uri=settings.mlflow_tracking_uri)
    with contextlib.suppress(MlflowException, mlflow_logging.TrackingError):
        mlflow_logging.open_experiment(settings.mlflow_tracking_uri, settings.experiment)
        sweep.from_settings(settings, plan, briefly).failed(reason)


def _train(settings: Settings) -> int | None:
    declared = project.load(settings.project)
    parameters = project.read_parameters(
        declared,
        project.named(declared, settings.parameters) | project.named(declared, settings.point),
        settings.secrets,
    )
    mlflow_logging.wait_for_mlflow(settings.mlflow_tracking_uri, settings.mlflow_patience_seconds)
    patiently = mlflow_logging.Patience(seconds=settings.mlflow_patience_seconds, uri=settings.mlflow_tracking_uri)
    early = replace(patiently, kept="no model was trained yet")
    early(lambda: mlflow_logging.open_experiment(settings.mlflow_tracking_uri, settings.experiment))
    point = sweep.from_settings(settings, settings.sweep, patiently) if settings.sweep else None
    tags = {**settings.origin, **(point.tags() if point else {})}
    run = early(lambda: mlflow.start_run(tags=tags))
    notebook = {NOTEBOOK: "true"} if is_of_notebook({}, run.data.tags) else {}
    LOG.info("run %s in experiment %s", run.info.run_id, settings.experiment)
    try:
        folder = settings.work_folder / run.info.run_id
        version = _Run(settings, declared, parameters, run.info, folder, early, notebook).version()
        number = None
        if point:
            point.keep(run.info.run_id, version)
        else:
            number = patiently(lambda: mlflow_logging.register(settings.model, version))
    except Exception as error:
        with contextlib.suppress(MlflowException):
            mlflow.set_tag("mlflow.note.content", explain(error).sentence)
        with contextlib.suppress(MlflowException):
            mlflow.end_run("FAILED")
        raise
    patiently(mlflow.end_run)
    return point.done(run.info.run_id) if point else number


@dataclass(frozen=True)
class _Run:
    settings: Settings
    project: Project[Any]
    parameters: Parameters
    info: RunInfo
    folder: Path
    """Folder that keeps the model and the evaluation until MLflow has them."""
    patiently: mlflow_logging.Patience
    notebook: Mapping[str, str]
    """Tag of a version that a notebook trains; empty for any other."""

    def version(self) -> mlflow_logging.Version:
        """Fit a model, log it with its evaluation to the active run, and return the version to register."""
        start = time.monotonic()
        parameters = self._recorded_parameters()
        inputs = parameters | {"seed": self.project.split.seed}
        self.patiently(lambda: mlflow.log_params(inputs))
        dataset = self._read()
        repeats = self._repeats(dataset, inputs)
        rows, example = len(dataset.table), self._example(dataset.table)
        known, unseen = split.divide(self.project, dataset.table)
        training_rows = replace(
            split.rows(self.project, known), gpus=self.settings.gpus, checkpoints=self._checkpoints(dataset.digest)
        )
        LOG.info("fitting %s on %d rows (%s)", self.settings.project, len(known), _listed(parameters))
        model = self.project.fit(training_rows, self.parameters)
        if (self.project.weight or self.project.target.class_weights) and "weights" not in training_rows.used:
            raise ProjectError(
                f"`fit` of {self.settings.project} does not read data.weights, so the declared weights would have no "
                "effect; pass them to the model, as in model__sample_weight=data.weights"
            )
        if training_rows.facts:
            LOG.info("facts of the fit: %s", _listed(training_rows.facts))
        unused = self._unused_gpus(training_rows.facts)

        extras = Extras()
        evaluation = evaluate(self.project, model, known, unseen, folder=self.folder / "evaluation", extras=extras)
        LOG.info("metrics on %d unseen rows: %s", len(unseen), evaluation)
        mlflow_logging.save_model(
            self.project,
            model,
            self.folder / "model",
            example=example,
            profile=evaluation.profile,
            ranges=evaluation.ranges,
        )
        model_uri, digest = self._log(evaluation, training_rows.facts, start, extras)
        return mlflow_logging.Version(
            model_uri=model_uri,
            description=f"{_listed(parameters)} on {rows} rows of {dataset.uri}: {evaluation}",
            tags=self._tags(dataset, evaluation) | repeats | unused | extras.tags | {MODEL_DIGEST: digest},
        )

    def _checkpoints(self, digest: str) -> RunCheckpoints:
        """Return the place for the state of the fit. Runs of one Job, or without a Job, with equal inputs share it."""
        settings = self.settings
        work = {
            "project": settings.project,
            "parameters": self._recorded_parameters(),
            "seed": self.project.split.seed,
            "dataset": digest,
            "origin": settings.origin,
            "point": settings.job_completion_index,
        }
        return RunCheckpoints(
            uri=settings.mlflow_tracking_uri,
            experiment_id=self.info.experiment_id,
            run_id=self.info.run_id,
            key=checkpoints.key_of(work),
            patience=self.patiently,
        )

    def _read(self) -> reading.Dataset:
        LOG.info("reading %s", self.settings.dataset)
        dataset = reading.load(self.settings.dataset, self.project)
        LOG.info("%d rows, digest sha256:%s", len(dataset.table), dataset.digest)
        if dataset.ignored:
            more = len(dataset.ignored) - COLUMNS_LOGGED
            named = ", ".join(dataset.ignored[:COLUMNS_LOGGED]) + (f" and {more} more" if more > 0 else "")
            LOG.info("columns not used: %s", named)
        self.patiently(lambda: mlflow_logging.log_dataset(dataset, self.project))
        return dataset

    def _repeats(self, dataset: reading.Dataset, inputs: Mapping[str, object]) -> dict[str, str]:
        """Return the tag of a version that repeats an earlier one, and log a warning; empty for a point of a sweep.

        Values of Secrets are not recorded, so a run with such values is never reported as a repetition.
        """
        settings = self.settings
        if settings.sweep or settings.secrets:
            return {}
        client = versions.connect(settings.mlflow_tracking_uri)
        number = self.patiently(
            lambda: duplicates.first(client, settings.model, settings.origin, dataset.digest, inputs)
        )
        if number is None:
            return {}
        LOG.warning(
            "version %d was trained with the same parameters, dataset and code; this run makes a duplicate of it",
            number,
        )
        return {duplicates.DUPLICATE_OF: str(number)}

    def _unused_gpus(self, facts: Mapping[str, str | float]) -> dict[str, str]:
        """Return the tag of a version whose pod has GPUs that the fit did not use, and log a warning; else empty."""
        given, device = self.settings.gpus, facts.get(DEVICE)
        if not given or device not in {None, CPU}:
            return {}
        LOG.warning(
            "GPUs of the pod: %d; data.facts['device'], the device with which `fit` of %s trained, is %s, so they were "
            "not used; use an image and a project whose libraries find the GPUs, or a node pool without GPUs",
            given,
            self.settings.project,
            device or "missing",
        )
        return {UNUSED_GPUS: str(given)}

    def _log(
        self, evaluation: Evaluation, facts: Mapping[str, str | float], start: float, extras: Extras
    ) -> tuple[str, str]:
        """Log the files in the folder to MLflow and delete the folder. Return the model's URI and digest."""
        LOG.info("logging the model")
        patiently = replace(self.patiently, kept=f"the trained model is kept in {self.folder / 'model'}")
        with extras.attempt("facts"):
            patiently(lambda: mlflow.log_params(dict(facts)))
        patiently(lambda: mlflow.log_metrics(evaluation.metrics | _cost(start)))
        with extras.attempt("evaluation files"):
            patiently(lambda: mlflow.log_artifacts(str(self.folder / "evaluation")))
        patiently(lambda: mlflow.set_tags(extras.tags))
        logged = patiently(lambda: mlflow_logging.log_model(self.folder / "model", self.info))
        shutil.rmtree(self.folder)
        return logged

    def _recorded_parameters(self) -> dict[str, object]:
        """Return the parameters that may be recorded: all but those from Secrets."""
        return self.parameters.model_dump(exclude=set(project.named(self.project, self.settings.secrets)))

    def _example(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a few rows of the table as the model's input example, without missing values if possible."""
        early = table[self.project.features].head(ROWS_SEARCHED)
        complete = early.dropna()
        rows = (early if complete.empty else complete).head(EXAMPLE_ROWS).reset_index(drop=True)
        return rows.astype({column.name: object for column in self.project.columns if column.kind == "category"})

    def _tags(self, dataset: reading.Dataset, evaluation: Evaluation) -> dict[str, str]:
        own = {name: metric.better for name, metric in self.project.metrics.items()}
        return (
            self.settings.origin
            | dict(self.notebook)
            | {"dataset": dataset.uri, "dataset_digest": dataset.digest, "seed": str(self.project.split.seed)}
            | {name: _rounded(name, value) for name, value in evaluation.metrics.items()}
            | ({OWN_METRICS: json.dumps(own)} if own else {})
        )


def _rounded(name: str, value: float) -> str:
    """Return the metric as a tag: four decimal places, or six digits if its values are not at most 1."""
    return f"{value:.4f}" if name.removesuffix("_low").removesuffix("_high") in SHARES else f"{value:.6g}"


def _cost(start: float) -> dict[str, float]:
    """Return the cost of the run so far: wall time and CPU time in seconds, peak memory in MiB."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cost_wall_seconds": time.monotonic() - start,
        "cost_cpu_seconds": used.ru_utime + used.ru_stime,
        "cost_peak_memory_mib": used.ru_maxrss / 1024,
    }


def explain(error: Exception) -> Failure:
    """Return the exit code and message for the error of a run."""
    match error:
        case SettingsError() | ProjectError() | reading.DataError():
            return Failure(ExitCode.BAD_INPUT, str(error))
        case reading.StoreError() | mlflow_logging.TrackingError() | StoppedError():
            return Failure(error.code if isinstance(error, StoppedError) else ExitCode.FAILED, str(error))
        case MlflowException():
            return Failure(
                ExitCode.FAILED,
                f"a call to MLflow failed: {mlflow_logging.reason(error)}; check its log, then start the job again",
            )
        case Boto3Error() | BotoCoreError() | ClientError():
            return Failure(
                ExitCode.FAILED,
                f"a call to the artifact store failed: {mlflow_logging.reason(error)}; check "
                "MLFLOW_S3_ENDPOINT_URL and the bucket",
            )
        case OSError(errno=errno.ENOSPC):
            where = error.filename or tempfile.gettempdir()
            return Failure(ExitCode.FAILED, f"no space left while writing {where}; give the job more ephemeral storage")
        case _:
            return Failure(
                ExitCode.FAILED,
                f"unexpected {type(error).__name__}: {mlflow_logging.reason(error)}; the traceback is above",
                defect=True,
            )


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
