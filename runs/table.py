"""Runs as a table for people."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from rich.table import Table

from runs.state import Run
from runs.tracking import Result

SIDE_METRIC = re.compile(r"^cost_|_(low|high)$")
COLORS = {"Succeeded": "green", "Failed": "red", "Running": "cyan"}


def table(runs: Sequence[Run], results: Mapping[str, Result], now: datetime) -> Table:
    """One line a run; `results` by the Job's name."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("run", "of", "by", "given", "status", "started (UTC)", "took", "metrics", "version"):
        made.add_column(title, no_wrap=title in {"run", "version"})
    for run in runs:
        color = COLORS.get(run.status, "yellow")
        result = results.get(run.name)
        made.add_row(
            run.name,
            run.training,
            run.made_by,
            ", ".join(f"{name}={value}" for name, value in json.loads(run.given).items()),
            f"[{color}]{run.progress}",
            f"{run.started:%Y-%m-%d %H:%M}",
            duration(run.duration(now)),
            metrics(result.metrics) if result else "",
            f"{result.model} {result.version}" if result and result.version else "",
        )
    return made


def metrics(values: Mapping[str, float]) -> str:
    """The measured ones, three places each; the ends of their intervals and the run's cost are left to MLflow."""
    shown = {name: value for name, value in sorted(values.items()) if not SIDE_METRIC.search(name)}
    return ", ".join(f"{name} {value:.3f}" for name, value in shown.items())


def duration(time: timedelta) -> str:
    """`1:02:03`, or `02:03` under an hour."""
    return str(timedelta(seconds=round(time.total_seconds()))).removeprefix("0:")
