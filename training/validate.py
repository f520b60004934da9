"""Says whether a version may go forward: `python -m training.validate MODEL [VERSION]`.

It runs in the serving image, with this code beside it, so it imports only what model_server/requirements.in installs.
The version is loaded with the packages of this process (so: in the image that would serve it), answers its input
example, and is compared with the champion on the rows that neither learned from: the version that the stack's
endpoint serves, or the version with the alias @champion where no endpoint answers. The registry then has
`validation_status` (passed or refused), `validated_against`, a description and the evidence: `validation/` of the
version's run, as HTML and JSON. Exit code 0: passed. 3: refused; the last line says why. 2: there is no such version,
dataset or limit. 1: anything else.
"""

import argparse
import json
import logging
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from contract.exit_codes import ExitCode
from contract.tags import TRAINING_JOB, VALIDATED_AGAINST
from training import ending, mlflow_logging, project
from training.data import reading
from training.ending import BadInputError
from training.fit import metrics
from training.fit.extras import Extras
from training.project import Project
from training.registry import client as versions
from training.registry.claim import BusyError
from training.registry.client import Client
from training.registry.stages import ALIAS_AT_VALIDATION, BROKEN, NO_CHAMPION, PASSED, RefusedError
from training.settings import Termination
from training.validation import candidate, checks, endpoint, limits, report, turn
from training.validation.limits import Limits
from training.validation.turn import Turn
from training.validation.verdict import Check, Report

PATIENCE = 60.0
"""Seconds to wait for an MLflow that does not answer."""
NEWEST = "the version's number; the newest that was not validated yet unless told"
MARK = "\n\nValidation: "
"""What follows it in a description is ours."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which version to look at, and on which data; what is not told, the version's tags say.

    After `seconds` it is given up by whoever started it. The version that `endpoint`, a URL, serves is the champion.
    """

    model: str
    version: int
    dataset: str = ""
    project: str = ""
    limits: Limits
    seconds: float = 3600
    endpoint: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns the exit code."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)  # its warnings repeat, less clearly, what the checks say
    asked = parser().parse_args(arguments)
    return ending.run(lambda: _run(asked), leave=Termination().termination_log)


def validate(client: Client, uri: str, request: Request) -> Report:
    """The registry says how the version did, and holds the evidence.

    Raises:
        UnknownError: there is no such version.
        BadInputError: its project or dataset is not known.
        DataError: the dataset cannot be read.
        BusyError: another validation of the version began later; nothing is said of it here.
    """
    version = versions.version(client, request.model, request.version)
    with _turn(client, version, request.seconds) as mine, tempfile.TemporaryDirectory() as folder:
        examined = _examine(client, uri, request, version, Path(folder))
        turn.check(client, version, mine)
        _publish(client, version, examined, Path(folder))
    return examined


def newest(client: Client, model: str, training_job: str = "") -> int | None:
    """The newest version that no validation has looked at, else one whose validation died; none when there is none.

    Args:
        client: of the registry.
        model: its name there; there need not be one.
        training_job: leaves out what other training jobs made.
    """
    found = [one for one in versions.versions(client, model) if turn.is_free(one)]
    if training_job:
        found = [one for one in found if one.tags.get(TRAINING_JOB, training_job) == training_job]
    return next((int(one.version) for one in sorted(found, key=lambda one: turn.TAG in one.tags)), None)


def _run(asked: argparse.Namespace) -> str:
    told = limits.from_environment()
    mlflow_logging.wait_for_mlflow(asked.tracking_uri, PATIENCE)
    client = versions.connect(asked.tracking_uri)
    if not asked.training_job:
        versions.standing(client, asked.model)  # a schedule may come before the first version, a misspelt name may not
    version = asked.version or newest(client, asked.model, asked.training_job)
    if version is None:
        return f"no version of {asked.model} waits to be looked at; name one to look at it again"
    request = Request(
        model=asked.model,
        version=version,
        dataset=asked.dataset,
        project=asked.project,
        limits=told.validation,
        seconds=told.validation_deadline_seconds,
        endpoint=told.endpoint,
    )
    examined = validate(client, asked.tracking_uri, request)
    marks = {"passed": "ok     ", "refused": "REFUSED", "noted": "note   "}
    for check in examined.checks:
        print(f"{marks[check.outcome]} {check.name}: {check.said}")
    if examined.refusals:
        raise RefusedError(examined.summary)
    return examined.summary


@contextmanager
def _turn(client: Client, version: ModelVersion, seconds: float) -> Generator[Turn]:
    """Nobody promotes the version on the strength of an older validation while this one goes on, or after it broke.

    What may pass at another try leaves the version as if nobody had looked, and the schedule looks again.
    """
    mine = turn.of_this_process(seconds)
    try:
        turn.take(client, version, mine)
        yield mine
    except BusyError:
        raise
    except BaseException as error:
        with suppress(Exception):
            turn.check(client, version, mine)
            turn.end(client, version, None if _may_pass(error) else BROKEN)
        raise


