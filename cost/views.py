"""Estimate or difference as text for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cost.delta import Amounts, Delta
from cost.estimate import Endpoint, Estimate, Run
from cost.money import signed, usd
from cost.resources import Usage, by_kind

WIDTH = 80
MONTH = ("a month", "no load", "at most")
RUNS = ("a run, until its deadline", "at most", "on spot")
ENDPOINTS = ("of which endpoints", "no load", "at most")
USAGE = ("by usage (not in the sum)", "", "for one")
NOTHING = "Nothing is estimated"
ZERO_WIDTH = "\u200b"
"""Space without width; after it, GitHub does not read a name as a mention."""


def show(estimate: Estimate, console: Console) -> None:
    """Print the estimate as tables of at most 80 columns."""
    if estimate.reason:
        _say(console, f"{NOTHING}: {estimate.reason}")
        return
    for header, rows in _tables(estimate):
        console.print(_table(header, rows))
    for line in _remarks(estimate):
        _say(console, line)


def show_delta(delta: Delta, console: Console) -> None:
    """Print the changed prices as tables of at most 80 columns."""
    if delta.reason:
        _say(console, f"{NOTHING}: {delta.reason}")
        return
    _say(console, summary(delta))
    for header, rows in _changed(delta):
        console.print(_table(header, rows))
    for line in _remarks(delta.new):
        _say(console, line)


def markdown(estimate: Estimate) -> str:
    """Return the estimate as Markdown tables, for a pull request or a page."""
    if estimate.reason:
        return f"**{NOTHING}**: {_escaped(estimate.reason)}\n"
    tables = [_markdown_table(header, rows) for header, rows in _tables(estimate)]
    return "\n".join([*tables, *_markdown_remarks(estimate), ""])


def markdown_delta(delta: Delta) -> str:
    """Return the difference as Markdown for a pull request: one line, then the changed prices."""
    if delta.reason:
        return f"**{NOTHING}**: {_escaped(delta.reason)}\n"
    tables = [_markdown_table(header, rows) for header, rows in _changed(delta)]
    return "\n".join([f"**{_escaped(summary(delta))}**\n", *tables, *_markdown_remarks(delta.new), ""])


def summary(delta: Delta) -> str:
    """Return the monthly price before and after the update, in one line."""
    old, new = delta.old, delta.new
    if not delta.changes and not delta.runs:
        return f"The price stays: {usd(new.floor_usd)} a month without load, {usd(new.ceiling_usd)} at most."
    return (
        f"A month without load: {signed(delta.floor_usd or 0)} ({usd(old.floor_usd)} to {usd(new.floor_usd)}). "
        f"At most: {signed(delta.ceiling_usd or 0)} ({usd(old.ceiling_usd)} to {usd(new.ceiling_usd)})."
    )


Header = tuple[str, str, str]
Row = tuple[str, str, str, str]
"""Row of a table: name, remark, and two amounts."""


def _tables(estimate: Estimate) -> Iterator[tuple[Header, list[Row]]]:
    lines = by_kind(estimate.lines)
    months = [(line.kind, line.note, usd(line.floor_usd), usd(line.ceiling_usd)) for line in lines]
    yield MONTH, [*months, ("sum", "without usage", usd(estimate.floor_usd), usd(estimate.ceiling_usd))]
    if estimate.runs:
        yield RUNS, [_run(run) for run in estimate.runs]
    if estimate.endpoints:
        yield ENDPOINTS, [_endpoint(endpoint) for endpoint in estimate.endpoints]
    if estimate.usage:
        yield USAGE, list(_usage(estimate.usage))


def _run(run: Run) -> Row:
    on_spot = "" if run.spot_usd is None else usd(run.spot_usd)
    return (run.name, f"{run.hours:g} h, {run.nodes} x {run.node}", usd(run.usd), on_spot)


def _endpoint(endpoint: Endpoint) -> Row:
    least, most = endpoint.replicas
    return (endpoint.name, f"{least} to {most} pods", usd(endpoint.floor_usd), usd(endpoint.ceiling_usd))


def _usage(usage: Sequence[Usage]) -> Iterator[Row]:
    """Yield each unit price once, with the number of resources that have it."""
    prices: dict[tuple[str, str, float | None], int] = {}
    for each in usage:
        price = (each.kind, each.unit, each.usd)
        prices[price] = prices.get(price, 0) + 1
    for (kind, unit, price), count in prices.items():
        amount = "not known" if price is None else f"${price:,.4f}".rstrip("0").rstrip(".")
        yield (kind if count == 1 else f"{count} x {kind}", unit, "", amount)


def _changed(delta: Delta) -> Iterator[tuple[Header, list[Row]]]:
    if delta.changes:
        yield MONTH, [_change(each) for each in delta.changes]
    if delta.runs:
        runs = [(each.name, "", usd(each.old_ceiling_usd), usd(each.new_ceiling_usd)) for each in delta.runs]
        yield ("a run, until its deadline", "before", "after"), runs


def _change(each: Amounts) -> Row:
    """Return the row of a changed price; it shows the name unless the kind ends with it, as in `node pool gpu`."""
    name = "" if each.kind.endswith(each.name) else each.name
    return (each.kind, name, signed(each.floor_usd), signed(each.ceiling_usd))


def _remarks(estimate: Estimate) -> Iterator[str]:
    for each in estimate.not_estimated:
        yield f"not estimated: {each.name} ({each.type.rpartition(':')[2]}), because {each.why}"
    yield from (f"note: {warning}" for warning in estimate.warnings)
    yield f"Prices of {estimate.prices_of} on demand, {estimate.prices_date}; a month has 730 hours."


def _table(header: Header, rows: Sequence[Row]) -> Table:
    table = Table(box=None, width=WIDTH, pad_edge=False, show_edge=False, title_justify="left")
    table.add_column(header[0], ratio=4, overflow="fold")
    table.add_column("", ratio=5, overflow="fold", style="dim")
    table.add_column(header[1], justify="right", no_wrap=True)
    table.add_column(header[2], justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row), style="bold" if row[0] == "sum" else None)
    return table


def _say(console: Console, text: str) -> None:
    console.print(Text(text), width=WIDTH, soft_wrap=False)


def _markdown_table(header: Header, rows: Sequence[Row]) -> str:
    lines = [f"| {header[0]} | | {header[1]} | {header[2]} |", "| --- | --- | ---: | ---: |"]
    lines += ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _markdown_remarks(estimate: Estimate) -> list[str]:
    return [f"- {_escaped(remark)}" for remark in _remarks(estimate)]


def _escaped(text: str) -> str:
    """Return the text on one line, with Markdown, HTML and mentions escaped."""
    for character in "\\|*_`<>[]":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.replace("@", f"@{ZERO_WIDTH}").split())
