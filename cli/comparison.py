"""Function behind `mlops compare`."""

import json as jsons
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from change_report import stack_file
from cli import target
from cli.errors import CommandError, registry_errors
from contract import project
from contract.exit_codes import ExitCode
from contract.tags import COMPARISON
from experiments import prometheus, views
from experiments.comparison import Question, compare, with_responses
from experiments.report import Decision, Report
from prediction_log import outcomes, store
from prediction_log.log import Part

DAYS = 28
"""Length of the default period."""
EXPERIMENT = "comparisons"
"""Experiment in MLflow with the reports."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the command, as its help explains them."""

    log: str | None
    endpoint: str
    stack: str | None
    experiment: str
    percent: float | None
    outcomes: str | None
    since: str | None
    until: str | None
    by: Sequence[str]
    prediction: str
    prometheus: str | None


class _Challenger(BaseModel):
    model_config = ConfigDict(extra="ignore")

    percent: float | None = None


class _Endpoint(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: str = ""
    challenger: _Challenger = _Challenger()


def show(endpoint: str, options: Options, *, json: bool, html: Path | None, record: str | None) -> ExitCode:
    """Print the comparison, and return the exit code.

    Args:
        endpoint: name of the endpoint.
        options: what to compare.
        json: print JSON instead of text.
        html: file for the page; None: none is written.
        record: address of the MLflow that gets the report; None: it is recorded nowhere.
    """
    report = _report(endpoint, options)
    if html:
        try:
            html.write_text(views.html(report))
        except OSError as error:
            raise CommandError(f"--html {html} cannot be written: {error.strerror}; write another path") from error
    if json:
        print(report.model_dump_json(indent=1))
    else:
        views.show(Console(highlight=False), report)
    if record:
        _record(record, report)
    return ExitCode.REFUSED if report.decision is Decision.DO_NOT_CONCLUDE else ExitCode.DONE


def _report(endpoint: str, options: Options) -> Report:
    declared = _declared(endpoint, options.stack)
    percent = options.percent if options.percent is not None else declared.challenger.percent
    until = _time("--until", options.until) or datetime.now(UTC)
    since = _time("--since", options.since) or until - timedelta(days=DAYS)
    if since >= until:
        raise CommandError(f"--since {since:%Y-%m-%d %H:%M} is not before --until {until:%Y-%m-%d %H:%M}; swap them")
    question = Question(
        part=Part(
            model=declared.model or endpoint,
            start=since,
            end=until,
            endpoint=options.endpoint or (endpoint if options.stack else ""),
        ),
        experiment=options.experiment,
        percent=percent,
        prediction=options.prediction,
        slices=options.by,
    )
    known = outcomes.read(options.outcomes) if options.outcomes else None
    report = compare(question, store.at(target.prediction_log(options.log)), known)
    if options.prometheus:
        counts = prometheus.responses(options.prometheus, report.model, report.since, report.until)
        report = with_responses(report, counts)
    return report


def _declared(endpoint: str, stack: str | None) -> _Endpoint:
    """Return the endpoint in the stack file; an empty one if no stack is named."""
    if stack is None:
        return _Endpoint()
    root = project.root(Path.cwd())
    file = project.stack_file(root or Path.cwd(), stack)
    try:
        config = stack_file.read(file.read_text(), file.name)
        endpoints = cast("Mapping[str, Any]", config.get(stack_file.ENDPOINTS) or {})
        if endpoint not in endpoints:
            raise CommandError(
                f"{file.name} has no endpoint {endpoint}; its endpoints are {', '.join(endpoints) or 'none'}"
            )
        return _Endpoint.model_validate(endpoints[endpoint])
    except OSError as error:
        raise CommandError(
            f"{file.name} cannot be read: {error.strerror}; write --stack with one of "
            f"{project.stacks(root) if root else 'the stacks, in the folder of the Pulumi project'}"
        ) from error
    except (stack_file.StackFileError, ValidationError) as error:
        raise CommandError(f"{file.name}: {' '.join(str(error).split())}") from error


def _time(option: str, text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        raise CommandError(
            f"{option} {text!r} is not a time; write a date or a time in UTC, as in 2026-12-01 or 2026-12-01T09:30"
        ) from None
    return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC) if at else None


def _record(uri: str, report: Report) -> None:
    """Write the report into MLflow as a run with a page, and tag the challenger's version with the decision."""
    import tempfile

    from training.registry import client as versions

    with registry_errors(), tempfile.TemporaryDirectory() as folder:
        client = versions.connect(uri)
        arm = report.arm("challenger") or report.arm("shadow")
        numbers = arm.versions if arm else ()
        name = f"{report.model}-{report.experiment or 'comparison'}"
        run = client.create_run(versions.experiment(client, EXPERIMENT), tags={"model": report.model}, run_name=name)
        for file, text in (("report.html", views.html(report)), ("report.json", report.model_dump_json(indent=1))):
            path = Path(folder) / file
            path.write_text(text)
            client.log_artifact(run.info.run_id, path)
        client.set_terminated(run.info.run_id)
        value = jsons.dumps({"decision": report.decision, "experiment": report.experiment, "run": run.info.run_id})
        for number in numbers:
            client.set_model_version_tag(report.model, str(number), COMPARISON, value)