def _may_pass(error: BaseException) -> bool:
    if not isinstance(error, Exception):
        return True  # it was stopped
    code, sentence = ending.explain(error)
    return code == ExitCode.FAILED and bool(sentence)


def _examine(client: Client, uri: str, request: Request, version: ModelVersion, folder: Path) -> Report:
    declared, dataset_uri = _origin(request, version)
    alias = versions.standing(client, request.model).champion
    served = endpoint.served_version(request.endpoint) if request.endpoint else None
    champion = served or alias
    new, old, known = candidate.fetch(client, uri, version, folder), None, [version]
    if champion and champion != new.number:
        known.append(versions.version(client, request.model, champion))
        old = candidate.fetch(client, uri, known[-1], folder)
    dataset = reading.load(dataset_uri, declared)
    found = checks.judge(
        checks.Question(
            project=declared,
            new=new,
            old=old,
            table=dataset.table,
            recorded={int(one.version): recorded(one, dataset.digest) for one in known},
            limits=request.limits,
        )
    )
    return Report(
        model=request.model,
        version=new.number,
        champion=champion,
        champion_alias=alias,
        at=datetime.now(UTC),
        dataset=dataset_uri,
        dataset_digest=dataset.digest,
        limits=request.limits,
        checks=[*found.checks, *_unanswered(request.endpoint if served is None else "")],
        scores=found.scores,
        slices=found.slices,
        size_mb=new.size_mb,
        latency_ms=found.latency_ms,
    )


def _unanswered(url: str) -> Iterator[Check]:
    if url:
        said = f"{url} does not say which version it serves, so @champion stands for it"
        yield Check(name="endpoint", outcome="noted", said=said)


def recorded(version: ModelVersion, digest: str) -> dict[str, float]:
    """What its training measured on the rows that it held out of the data with the digest."""
    if version.tags.get("dataset_digest") != digest:
        return {}
    return versions.measured(version, metrics.NAMES)


def _origin(request: Request, version: ModelVersion) -> tuple[Project[Any], str]:
    name, dataset = request.project or version.tags.get("project"), request.dataset or version.tags.get("dataset")
    if not name or not dataset:
        missing = "project" if not name else "dataset"
        raise BadInputError(
            f"{request.model} version {request.version} has no tag `{missing}`, as what is trained here has; "
            f"give --{missing}"
        )
    return project.load(name), dataset


def _publish(client: Client, version: ModelVersion, examined: Report, folder: Path) -> None:
    """The status comes last: until it is there, the version counts as not validated."""
    against, number = str(examined.champion or NO_CHAMPION), str(version.version)
    where = f"validation/against-{against}"
    if version.run_id:
        evidence, extras = examined.model_dump(mode="json") | {"status": examined.status}, Extras()
        (folder / "report.json").write_text(json.dumps(evidence, indent=1))
        with extras.attempt("report.html"):
            (folder / "report.html").write_text(report.html(examined))
        page = "report.json" if extras.failed else "report.html"
        for name in sorted({"report.json", page}):
            client.log_artifact(version.run_id, str(folder / name), where)
        client.set_model_version_tag(version.name, number, "validation_report", f"{where}/{page}")
    said = (version.description or "").split(MARK)[0]
    client.update_model_version(
        version.name, number, f"{said}{MARK}{examined.summary}"[: mlflow_logging.LONGEST_DESCRIPTION]
    )
    client.set_model_version_tag(version.name, number, "validated_at", examined.at.isoformat(timespec="seconds"))
    client.set_model_version_tag(version.name, number, VALIDATED_AGAINST, against)
    alias = str(examined.champion_alias or NO_CHAMPION)
    client.set_model_version_tag(version.name, number, ALIAS_AT_VALIDATION, alias)
    turn.end(client, version, examined.status)


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = ending.parser("validate", "Say whether a version of a model may go forward, and record why.")
    made.add_argument("model", metavar="MODEL", help="name in the registry, for example churn-predictor")
    made.add_argument("version", metavar="VERSION", nargs="?", type=ending.number, help=NEWEST)
    made.add_argument(
        "--dataset", default="", metavar="URI", help="table to hold rows out of; the version's unless told"
    )
    made.add_argument("--project", default="", help="model project; the version's unless told")
    made.add_argument(
        "--training-job", default="", metavar="NAME", help="without VERSION, look at what this one trained alone"
    )
    made.epilog = (
        f"Limits come from VALIDATION, a JSON object; {PASSED} is exit code 0, refused is 3. A validation "
        "without an answer for VALIDATION_DEADLINE_SECONDS (3600) counts as dead."
    )
    return made


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # process 1 of a container would not hear it
    sys.exit(main())
