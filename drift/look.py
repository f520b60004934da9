"""One look at the prediction log of a version: compares a window with the version's reference, and decides."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from numpy.typing import NDArray

from contract.names import REFERENCE_PROFILE
from drift import estimate, hypotheses, joint, reference
from drift.athena import Athena
from drift.estimate import Estimated
from drift.hypotheses import Finding
from drift.reference import Reference
from drift.window import BLOCKS, Window
from prediction_log import log
from prediction_log.log import LogFile, Part, Unreadable
from prediction_log.store import Store
from training import mlflow_logging, project
from training.data import reading, split
from training.ending import BadInputError
from training.fit.extras import Extras
from training.project import Classifier, Project, ProjectError
from training.registry import client as versions
from training.registry.client import Client
from training.validation import candidate
from training.validation.candidate import UnusableError

YEAR = timedelta(days=365)
FALSE_ALARMS_PER_YEAR = 4.0
LEAST_ROWS = 500
FEW_BLOCKS = 4
"""With rows in fewer blocks than this, dependence between rows cannot be measured."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Request to look at one window."""

    model: str
    """Name of the registered model."""
    version: int
    """Number of the version."""
    start: datetime
    """First moment of the window."""
    end: datetime
    """First moment after the window."""
    endpoint: str = ""
    """Name of the endpoint; empty if only one endpoint serves the model."""
    least_rows: int = LEAST_ROWS
    """Smallest number of rows that is compared."""
    false_alarms_per_year: float = FALSE_ALARMS_PER_YEAR
    """Number of false alarms in a year that is accepted."""

    @property
    def level(self) -> float:
        """Probability of a false alarm in one window without drift."""
        return min(0.5, self.false_alarms_per_year * ((self.end - self.start) / YEAR))


@dataclass(frozen=True, kw_only=True)
class Look:
    """Result of a look."""

    request: Request
    window: Window
    findings: Sequence[Finding]
    """Results of all tests, the most significant first; empty if there were too few rows."""
    notes: Sequence[str]
    """Sentences about what was not compared, and why."""
    estimated: Estimated | None = None
    """Performance estimated without labels; None if it could not be estimated."""
    expected: tuple[float, float] | None = None
    """Interval of the ROC-AUC that the training measured on the rows held out."""

    @property
    def status(self) -> str:
        """`drift`, `none`, or `too few rows`."""
        if not self.findings:
            return "too few rows"
        return "drift" if self.drifted else "none"

    @property
    def drifted(self) -> Sequence[Finding]:
        """Findings that are drift."""
        return [one for one in self.findings if one.is_drift]

    @property
    def is_worse(self) -> bool:
        """True if the estimated performance is certainly below what the training measured."""
        return bool(self.estimated and self.expected and self.estimated.high < self.expected[0])

    @property
    def has_effect(self) -> bool:
        """True if the window drifted and the model's predictions or its estimated performance changed."""
        return bool(self.drifted) and (self.is_worse or any(one.kind == "prediction" for one in self.drifted))

    @property
    def summary(self) -> str:
        """Result in one sentence."""
        request, rows = self.request, self.window.rows
        title = (
            f"{request.model} version {request.version}, {request.start:%m-%d %H:%M} to {request.end:%m-%d %H:%M} UTC"
        )
        if self.status == "too few rows":
            return f"{title}: {self.too_few}"
        if not self.drifted:
            return f"{title}: no drift in {rows:,} rows ({len(self.findings)} tests)"
        named = ", ".join(dict.fromkeys(one.column or "all columns together" for one in self.drifted))
        effect = "; the predictions changed" if self.has_effect else "; no effect on the predictions was found"
        return f"{title}: drift in {rows:,} rows of {named}{effect}"

    @property
    def too_few(self) -> str:
        """Sentence about too few rows, with the time that enough would take at this rate."""
        request, rows = self.request, self.window.rows
        if not rows:
            return f"the log has no row of this window, and {request.least_rows} are needed"
        needed = (request.end - request.start) * (request.least_rows / rows)
        return (
            f"{rows} rows, and {request.least_rows} are needed; at this rate a window must have {_words(needed)}, "
            "so write a larger `--hours`"
        )


@dataclass(frozen=True, kw_only=True)
class Known:
    """Known facts about a version: its reference, and its rows and model if they can be read."""

    reference: Reference
    project: Project[Any] | None = None
    rows: pd.DataFrame | None = None
    """Rows that the version's training held out; None if its table cannot be read."""
    model: Classifier | None = None
    """Model; None if it cannot be loaded."""
    expected: tuple[float, float] | None = None
    """Interval of the ROC-AUC that the training measured; None if it measured none."""
    notes: Sequence[str] = field(default_factory=tuple)


