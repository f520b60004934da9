"""Shows a report in a terminal of 80 columns or more."""

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from change_report.report import Outcome, Report
from change_report.steps import Change, Op
from change_report.values import Field
from change_report.wording import (
    FIELDS_SHOWN,
    budget_lines,
    cost_lines,
    field_line,
    infrastructure_line,
    loss,
    policy_line,
    stack_file_line,
    violation,
)
from model_preview.redact import plain
from model_preview.terminal import show as show_model

COLORS = {Outcome.PASSES: "green", Outcome.REFUSED: "red", Outcome.UNVERIFIED: "yellow"}
OPS = {Op.DELETE: "red", Op.REPLACE: "magenta", Op.UPDATE: "yellow", Op.CREATE: "green"}


def show(console: Console, report: Report) -> None:
    """Print the report. Text of a model or a resource is never read as markup."""
    console.print(Text(plain(report.line), f"bold {COLORS[report.outcome]}"))
    if len(report.refusals) > 1:
        _list(console, report.refusals, "red")
    _list(console, report.notes, "yellow")
    for each in report.previews:
        console.print()
        show_model(console, each)
    if report.base:
        _title(console, stack_file_line(report.base))
        for key in report.base.keys:
            _print(console, _field(key), 2)
    if report.infrastructure:
        _title(console, infrastructure_line(report.infrastructure))
        for each in report.infrastructure.changes:
            _change(console, each)
    if report.cost:
        _title(console, "Cost")
        _list(console, cost_lines(report.cost, report.stack))
        _list(console, budget_lines(report.cost), "red" if report.cost.problem else "")
    if report.packs or report.violations:
        _title(console, policy_line(report))
        _list(console, [violation(each) for each in report.violations if each.mandatory], "red")
        _list(console, [violation(each) for each in report.violations if not each.mandatory], "yellow")
    if report.errors or report.warnings:
        _title(console, "Messages")
        _list(console, report.errors, "red")
        _list(console, report.warnings, "yellow")


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(Text(plain(text), "bold"))


def _list(console: Console, sentences: Iterable[str], color: str = "") -> None:
    for sentence in sentences:
        first, *rest = [plain(line) for line in sentence.splitlines()] or [""]
        _print(console, Text(first, color), 2)
        for line in rest:
            _print(console, Text(line), 4)


def _change(console: Console, change: Change) -> None:
    if change.store:
        text = Text(loss(change), "bold red")
    else:
        because = f" because of {', '.join(change.because)}" if change.because else ""
        text = Text.assemble((change.op.value, OPS[change.op]), f" {change.title}{because}")
    _print(console, text, 2)
    for field in change.fields[:FIELDS_SHOWN]:
        _print(console, _field(field), 4)
    if len(change.fields) > FIELDS_SHOWN:
        _print(console, Text(f"and {len(change.fields) - FIELDS_SHOWN} more fields", "dim"), 4)


def _field(field: Field) -> Text:
    return Text.assemble((field.path, "dim"), f": {field_line(field)}")


def _print(console: Console, text: Text, indent: int) -> None:
    text.overflow = "fold"
    console.print(Padding(text, (0, 0, 0, indent), expand=False))
