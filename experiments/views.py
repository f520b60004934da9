"""Views of a report: in a terminal, and as a page of HTML with the same content."""

import io
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from experiments.report import Arm, Comparison, Decision, Metric, Report

COLORS = {
    Decision.PROMOTE: "green",
    Decision.ABORT: "red",
    Decision.DO_NOT_CONCLUDE: "red",
    Decision.CONTINUE: "yellow",
    Decision.NO_OUTCOMES: "yellow",
    Decision.NO_CHALLENGER: "yellow",
}
CLASSES_SHOWN = 4
PAGE_WIDTH = 110
"""Columns of the page."""
BAR = 19
"""Width of an interval's picture in characters; odd, so that zero is in the middle."""


def html(report: Report) -> str:
    """Return the report as one page of HTML that loads nothing."""
    console = Console(record=True, width=PAGE_WIDTH, file=io.StringIO(), highlight=False)
    show(console, report)
    return console.export_html(inline_styles=True)


def show(console: Console, report: Report) -> None:
    """Print the report. Text of a model or a log is never read as markup."""
    name = f", experiment {report.experiment}" if report.experiment else ""
    console.print(Text(f"{report.model}{name}", "bold"))
    console.print(Text(f"{report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC", "dim"))
    console.print()
    for problem in report.problems:
        _sentence(console, problem, "red")
    _sentence(console, report.recommendation, f"bold {COLORS[report.decision]}")
    if report.ratio and report.ratio.passes:
        ratio = report.ratio
        units = ratio.champion + ratio.challenger
        seen = f"{ratio.challenger / units:.1%}" if units else "none"
        _sentence(
            console,
            f"The sample ratio is right: {seen} of {units:,} units saw the challenger, {ratio.percent:g} % were "
            f"declared (p = {ratio.p:.2g}).",
        )
    for warning in report.warnings:
        _sentence(console, f"{warning[:1].upper()}{warning[1:]}.", "yellow")
    console.print()
    console.print(_arms(report.arms))
    if report.keys:
        keys = report.keys
        _sentence(
            console,
            f"{keys.units:,} units, {keys.once:,} of them with one request; {keys.in_both:,} saw both versions. "
            f"{keys.unassigned:,} requests carried no key.",
            "dim",
        )
    if report.metric:
        console.print()
        console.print(_metric(report.metric))
    if report.joined:
        joined = report.joined
        _sentence(
            console,
            f"{joined.joined:,} rows of the log have an outcome; of {joined.outcomes:,} outcomes {joined.unknown:,} "
            f"are of rows that no arm has, and {joined.early:,} are older than their prediction. "
            f"{joined.repeated:,} were repeated.",
            "dim",
        )
    if report.shadow:
        _shadow(console, report)


def _sentence(console: Console, text: str, style: str = "") -> None:
    console.print(Padding(Text(text, style, overflow="fold"), (0, 0, 0, 2), expand=False))


def _arms(arms: Sequence[Arm]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("arm", "version", "requests", "units", "p50 ms", "p95 ms", "p99 ms", "errors", "predictions"):
        table.add_column(heading, justify="left" if heading in ("arm", "predictions") else "right")
    for arm in arms:
        latency = (f"{value:.1f}" for value in (arm.latency.p50, arm.latency.p95, arm.latency.p99))
        errors = "" if arm.errors is None else f"{sum(n for code, n in arm.errors.items() if code >= '400'):,}"
        versions = ", ".join(map(str, arm.versions))
        units = f"{arm.units:,}" if arm.units else ""
        cells = (arm.role, versions, f"{arm.requests:,}", units, *latency, errors, _predictions(arm))
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _predictions(arm: Arm) -> str:
    if arm.numbers:
        spread = arm.numbers
        return f"mean {spread.mean:.4g}, 5 % to 95 %: {spread.p5:.3g} to {spread.p95:.3g}"
    shown = list(arm.classes.items())[:CLASSES_SHOWN]
    more = f", {len(arm.classes) - CLASSES_SHOWN} more" if len(arm.classes) > CLASSES_SHOWN else ""
    return ", ".join(f"{name[:20]} {share:.1%}" for name, share in shown) + more


def _metric(metric: Metric) -> Table:
    direction = "more" if metric.more_is_better else "less"
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(f"{metric.name} ({direction} is better)", no_wrap=True)
    for heading in ("champion", "challenger", "difference"):
        table.add_column(heading, justify="right")
    table.add_column("95 % interval", no_wrap=True)
    rows = [metric.overall, *metric.slices]
    ends = [abs(end) for row in rows if row.low is not None and row.high is not None for end in (row.low, row.high)]
    scale = max([*ends, *(abs(row.difference) for row in rows)]) or 1.0
    for row in rows:
        table.add_row(*_cells(row, scale, better_above=metric.more_is_better))
    return table


def _cells(row: Comparison, scale: float, *, better_above: bool) -> Iterator[Text]:
    yield Text(row.slice or "all units")
    yield Text(f"{row.champion:.4f}\n{row.champion_units:,} units")
    yield Text(f"{row.challenger:.4f}\n{row.challenger_units:,} units")
    better = (row.difference > 0) == better_above
    color = ("green" if better else "red") if row.decided else ""
    yield Text(f"{row.difference:+.4f}", color)
    if row.low is None or row.high is None:
        yield Text("too few units", "dim")
        return
    bar = _bar(row.low, row.difference, row.high, scale, color or "cyan")
    yield Text.assemble((f"{row.low:+.4f} to {row.high:+.4f}\n", color), bar)


def _bar(low: float, middle: float, high: float, scale: float, color: str) -> Text:
    """Return a picture of the interval, with zero in its middle."""

    def place(value: float) -> int:
        return round((value / scale + 1) / 2 * (BAR - 1))

    cells = ["─" if place(low) <= i <= place(high) else " " for i in range(BAR)]
    cells[BAR // 2] = "┼" if cells[BAR // 2] == "─" else "│"
    cells[place(middle)] = "●"
    return Text("".join(cells), color)


def _shadow(console: Console, report: Report) -> None:
    shadow = report.shadow
    if shadow is None:
        return
    console.print()
    arm = report.arm("shadow")
    versions = ", ".join(map(str, arm.versions)) if arm else ""
    console.print(Text(f"Shadow, version {versions}, against the champion's answers", "bold"))
    _sentence(console, f"{shadow.joined:,} rows were predicted by both, {shadow.alone:,} by the shadow alone.")
    if not shadow.joined:
        return
    _sentence(console, f"{shadow.equal:.2%} of the predictions are equal.")
    if shadow.shift and shadow.largest is not None:
        shift = shadow.shift
        _sentence(
            console,
            f"The shadow's number is {shift.mean:+.4g} on average (5 % to 95 %: {shift.p5:+.3g} to {shift.p95:+.3g}); "
            f"95 % differ by at most {shadow.largest:.3g}.",
        )
    slower = shadow.slower_ms
    _sentence(
        console,
        f"Latency, request by request: {slower.p50:+.1f} ms at the median, {slower.p95:+.1f} ms at p95, "
        f"{slower.p99:+.1f} ms at p99.",
    )
