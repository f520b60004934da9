"""Cost of a planned stack: the report of `mlops cost`, and price tables."""

import json as jsons
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from cli.errors import CommandError
from contract.exit_codes import ExitCode
from cost import budget as budgets
from cost import prices, views
from cost.delta import Delta
from cost.estimate import Estimate
from cost.plan import MAKE_ONE, PlanError
from cost.report import delta_of_document, of_document
from runs import preview


def show(
    *,
    stack: str | None,
    plan: str | None,
    base: str | None,
    delta: bool,
    json: bool,
    markdown: bool,
    prices_of: str | None,
    limits: budgets.Budget,
) -> None:
    """Print the cost of a stack, or the difference that an update makes to it.

    Args:
        stack: Pulumi stack to preview; None: the selected one.
        plan: file with the preview or exported state to read instead; `-` is stdin.
        base: file with the preview or exported state to compare with.
        delta: compare with what is deployed now, unless there is a `base`.
        json: print JSON.
        markdown: print Markdown.
        prices_of: region whose prices are taken; None: the region of the stack.
        limits: limits that replace those of the stack file.

    Raises:
        CommandError: a file cannot be read (BAD_INPUT), or a budget is exceeded (REFUSED).
        RunsError: the preview failed.
    """
    table = _table(prices_of) if prices_of else None
    before = _document(base) if base else None
    after = _document(plan) if plan else preview.run(["pulumi", *preview.arguments(stack=stack)])
    try:
        budget = budgets.of_document(after).model_copy(update=limits.model_dump(exclude_none=True))
        found = delta_of_document(after, before, prices=table) if delta or base else of_document(after, prices=table)
    except PlanError as problem:
        raise CommandError(f"{' or '.join(filter(None, [plan or 'the preview', base]))}: {problem}") from problem
    if json:
        print(found.model_dump_json(indent=2))
    elif markdown:
        print(views.markdown_delta(found) if isinstance(found, Delta) else views.markdown(found), end="")
    else:
        _print(found)
    if problem := budgets.check(found.new if isinstance(found, Delta) else found, budget):
        raise CommandError(problem, ExitCode.REFUSED)


def update_prices(region: str) -> None:
    """Write the price table of a region from the AWS Price List API. CommandError if AWS does not tell its prices."""
    from cost import update

    try:
        table = update.fetch(update.client(), region, prices.shipped(), today=datetime.now(UTC).date())
    except update.UpdateError as problem:
        wrong = isinstance(problem, update.RegionError)
        raise CommandError(str(problem), ExitCode.BAD_INPUT if wrong else ExitCode.FAILED) from problem
    print(
        f"{prices.save(table)}: {len(table.nodes)} instance types, {len(table.databases)} database classes, "
        f"{len(table.units)} other prices"
    )
    if lacking := update.lacking(table):
        print(f"AWS lists no price for {', '.join(lacking)}; what needs them is not estimated")


def _print(found: Estimate | Delta) -> None:
    console = Console(highlight=False, width=views.WIDTH)
    if isinstance(found, Delta):
        views.show_delta(found, console)
    else:
        views.show(found, console)


def _table(region: str) -> prices.Prices:
    if table := prices.load(region):
        return table
    raise CommandError(
        f"--prices-of {region}: there is no price table of this region; "
        f"write one with `mlops cost --update-prices {region}`"
    )


def _document(name: str) -> object:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text()
        return jsons.loads(text, parse_constant=_no_number)
    except OSError as problem:
        raise CommandError(f"{name}: it cannot be read ({problem.strerror})") from problem
    except (ValueError, RecursionError) as problem:
        raise CommandError(f"{name} is not a preview in JSON ({problem}); {MAKE_ONE}") from problem


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")
