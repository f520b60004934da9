"""Validates a version of a model: `python -m training.validate MODEL [VERSION]`.

It runs in the serving image, with this code copied into it. So it imports only what model_server/requirements.in has.
The version is loaded with the packages of that image, predicts its input example, and is compared with the champion on
rows that neither model learned from. The champion is the version that the stack's endpoint serves, or the version with
the alias @champion if no endpoint responds. With --endpoint, an endpoint that serves the version, such as a staging
endpoint, is tested too. The result is written to the version: the tags `validation_status` (passed or refused) and
`validated_against`, and its description; `model_digest` if the version has none. The report goes to a run of its own in
the experiment `validations`, as HTML and JSON, because a validation may not write where models are.

Exit code 0: passed. 3: refused; the last line says why. 2: a version, dataset, limit or endpoint is wrong. 1: any other
failure.
"""

import argparse
import json
import logging
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from contract.digest import folder_digest
from contract.exit_codes import ExitCode
from contract.script import VARIABLES
from contract.stages import ALIAS_AT_VALIDATION, BROKEN, NO_CHAMPION, PASSED, RefusedError
from contract.tags import (
    GIT_COMMIT,
    MODEL_DIGEST,
    SCRIPT,
    SERVING_IMAGE,
    TRAINING_JOB,
    VALIDATED_AGAINST,
    VALIDATION_REPORT,
    VALIDATION_RUN,
)
from training import ending, mlflow_logging, project
from training.data import reading, split
from training.ending import BadInputError
from training.fit.extras import Extras
from training.project import Project
from training.registry import client as versions
from training.registry.claim import BusyError
from training.registry.client import Client
from training.settings import Termination
from training.validation import candidate, checks, endpoint, endpoint_checks, limits, report, reproduced, turn
from training.validation.candidate import Candidate
from training.validation.limits import Limits
from training.validation.turn import Lock
from training.validation.verdict import Check, Report

