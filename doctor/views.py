"""Views of the findings: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from contract.exit_codes import ExitCode
from doctor.examination import Report
from doctor.findings import Level

STYLES = {
    Level.OK: "green",
    Level.WARNING: "yellow",
    Level.PROBLEM: "bold red",
    Level.UNCHECKED: "magenta",
    Level.DEFECT: "bold red",
}
ORDER = (Level.OK, Level.UNCHECKED, Level.WARNING, Level.DEFECT, Level.PROBLEM)
"""Levels in the order of the table: what needs attention comes last, where a person looks first."""
LEVEL = max(len(level) for level in Level)
"""Width of the column with the levels."""


def exit_code(reports: Sequence[Report]) -> ExitCode:
    """Return REFUSED if there is a problem, FAILED if a check has a defect, else DONE."""
    levels = {each.level for report in reports for each in report.findings}
    return ExitCode.REFUSED if Level.PROBLEM in levels else ExitCode.FAILED if Level.DEFECT in levels else ExitCode.DONE


def as_json(stack: str, reports: Sequence[Report]) -> str:
    """Return the findings as JSON."""
    found = [
        {"check": report.check, **{key: value for key, value in asdict(each).items() if key != "ends"}}
        for report in reports
        for each in report.findings
    ]
    return json.dumps({"stack": stack, "findings": found, "counts": _counts(reports)}, indent=1)


def show(console: Console, stack: str, reports: Sequence[Report]) -> None:
    """Print a table of the findings, and their numbers below it.

    Outside a terminal, each finding is one line. In a terminal, the way out has its own line, which is not broken, so
    that a command can be copied.
    """
    pairs = [(report.check, each) for report in reports for each in report.findings]
    pairs.sort(key=lambda pair: ORDER.index(pair[1].level))
    width = max(len(check) for check, _ in pairs)
    for check, each in pairs:
        what = f"{each.what}{f': {each.why}' if each.why else ''}"
        if console.is_terminal:
            row = Table.grid(Column(width=LEVEL), Column(width=width), Column(overflow="fold"), padding=(0, 2, 0, 0))
            row.add_row(Text(each.level, STYLES[each.level]), Text(check), Text(what))
            console.print(row)
            if each.mend:
                console.print(Text(f"{'':{LEVEL + width + 4}}{each.mend}", "cyan"), soft_wrap=True)
        else:
            way_out = f"; {each.mend}" if each.mend else ""
            console.print(Text(f"{each.level:<{LEVEL}}  {check:<{width}}  {what}{way_out}"), soft_wrap=True)
    counts = ", ".join(f"{count} {name}" for name, count in _counts(reports).items())
    console.print(f"stack {stack}: {counts}", soft_wrap=True)


def _counts(reports: Sequence[Report]) -> dict[str, int]:
    counted = Counter(each.level for report in reports for each in report.findings)
    return {level.value: counted[level] for level in Level if counted[level] or level in {Level.OK, Level.PROBLEM}}


class Watch:
    """Progress bar in a terminal, with the names of the running checks."""

    def __init__(self, total: int) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.completed:.0f} of {task.total:.0f} checks"),
            BarColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, reports: Sequence[Report], running: Sequence[str]) -> None:
        """Show the number of finished checks and the names of the running ones."""
        self._bar.update(self._task, completed=len(reports), description=", ".join(running)[:60])