def known(client: Client, uri: str, version: ModelVersion, *, joins: bool = False) -> Known:
    """Return the known facts about the version.

    Args:
        client: client of MLflow.
        uri: address of MLflow.
        version: version of the model.
        joins: True if outcomes are joined, so that the model is needed for a metric of its probabilities.

    Raises:
        BadInputError: the version has no reference profile.
        UnknownError: the version has no files.
    """
    title, notes = f"{version.name} version {version.version}", list[str]()
    with tempfile.TemporaryDirectory() as folder:
        files = candidate.fetch(client, uri, version, Path(folder))
        profile = files.folder / REFERENCE_PROFILE
        if not profile.is_file():
            raise BadInputError(
                f"{title} has no reference profile ({REFERENCE_PROFILE}), so there is nothing to compare its requests "
                "with; train it again with this platform, and release the new version"
            )
        found = reference.read(profile.read_text(), title)
        declared, model = None, None
        try:
            declared = project.load(version.tags.get("project", ""))
            if found.calibration or (joins and declared.target.labels):
                model = cast("Classifier", files.load(mlflow_logging.trusted_types(declared)).get_raw_model())
        except (ProjectError, UnusableError) as error:
            notes.append(f"nothing is computed from the model's probabilities: {error}")
    if found.is_old:
        notes.append("the version was trained by a former release, so drift of skewed columns is found later")
    if found.empty:
        names = ", ".join(found.empty)
        notes.append(f"not compared, because they are texts or times, or had no value at the training: {names}")
    rows = None
    if declared:
        try:
            dataset = reading.load(version.tags.get("dataset", ""), declared)
            if dataset.digest == version.tags.get("dataset_digest", dataset.digest):
                rows = split.held_out(declared, dataset.table)
            else:
                notes.append("the columns are not compared all together, because the training's table was replaced")
        except (reading.DataError, reading.StoreError) as error:
            notes.append(f"the columns are not compared all together, because the training's table is gone: {error}")
    expected = measured(version, ["roc_auc"], declared).get("roc_auc")
    return Known(reference=found, project=declared, rows=rows, model=model, expected=expected, notes=notes)


def measured(
    version: ModelVersion, names: Sequence[str], declared: Project[Any] | None
) -> dict[str, tuple[float, float]]:
    """Return the intervals of metrics that the version's training measured; unknown ones are left out.

    There are none for a project with weights: the log and the outcomes have none, so weighted metrics do not apply.
    """
    if declared and declared.weight:
        return {}
    found = versions.measured(version, [name + end for name in names for end in ("_low", "_high")])
    return {n: (found[f"{n}_low"], found[f"{n}_high"]) for n in names if {f"{n}_low", f"{n}_high"} <= found.keys()}


def look(store: Store, about: Known, request: Request, engine: Athena | None = None) -> Look:
    """Compare one window of the log with the version's reference.

    Args:
        store: store with the log.
        about: reference of the version.
        request: version and window.
        engine: Athena, which reads the log; None: this process reads it.

    Raises:
        LogError: the log cannot be read, or several endpoints serve the model and the request names none of them.
        StoreError: the store or Athena did not respond.
    """
    window, unreadable = Window(about.reference, request.start, request.end), Unreadable()
    files = log.files(store, Part(model=request.model, start=request.start, end=request.end, endpoint=request.endpoint))
    ours = [file for file in files if file.version == request.version]
    if engine:
        engine.fill(window, store, ours, model=request.model, endpoint=request.endpoint)
    else:
        for _, table in log.tables(store, ours, window.is_read, unreadable):
            window.add(table)
    notes = [*about.notes, *unreadable.notes, *_notes(window, files, request)]
    if window.rows < request.least_rows:
        return Look(request=request, window=window, findings=(), notes=notes)
    sample, block = window.sample()
    found = hypotheses.compare(window)
    if about.rows is not None and (together := joint.compare(about.reference, about.rows, sample, block)):
        found.append(together)
    extras = Extras()
    estimated = None
    with extras.attempt("the estimate of the performance"):  # the model may refuse rows that a server accepts
        estimated = _estimated(about, sample, block)
    notes += [f"{part} could not be made: {why}" for part, why in extras.failed.items()]
    return Look(
        request=request,
        window=window,
        findings=hypotheses.decide(found, request.level),
        notes=notes,
        estimated=estimated,
        expected=about.expected,
    )


def _estimated(about: Known, sample: pd.DataFrame, block: NDArray[np.int64]) -> Estimated | None:
    declared, model = about.project, about.model
    if not (about.reference.calibration and declared and model) or set(declared.features) - set(sample.columns):
        return None
    place = list(model.classes_).index(declared.target.labels[-1])
    probability = model.predict_proba(reading.in_nanoseconds(declared, sample[declared.features]))[:, place]
    return estimate.estimate(about.reference.calibration, probability, block)


def _notes(window: Window, files: Sequence[LogFile], request: Request) -> Iterator[str]:
    if window.absent:
        yield f"not compared, because the log does not have them (`redact`): {', '.join(sorted(window.absent))}"
    for version, count in sorted(Counter(file.version for file in files).items()):
        if version != request.version:
            yield f"{count} files of the window are of version {version} and are not compared"
    used = int((window.by_block > 0).sum())
    if window.rows and used < FEW_BLOCKS:
        yield (
            f"all rows are in {used} of {BLOCKS} parts of the window, so dependence between rows cannot be measured, "
            "and an alarm may be false"
        )


def _words(length: timedelta) -> str:
    hours = length / timedelta(hours=1)
    return f"{hours / 24:.0f} days" if hours >= 72 else f"{hours:.0f} hours" if hours >= 2 else f"{hours * 60:.0f} min"