PATIENCE = 60.0
"""Time in seconds to wait for an MLflow server that does not respond."""
NEWEST = "number of the version (default: the newest version that was not validated yet)"
EXPERIMENT = "validations"
"""Experiment of the runs that hold reports."""
LINEAGE = {*VARIABLES, GIT_COMMIT, SCRIPT, "requester"}
"""Tags that a version of a script gets from its run."""
MARK = "\n\nValidation: "
"""Beginning of the part of a version's description that a validation writes."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Request to validate one version."""

    model: str
    """Name of the registered model."""
    version: int
    """Number of the version."""
    dataset: str = ""
    """Address of the table to hold rows out of; empty for the dataset in the version's tags."""
    project: str = ""
    """Name of the model project; empty for the project in the version's tags."""
    limits: Limits
    seconds: float = 3600
    """Time in seconds after which the validation counts as dead, and another process may validate the version."""
    endpoint: str = ""
    """URL of the endpoint that serves the champion; empty if there is none."""
    allow_code: bool = False
    """Whether a version may be loaded that runs code of its files, such as a pickle."""
    reports: str = ""
    """URI of the folder for reports; empty for MLflow's default."""
    tested_endpoint: str = ""
    """URL of an endpoint that serves this version, and that is tested; empty if none is tested."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)  # its warnings repeat, less clearly, what the checks say
    options = parser().parse_args(arguments)
    return ending.run(lambda: _run(options), termination_log=Termination().termination_log)


def validate(client: Client, uri: str, request: Request) -> Report:
    """Validate the version, write the result and the report to the registry, and return the report.

    Raises:
        UnknownError: the version does not exist.
        BadInputError: its project or dataset is not known, or the endpoint to test serves another version.
        DataError: the dataset cannot be read.
        FailedError: the endpoint to test does not respond, or a rollout of it has not ended.
        BusyError: another validation of the version started later; this one writes no result.
    """
    version = versions.version(client, request.model, request.version)
    if request.tested_endpoint and (served := endpoint.tested_version(request.tested_endpoint)) != request.version:
        raise BadInputError(
            f"the endpoint {request.tested_endpoint} serves version {served}, so version {request.version} cannot be "
            f"tested there; release version {request.version} to it first, or validate version {served}"
        )
    with _lock(client, version, request.seconds) as mine, tempfile.TemporaryDirectory() as folder:
        result = _examine(client, uri, request, version, Path(folder))
        turn.check(client, version, mine)
        _publish(client, version, result, Path(folder), request.reports)
    return result


def newest(client: Client, model: str, training_job: str = "", image: str = "") -> int | None:
    """Return the newest version that was not validated, else one whose validation died; None if there is neither.

    Args:
        client: client of the registry.
        model: name of the registered model, which need not exist.
        training_job: name of a training job; versions of other training jobs are left out.
        image: image of this validation; versions that need another image are left out. Empty for every version.
    """
    found = [one for one in versions.versions(client, model) if turn.is_free(one)]
    if image:
        found = [one for one in found if one.tags.get(SERVING_IMAGE, image) == image]
    if training_job:
        found = [one for one in found if one.tags.get(TRAINING_JOB, training_job) == training_job]
    return next((int(one.version) for one in sorted(found, key=lambda one: turn.TAG in one.tags)), None)


def _run(options: argparse.Namespace) -> str:
    environment = limits.from_environment()
    mlflow_logging.wait_for_mlflow(options.tracking_uri, PATIENCE)
    client = versions.connect(options.tracking_uri)
    if not options.training_job:
        # Raises if the model does not exist. A schedule, which names a training job, may run before the first version.
        versions.standing(client, options.model)
    version = options.version
    if version is None and options.endpoint:
        version = endpoint.tested_version(options.endpoint)
    elif version is None:
        version = newest(client, options.model, options.training_job, environment.validation_image)
    if version is None:
        return f"no version of {options.model} needs a validation; name a version to validate it again"
    request = Request(
        model=options.model,
        version=version,
        dataset=options.dataset,
        project=options.project,
        limits=environment.validation,
        seconds=environment.validation_deadline_seconds,
        endpoint=environment.endpoint,
        allow_code=environment.validation_allow_code,
        reports=environment.validation_reports,
        tested_endpoint=options.endpoint or "",
    )
    result = validate(client, options.tracking_uri, request)
    marks = {"passed": "ok     ", "refused": "REFUSED", "noted": "note   "}
    for check in result.checks:
        print(f"{marks[check.outcome]} {check.name}: {check.said}")
    if result.refusals:
        raise RefusedError(result.summary)
    return result.summary


@contextmanager
def _lock(client: Client, version: ModelVersion, seconds: float) -> Generator[Lock]:
    """Hold the validation lock, so that an older result does not count while this validation runs.

    If the validation fails, the version gets the status `broken`. If another try may succeed, it gets no status, and
    the schedule validates it again.
    """
    mine = turn.of_this_process(seconds)
    try:
        turn.acquire(client, version, mine)
        yield mine
    except BusyError:
        raise
    except BaseException as error:
        with suppress(Exception):
            turn.check(client, version, mine)
            turn.release(client, version, None if _is_transient(error) else BROKEN)
        raise


def _is_transient(error: BaseException) -> bool:
    if not isinstance(error, Exception):
        return True  # the process was stopped
    code, message = ending.explain(error)
    return code == ExitCode.FAILED and bool(message)


def _examine(client: Client, uri: str, request: Request, version: ModelVersion, folder: Path) -> Report:
    origin = _origin(client, request, version)
    alias = versions.standing(client, request.model).champion
    served = endpoint.served_version(request.endpoint) if request.endpoint else None
    champion = served or alias
    new, old, known = candidate.fetch(client, uri, version, folder), None, [version]
    digest = folder_digest(new.folder)  # before the model's own code is loaded, which may write files
    if champion and champion != new.number:
        known.append(versions.version(client, request.model, champion))
        old = candidate.fetch(client, uri, known[-1], folder)
    inputs, dataset_uri, dataset_digest = _inputs(client, request, origin, known, (new, old))
    found = checks.run_checks(inputs)
    # Without a latency the version cannot predict; a check has refused it for that reason.
    can_predict = found.latency_ms is not None and (found.scores or origin is None)
    tests = _endpoint_checks(request, inputs) if request.tested_endpoint and can_predict else []
    return Report(
        model=request.model,
        version=new.number,
        champion=champion,
        champion_alias=alias,
        at=datetime.now(UTC),
        dataset=dataset_uri,
        dataset_digest=dataset_digest,
        model_digest=digest,
        limits=inputs.limits,
        checks=[
            _files(version, digest),
            *reproduced.check(client, version),
            *found.checks,
            *tests,
            *_endpoint_note(request.endpoint if served is None else ""),
        ],
        scores=found.scores,
        slices=found.slices,
        size_mb=new.size_mb,
        latency_ms=found.latency_ms,
    )


def _inputs(
    client: Client,
    request: Request,
    origin: tuple[Project[Any], str] | None,
    known: Sequence[ModelVersion],
    candidates: tuple[Candidate, Candidate | None],
) -> tuple[checks.Inputs | checks.ScriptInputs, str, str]:
    """Return the inputs of the checks, and address and digest of the table; both empty for a script's version."""
    new, old = candidates
    if origin is None:
        logged = {int(one.version): client.get_run(one.run_id).data.metrics if one.run_id else {} for one in known}
        inputs = checks.ScriptInputs(
            new=new, old=old, logged=logged, limits=request.limits, allow_code=request.allow_code
        )
        return inputs, "", ""
    declared, uri = origin
    dataset = reading.load(uri, declared)
    inputs = checks.Inputs(
        project=declared,
        new=new,
        old=old,
        table=dataset.table,
        recorded={int(one.version): recorded(one, dataset.digest, declared.measured) for one in known},
        limits=request.limits.of(declared.task, {name: metric.better for name, metric in declared.metrics.items()}),
        allow_code=request.allow_code,
    )
    return inputs, uri, dataset.digest


