"""Function behind `mlops outcomes`: coverage of the outcomes, and the metrics of what was served, over time."""

import json as jsons
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.drift import Served
from cli.errors import CommandError, registry_errors
from contract.tasks import METRICS
from drift import look as looks
from drift import outcomes as observed
from drift.outcomes import Joined
from prediction_log import outcomes, store
from prediction_log.log import Part
from training.fit.metrics import Estimate
from training.registry import client as versions


def show(uri: str, of: Served, where: str, *, days: float, out: Path | None, json: bool) -> None:
    """Print coverage and metrics of the last days, and write the joined table to `out`.

    Args:
        uri: address of MLflow.
        of: version, and its prediction log.
        where: address of the folder with the outcomes.
        days: length of the period, in days.
        out: Parquet file for the joined rows; None for none.
        json: print JSON.
    """
    if out and (out.is_dir() or not out.parent.is_dir()):
        wrong = "is a folder" if out.is_dir() else "is not in a folder of this machine"
        raise CommandError(f"--out {out} {wrong}; write a path of a file on this machine")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    end = datetime.now(UTC)
    with registry_errors():
        client = versions.connect(uri)
        version = versions.version(client, of.model, of.version)
        about = looks.known(client, uri, version, joins=True)
        if about.project is None:
            raise CommandError(f"{of.model} version {of.version}: {'; '.join(about.notes)}")
        if not (names := METRICS[about.project.task]):
            raise CommandError(
                f"{of.model} version {of.version} is a {about.project.task} model, which only the metrics of its own "
                "project measure; join the files of outcomes and of the log by request_id and row yourself"
            )
        found = observed.join(
            store.at(of.log),
            Part(
                model=of.model,
                version=of.version,
                start=end - timedelta(days=days),
                end=end,
                endpoint=of.endpoint,
            ),
            outcomes.read(where, about.project.target.name),
            project=about.project,
            model=about.model,
            expected=looks.measured(version, names, about.project),
        )
    if out:
        store.at(str(out.parent)).write(out.name, observed.as_parquet(found))
    if json:
        print(jsons.dumps(as_json(found), indent=1))
        return
    _print(found)
    if out:
        print(f"{len(found.table)} rows with their outcomes: {out}")


def as_json(found: Joined) -> dict[str, Any]:
    """Return the result as values of JSON."""

    def plain(of: Mapping[str, Estimate]) -> dict[str, Any]:
        return {name: vars(one) for name, one in of.items()}

    return {
        "model": found.part.model,
        "version": found.part.version,
        "predictions": found.predictions,
        "outcomes": found.outcomes,
        "coverage": found.coverage,
        "lag_seconds": [one.total_seconds() for one in found.lag] if found.lag else None,
        "not_joined": {reason: {"rows": n, "examples": found.refused.examples[reason]}
                       for reason, n in found.refused.counts.items()},
        "metrics": plain(found.whole),
        "metrics_of_training": {name: list(one) for name, one in found.expected.items()},
        "worse": list(found.worse),
        "days": [{**vars(day), "metrics": plain(day.metrics)} for day in found.days],
        "notes": list(found.notes),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def _print(found: Joined) -> None:
    console = Console(highlight=False)
    part = found.part
    console.print(
        f"{part.model} version {part.version}: the outcome of {found.outcomes:,} of {found.predictions:,} predicted "
        f"rows is known ({found.coverage:.0%})",
        soft_wrap=True,
    )
    if found.lag:
        median, late = (one.total_seconds() / 3600 for one in found.lag)
        console.print(f"outcomes come {median:.1f} hours after the prediction (median), {late:.1f} hours for 95 %")
    for reason, count in found.refused.counts.items():
        shown = ", ".join(found.refused.examples[reason])
        console.print(f"not joined: {count} {reason}: {shown}", markup=False, soft_wrap=True, style="yellow")
    for note in found.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = list(found.whole or found.expected) or ["metrics"]
    for heading in ("day (UTC)", "predictions", "outcomes", *names):
        table.add_column(heading, justify="left" if heading.startswith("day") else "right")
    for day in found.days:
        values = [str(day.metrics[name]) if name in day.metrics else "too few" for name in names]
        table.add_row(day.day, str(day.predictions), str(day.outcomes), *values)
    values = [str(found.whole[name]) if name in found.whole else "too few" for name in names]
    table.add_row("all", str(found.predictions), str(found.outcomes), *values, style="bold")
    expected = ["{:.3f} to {:.3f}".format(*found.expected[name]) if name in found.expected else "" for name in names]
    table.add_row("training", "", "", *expected, style="dim")
    console.print(table)
    for name in found.worse:
        console.print(f"[red]{name} is certainly worse than what the training measured[/]")
