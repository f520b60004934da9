"""Function behind `mlops drift`: a look at the prediction log."""

import json as jsons
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cli import target
from cli.errors import registry_errors
from contract.exit_codes import ExitCode
from contract.tags import DRIFT_STATUS
from drift import look as looks
from drift import record, report
from drift.athena import Athena
from drift.estimate import BLIND
from drift.hypotheses import FLOORS
from drift.look import Look, Request
from drift.window import aligned
from prediction_log import store
from runs import endpoints
from training.registry import client as versions

COLOURS: Mapping[str, str] = {"drift": "red", "none": "green", "too few rows": "yellow"}
LEAST_SHOWN = 8
"""Number of tests that the table has at least, besides those that are drift."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """Version to look at, and the store of its prediction log."""

    model: str
    version: int
    log: str
    """Address of the store that has the folder `predictions`."""
    endpoint: str = ""
    """Name of the endpoint; empty if it is unknown."""


def served(name: str, version: int | None, log: str | None, endpoint: str, context: str | None) -> Served:
    """Return the version that an endpoint serves, and its log; the cluster is not asked if both are given."""
    if version and log:
        return Served(model=name, version=version, log=log, endpoint=endpoint)
    found = endpoints.find(target.cluster(context), name)
    return Served(
        model=found.model, version=version or found.version, log=log or found.prediction_log, endpoint=found.name
    )


@dataclass(frozen=True, kw_only=True)
class Output:
    """Places that the result of a look is written to."""

    out: Path | None = None
    """File for the report as an HTML page; None for none."""
    json: bool = False
    """True: print JSON instead of a table."""
    record: bool = False
    """True: record the result in MLflow."""


def show(
    uri: str, of: Served, *, hours: float, end: datetime | None, to: Output, workgroup: str | None = None
) -> ExitCode:
    """Look at a window of the log, write the result, and return REFUSED if the window drifted.

    Args:
        uri: address of MLflow.
        of: version, and its log.
        hours: length of the window in hours.
        end: first moment after the window; None for now. A recorded window is the last whole one before it.
        to: places that the result is written to.
        workgroup: workgroup of Athena, which reads the log; None: this process reads it.
    """
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    length, until = timedelta(hours=hours), end or datetime.now(UTC)
    start, until = aligned(until, length) if to.record else (until - length, until)
    request = Request(model=of.model, version=of.version, start=start, end=until, endpoint=of.endpoint)
    with registry_errors():
        client = versions.connect(uri)
        version = versions.version(client, of.model, of.version)
        if to.record and record.is_recorded(version, request):
            print(
                f"the window to {until:%Y-%m-%d %H:%M} UTC of {of.model} version {of.version} is recorded already, as "
                f"{version.tags.get(DRIFT_STATUS)}"
            )
            return ExitCode.DONE
        engine = Athena(workgroup=workgroup) if workgroup else None
        found = looks.look(store.at(of.log), looks.known(client, uri, version), request, engine)
        run = record.record(client, version, found) if to.record else ""
    if to.out:
        to.out.write_text(report.html(found))
    if to.json:
        print(jsons.dumps(report.as_json(found), indent=1, default=float))
    else:
        _print(found)
        if to.out:
            print(f"report: {to.out}")
        if run:
            print(f"recorded in MLflow: run {run} of the experiment {record.EXPERIMENT}")
    return ExitCode.REFUSED if found.status == "drift" else ExitCode.DONE


def _print(found: Look) -> None:
    console = Console(highlight=False)
    console.print(f"[{COLOURS[found.status]}]{found.status}[/]  {found.summary}", soft_wrap=True)
    for note in found.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    if found.estimated:
        one = found.estimated
        beside = f"; at the training {found.expected[0]:.3f} to {found.expected[1]:.3f}" if found.expected else ""
        said = f"ROC-AUC estimated without labels {one.roc_auc:.3f} ({one.low:.3f} to {one.high:.3f}){beside}"
        console.print(said, soft_wrap=True)
        console.print(f"note: {BLIND}", markup=False, soft_wrap=True)
    if not found.findings:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("column", "effect (floor)", "probability", "in words"):
        table.add_column(heading, justify="right" if heading == "probability" else "left")
    shown = max(LEAST_SHOWN, len(found.drifted))
    for one in found.findings[:shown]:
        table.add_row(
            one.column or "all together",
            f"{one.effect:.3f} ({FLOORS[one.kind]:g})",
            f"{one.adjusted:.1g}",
            f"{one.kind}: {one.said}",
            style="red" if one.is_drift else "",
        )
    console.print(table)
    if more := len(found.findings) - shown:
        console.print(f"and {more} tests without drift" if more > 0 else "", style="dim")