def _files(version: ModelVersion, digest: str) -> Check:
    """Check that the files are the registered ones."""
    registered = version.tags.get(MODEL_DIGEST)
    changed = (
        f"its files have the digest {digest}, and its tag {MODEL_DIGEST} says {registered}, so a file or the tag was "
        "changed; train the model again"
    )
    said = f"sha256 {digest}, as at its training" if registered else f"sha256 {digest}, now in the tag {MODEL_DIGEST}"
    return Check.of("files", [changed] if registered not in (None, digest) else [], said)


def _endpoint_checks(request: Request, inputs: checks.Inputs | checks.ScriptInputs) -> list[Check]:
    new, title = inputs.new, f"{request.model} version {request.version}"
    if isinstance(inputs, checks.Inputs):
        unseen = split.held_out(inputs.project, inputs.table)[new.columns or inputs.project.features]
    elif (unseen := new.example) is None:
        return []
    return endpoint_checks.run_checks(
        request.tested_endpoint, title, new, new.load(inputs.trusted), unseen, latency_ms=inputs.limits.latency_ms
    )


def _endpoint_note(url: str) -> Iterator[Check]:
    if url:
        said = f"{url} does not say which version it serves, so the version with the alias @champion is used"
        yield Check(name="endpoint", outcome="noted", said=said)


def recorded(version: ModelVersion, digest: str, names: Sequence[str]) -> dict[str, float]:
    """Return the metrics that the version's training recorded; empty if its dataset had another digest."""
    if version.tags.get("dataset_digest") != digest:
        return {}
    return versions.measured(version, names)


def _origin(client: Client, request: Request, version: ModelVersion) -> tuple[Project[Any], str] | None:
    """Return the project and the table; None for a version of a script, which has no project."""
    name, dataset = request.project or version.tags.get("project"), request.dataset or version.tags.get("dataset")
    if not name and SCRIPT in {**_run_tags(client, version), **version.tags}:
        return None
    if not name or not dataset:
        missing = "project" if not name else "dataset"
        raise BadInputError(
            f"{request.model} version {request.version} has no tag `{missing}`, because it was not trained by this "
            f"platform; give --{missing}"
        )
    return project.load(name), dataset


