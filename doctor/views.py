"""Views of the findings: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from contract.exit_codes import ExitCode
from doctor.examination import Report
from doctor.findings import Finding, Level

STYLES = {
    Level.OK: "green",
    Level.WARNING: "yellow",
    Level.PROBLEM: "bold red",
    Level.UNCHECKED: "magenta",
    Level.DEFECT: "bold red",
}
ORDER = (Level.OK, Level.UNCHECKED, Level.WARNING, Level.DEFECT, Level.PROBLEM)
"""Levels in the order of the table: what needs attention comes last, where a person looks first."""


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
    """Print a table of the findings, and their numbers below it. Outside a terminal, each finding is one line."""
    pairs = [(report.check, each) for report in reports for each in report.findings]
    pairs.sort(key=lambda pair: ORDER.index(pair[1].level))
    if console.is_terminal:
        console.print(_table(pairs))
    else:
        width = max(len(check) for check, _ in pairs)
        for check, each in pairs:
            console.print(f"{each.level:<11}  {check:<{width}}  {_text(each, '; ')}", markup=False, soft_wrap=True)
    counts = ", ".join(f"{count} {name}" for name, count in _counts(reports).items())
    console.print(f"stack {stack}: {counts}", soft_wrap=True)


def _table(pairs: Sequence[tuple[str, Finding]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("result", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("finding", overflow="fold")
    for check, each in pairs:
        table.add_row(Text(each.level, STYLES[each.level]), Text(check), _text(each, "\n"))
    return table


def _text(finding: Finding, separator: str) -> Text:
    what = Text(f"{finding.what}{f': {finding.why}' if finding.why else ''}")
    return Text(separator).join([what, Text(finding.mend, "cyan")]) if finding.mend else what


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
