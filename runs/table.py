"""Runs as a table for people."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runs.history import Past
from runs.state import Run
from runs.tracking import Result

SIDE_METRIC = re.compile(r"^cost_|_(low|high)$")
COLORS = {"Succeeded": "green", "Failed": "red", "Running": "cyan"}
HEADINGS = ("run", "of", "by", "given", "status", "started (UTC)", "took", "metrics", "version")
SPARE = ("by", "of", "took", "given", "metrics", "started (UTC)")
"""Columns that are left out on a narrow terminal, in this order."""
WIDE = 1000
Row = Mapping[str, Text]


def show(console: Console, runs: Sequence[Run | Past], results: Mapping[str, Result], now: datetime) -> None:
    """Print one line for each run. On a terminal, columns that do not fit are left out.

    `results` has what MLflow knows of each run, by the Job's name.
    """
    rows = [_row(run, results.get(run.name), now) for run in runs]
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    left_out, unbounded = 0, console.options.update(max_width=WIDE)
    while console.measure(_table(rows, left_out), options=unbounded).maximum > console.width and left_out < len(SPARE):
        left_out += 1
    console.print(_table(rows, left_out))
    if left_out:
        console.print(
            f"no room for {', '.join(SPARE[:left_out])}: widen the terminal, or add | cat", style="dim", soft_wrap=True
        )


def _table(rows: Sequence[Row], left_out: int) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    headings = [heading for heading in HEADINGS if heading not in SPARE[:left_out]]
    for heading in headings:
        table.add_column(heading, no_wrap=heading in {"run", "version", "status"})
    for row in rows:
        table.add_row(*(row[heading] for heading in headings))
    return table


def _row(run: Run | Past, result: Result | None, now: datetime) -> Row:
    """Return the cells as Text, so that a value such as `[red]` is not read as markup."""
    took = run.duration(now) if isinstance(run, Run) else run.duration
    status, color = run.progress if isinstance(run, Run) else run.status, COLORS.get(run.status, "yellow")
    cells = {
        "run": run.name,
        "of": run.training,
        "by": run.made_by if isinstance(run, Run) else "",
        "given": ", ".join(f"{k}={v}" for k, v in run.given.items()) if isinstance(run, Run) else "",
        "started (UTC)": f"{run.started:%Y-%m-%d %H:%M}",
        "took": "" if took is None else duration(took),
        "metrics": metrics(result.metrics) if result else "",
        "version": f"{result.model} {result.version}" if result and result.version else "",
    }
    return {"status": Text(status, color), **{heading: Text(text) for heading, text in cells.items()}}


def metrics(values: Mapping[str, float]) -> str:
    """Return metrics with three decimal places, without the limits of their intervals and the cost of the run."""
    shown = {name: value for name, value in sorted(values.items()) if not SIDE_METRIC.search(name)}
    return ", ".join(f"{name} {value:.3f}" for name, value in shown.items())


def duration(time: timedelta) -> str:
    """Return a duration as `1:02:03`, or as `02:03` under an hour."""
    return str(timedelta(seconds=round(time.total_seconds()))).removeprefix("0:")
