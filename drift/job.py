"""Program of an endpoint's drift CronJob: `python -m drift.job ENDPOINT --model MODEL --version N --log s3://BUCKET`.

It joins outcomes if there are any and writes the joined rows to the store, looks at the last whole window of the
prediction log, records both in MLflow, and makes the step of the retraining that is due. Each part is done once for a
window. So the program may run at any time, and a run that was killed is repeated by the next one.

Exit code 0: done, with drift or without. 2: a version, store or training job is wrong. 1: any other failure.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from mlflow.entities.model_registry import ModelVersion

from contract import names
from contract.tags import DRIFT_AT, DRIFT_STATUS
from contract.tasks import METRICS
from drift import look as looks
from drift import measured, record, retrain
from drift import outcomes as observed
from drift.athena import Athena
from drift.cluster import Cluster
from drift.look import FALSE_ALARMS_PER_YEAR, LEAST_ROWS, Known, Request
from drift.measured import Measured
from drift.outcomes import Joined
from drift.retrain import Plan
from drift.window import aligned
from prediction_log import outcomes, store
from prediction_log.log import Part
from prediction_log.store import Store
from training import ending
from training.registry import client as versions
from training.registry.client import Client
from training.settings import Termination

LOG = logging.getLogger("drift")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    options = parser().parse_args(arguments)
    return ending.run(lambda: run(options, datetime.now(UTC)), termination_log=Termination().termination_log)


def run(options: argparse.Namespace, now: datetime, jobs: retrain.Jobs | None = None) -> str:
    """Make all steps that are due, log each, and return the last one in a sentence.

    Args:
        options: options of the command line.
        now: the present time.
        jobs: Jobs of the cluster; None for those of the cluster that this pod runs in.
    """
    client = versions.connect(options.tracking_uri)
    version = versions.version(client, options.model, options.version)
    start, end = aligned(now, timedelta(hours=options.hours))
    request = Request(
        model=options.model,
        version=options.version,
        start=start,
        end=end,
        least_rows=options.least_rows,
        false_alarms_per_year=options.false_alarms_per_year,
        endpoint=options.endpoint,
    )
    said = _window(client, version, request, options)
    if options.training:
        LOG.info(said)
        plan = Plan(
            endpoint=options.endpoint,
            model=options.model,
            version=options.version,
            training=options.training,
            after=options.after,
            pause=timedelta(hours=options.pause_hours),
        )
        said = retrain.step(client, jobs or Cluster(), plan, now)
    return said


def _window(client: Client, version: ModelVersion, request: Request, options: argparse.Namespace) -> str:
    """Join outcomes and look at the window, unless that was recorded; return the result of the look."""
    if record.is_recorded(version, request):
        return (
            f"the window to {request.end:%Y-%m-%d %H:%M} UTC is recorded already: "
            f"{version.tags.get(DRIFT_STATUS)} until {version.tags.get(DRIFT_AT)}"
        )
    about = looks.known(client, options.tracking_uri, version, joins=bool(options.outcomes))
    files = store.at(options.log)
    if options.outcomes:
        part = Part(
            model=request.model,
            version=request.version,
            start=request.end - timedelta(days=options.outcomes_days),
            end=request.end,
            endpoint=request.endpoint,
        )
        # Before the look: when the look is recorded, the whole window is done.
        if joined := _joined(version, about, files, part, folder=options.outcomes):
            LOG.info(_words(measured.write(client, version, joined)))
            LOG.info(_written(files, joined, version, is_trained=bool(options.training)))
    engine = Athena(workgroup=options.workgroup) if options.workgroup else None
    found = looks.look(files, about, request, engine)
    run_id = record.record(client, version, found, reports=options.reports)
    for note in found.notes:
        LOG.info("note: %s", note)
    return f"{found.summary} (run {run_id})"


def _joined(version: ModelVersion, about: Known, files: Store, part: Part, *, folder: str) -> Joined | None:
    """Join the outcomes in the folder to a part of the log; None for a model that has no metrics of the platform."""
    project = about.project
    if project is None or not (measures := METRICS[project.task]):
        LOG.info("outcomes are not joined: only models of the platform's projects whose task has metrics are measured")
        return None
    joined = observed.join(
        files,
        part,
        outcomes.read(folder, project.target.name),
        project=project,
        model=about.model,
        expected=looks.measured(version, measures, project),
    )
    for note in joined.notes:
        LOG.info("note: %s", note)
    for reason, count in joined.refused.counts.items():
        LOG.info("not joined: %d outcomes: %s: %s", count, reason, ", ".join(joined.refused.examples[reason]))
    return joined


def _written(files: Store, joined: Joined, version: ModelVersion, *, is_trained: bool) -> str:
    """Replace the endpoint's table of joined rows, and return the result in a sentence.

    While a version is trained and validated, the table stays: its validation holds out rows of the same table.
    """
    key = names.joined_table(joined.part.endpoint)
    if joined.missing:
        lacking = ", ".join(joined.missing)
        return f"{files.uri}/{key} is not written, because the joined rows lack {lacking}, which a training reads"
    if joined.table.empty:
        return f"{files.uri}/{key} is not written, because no outcome is joined"
    if is_trained and (current := retrain.of(version)) and current.is_open:
        return f"{files.uri}/{key} is not written, because Job {current.job} trains on it"
    files.write(key, observed.as_parquet(joined))
    return f"{len(joined.table)} joined rows are written to {files.uri}/{key}"


def _words(found: Measured) -> str:
    values = ", ".join(
        f"{name} {value:.3f} ({low:.3f} to {high:.3f})" for name, (value, low, high) in found.metrics.items()
    )
    worse = f"; certainly worse than the training: {', '.join(found.worse)}" if found.worse else ""
    return f"the outcome of {found.rows} of {found.predictions} rows is known: {values or 'too few for metrics'}{worse}"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    words = ending.parser("job", "Look for drift of an endpoint's requests, record it, and train the model again.")
    words.prog = "python -m drift.job"
    words.add_argument("endpoint", metavar="ENDPOINT", help="name of the endpoint")
    words.add_argument("--model", required=True, help="name of the registered model")
    words.add_argument("--version", required=True, type=ending.number, metavar="NUMBER", help="version that is served")
    words.add_argument("--log", required=True, metavar="URI", help="store of the prediction log, as in s3://BUCKET")
    words.add_argument(
        "--workgroup", default="", metavar="NAME", help="workgroup of Athena, which counts the rows (default: none)"
    )
    words.add_argument("--hours", type=float, default=24, help="length of a window in hours (default: 24)")
    words.add_argument("--least-rows", type=int, default=LEAST_ROWS, help="smallest number of rows that is compared")
    words.add_argument(
        "--false-alarms-per-year", type=float, default=FALSE_ALARMS_PER_YEAR, help="accepted number of false alarms"
    )
    words.add_argument("--reports", default="", metavar="URI", help="folder for reports (default: that of MLflow)")
    words.add_argument("--outcomes", default="", metavar="URI", help="folder with outcomes (default: none)")
    words.add_argument("--outcomes-days", type=float, default=30, help="days of the log to join (default: 30)")
    words.add_argument("--training", default="", metavar="NAME", help="training job to start (default: none)")
    words.add_argument("--after", type=int, default=2, help="windows in a row before a retraining (default: 2)")
    words.add_argument("--pause-hours", type=float, default=168, help="hours between two retrainings (default: 168)")
    return words


if __name__ == "__main__":
    # Process 1 of a container ignores SIGTERM unless it has a handler.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