def _run_tags(client: Client, version: ModelVersion) -> Mapping[str, str]:
    return client.get_run(version.run_id).data.tags if version.run_id else {}


def _publish(client: Client, version: ModelVersion, result: Report, folder: Path, reports: str) -> None:
    """Write report, description and tags. The status comes last: without it the version is not validated."""
    against, number = str(result.champion or NO_CHAMPION), str(version.version)
    if not result.dataset:  # the script tagged its run only
        told = {tag: text for tag, text in _run_tags(client, version).items() if tag in LINEAGE - version.tags.keys()}
        for tag, text in told.items():
            client.set_model_version_tag(version.name, number, tag, text)
    if MODEL_DIGEST not in version.tags:
        client.set_model_version_tag(version.name, number, MODEL_DIGEST, result.model_digest)
    run_id, page = _log_report(client, result, folder, reports)
    client.set_model_version_tag(version.name, number, VALIDATION_RUN, run_id)
    client.set_model_version_tag(version.name, number, VALIDATION_REPORT, page)
    description = (version.description or "").split(MARK)[0]
    client.update_model_version(
        version.name, number, f"{description}{MARK}{result.summary}"[: mlflow_logging.LONGEST_DESCRIPTION]
    )
    client.set_model_version_tag(version.name, number, "validated_at", result.at.isoformat(timespec="seconds"))
    client.set_model_version_tag(version.name, number, VALIDATED_AGAINST, against)
    alias = str(result.champion_alias or NO_CHAMPION)
    client.set_model_version_tag(version.name, number, ALIAS_AT_VALIDATION, alias)
    turn.release(client, version, result.status)


def _log_report(client: Client, result: Report, folder: Path, reports: str) -> tuple[str, str]:
    """Log the report to a run of its own and return the run's ID and the report's path among its artifacts."""
    evidence, extras = result.model_dump(mode="json") | {"status": result.status}, Extras()
    (folder / "report.json").write_text(json.dumps(evidence, indent=1))
    with extras.attempt("report.html"):
        (folder / "report.html").write_text(report.html(result))
    page = "report.json" if extras.failed else "report.html"
    tags = {"model": result.model, "version": str(result.version), VALIDATED_AGAINST: str(result.champion)}
    run_name = f"{result.model}-{result.version}"
    run_id = client.create_run(reports_experiment(client, reports), tags=tags, run_name=run_name).info.run_id
    for name in sorted({"report.json", page}):
        client.log_artifact(run_id, str(folder / name))
    client.set_terminated(run_id)
    return run_id, page


def reports_experiment(client: Client, reports: str) -> str:
    """Return the ID of the experiment `validations`; create it, with the reports' folder, if it does not exist."""
    return versions.experiment(client, EXPERIMENT, reports or None)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command_line = ending.parser("validate", "Validate a version of a model and record the result.")
    command_line.add_argument("model", metavar="MODEL", help="name in the registry, for example churn-predictor")
    command_line.add_argument("version", metavar="VERSION", nargs="?", type=ending.number, help=NEWEST)
    command_line.add_argument(
        "--dataset", default="", metavar="URI", help="table to hold rows out of (default: the dataset of the version)"
    )
    command_line.add_argument("--project", default="", help="model project (default: the project of the version)")
    command_line.add_argument(
        "--endpoint",
        type=_url,
        metavar="URL",
        help="test this endpoint too, which must serve the version (default for VERSION: the one that it serves)",
    )
    command_line.add_argument(
        "--training-job",
        default="",
        metavar="NAME",
        help="without VERSION, validate only versions of this training job",
    )
    command_line.epilog = (
        f"VALIDATION is a JSON object with limits. The exit code is 0 for {PASSED} and 3 for refused. A validation "
        "that runs for more than VALIDATION_DEADLINE_SECONDS (3600) counts as dead."
    )
    return command_line


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL; write one such as http://churn-staging.ml-serving")
    return text.rstrip("/")


if __name__ == "__main__":
    # Process 1 of a container ignores SIGTERM unless it has a handler.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
