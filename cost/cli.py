"""The command line: `python -m cost`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from rich.console import Console

from cost import views
from cost.budget import Budget, check
from cost.delta import Delta
from cost.estimate import Estimate
from cost.plan import PlanError
from cost.prices import Prices, load, save, shipped
from cost.report import delta_of_document, of_document

EXCEEDED, WRONG = 1, 2
"""Exit codes: a budget is exceeded; an argument or a file is wrong."""
DESCRIPTION = """\
What a stack costs on AWS, from its planned resources: a month without load, a
month with every node pool at its maximum, one training run, one endpoint; and
the prices of what depends on usage.
"""
EXAMPLES = """\
examples:
  pulumi preview --json --show-sames --stack prod > plan.json
  python -m cost --plan plan.json                  what the planned stack costs
  python -m cost --plan plan.json --delta          what the update changes
  python -m cost --plan plan.json --base main.json what changes against a plan
                                                   or an exported state
  python -m cost --plan plan.json --delta --markdown > comment.md
  pulumi preview --json --show-sames | python -m cost --plan - --json
  python -m cost --plan plan.json --month-usd 1500 --run-usd 20
  python -m cost --plan plan.json --prices-of us-east-1
                                                   with another region's prices
  python -m cost --update-prices --region eu-west-1
                                                   write that region's prices

exit codes: 0 estimated, 1 a budget is exceeded, 2 an argument or file is wrong
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.update_prices:
        if not chosen.region:
            parser.error("--update-prices needs --region, as in --region eu-west-1")
        return _update(chosen.region)
    if not chosen.plan:
        parser.error("name a plan with --plan, or write --update-prices")
    prices = None
    if chosen.prices_of:
        prices = load(chosen.prices_of)
        if prices is None:
            parser.error(
                f"--prices-of {chosen.prices_of}: there is no such price table; "
                f"write it with --update-prices --region {chosen.prices_of}"
            )
    try:
        return _report(chosen, prices)
    except _FileError as problem:
        return _wrong(str(problem))


class _FileError(Exception):
    pass


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cost",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--plan",
        metavar="FILE",
        help="output of `pulumi preview --json --show-sames`, or an exported state; - is stdin",
    )
    parser.add_argument("--delta", action="store_true", help="compare with what is deployed now, as the plan has it")
    parser.add_argument("--base", metavar="FILE", help="compare with this plan or exported state")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON")
    shape.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--prices-of", metavar="REGION", help="take this region's prices instead of the stack's own")
    parser.add_argument("--month-usd", type=_amount, metavar="USD", help="fail if a month may cost more")
    parser.add_argument("--run-usd", type=_amount, metavar="USD", help="fail if one training run may cost more")
    parser.add_argument("--update-prices", action="store_true", help="write a price table from the AWS Price List API")
    parser.add_argument("--region", metavar="REGION", help="the region of --update-prices")
    return parser


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = 0
    if not amount > 0:
        raise argparse.ArgumentTypeError(f"{text} is no amount above zero; write it as in 1500 or 19.50")
    return amount


def _report(chosen: argparse.Namespace, prices: Prices | None) -> int:
    document = _document(chosen.plan)
    if chosen.delta or chosen.base:
        base = _document(chosen.base) if chosen.base else None
        try:
            delta = delta_of_document(document, base, prices=prices, today=_today())
        except PlanError as problem:
            raise _FileError(f"{chosen.plan}{f' or {chosen.base}' if chosen.base else ''}: {problem}") from None
        _print_delta(delta, chosen)
        return _checked(delta.new, chosen)
    try:
        estimate = of_document(document, prices=prices, today=_today())
    except PlanError as problem:
        raise _FileError(f"{chosen.plan}: {problem}") from None
    _print(estimate, chosen)
    return _checked(estimate, chosen)


def _checked(estimate: Estimate, chosen: argparse.Namespace) -> int:
    problem = check(estimate, Budget(month_usd=chosen.month_usd, run_usd=chosen.run_usd))
    if problem is None:
        return 0
    sys.stderr.write(f"{problem}\n")
    return EXCEEDED


def _print(estimate: Estimate, chosen: argparse.Namespace) -> None:
    if chosen.json:
        sys.stdout.write(estimate.model_dump_json(indent=2) + "\n")
    elif chosen.markdown:
        sys.stdout.write(views.markdown(estimate))
    else:
        views.show(estimate, Console(highlight=False, width=views.WIDTH))


def _print_delta(delta: Delta, chosen: argparse.Namespace) -> None:
    if chosen.json:
        sys.stdout.write(delta.model_dump_json(indent=2) + "\n")
    elif chosen.markdown:
        sys.stdout.write(views.markdown_delta(delta))
    else:
        views.show_delta(delta, Console(highlight=False, width=views.WIDTH))


def _document(name: str) -> object:
    try:
        return json.loads(sys.stdin.read() if name == "-" else Path(name).read_text())
    except OSError as problem:
        raise _FileError(f"{name}: it cannot be read ({problem.strerror})") from None
    except ValueError as problem:
        raise _FileError(f"{name}: it is no JSON ({problem})") from None


def _update(region: str) -> int:
    try:
        from cost import update
    except ImportError:
        return _wrong("--update-prices needs boto3; install it with `pip install boto3`")
    try:
        table = update.fetch(update.client(), region, shipped(), today=_today())
    except update.UpdateError as problem:
        return _wrong(str(problem))
    file = save(table)
    sys.stdout.write(
        f"{file}: {len(table.nodes)} instance types, {len(table.databases)} database classes, "
        f"{len(table.units)} other prices\n"
    )
    if lacking := update.lacking(table):
        sys.stdout.write(f"AWS lists no price for {', '.join(lacking)}; what needs them is not estimated\n")
    return 0


def _wrong(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return WRONG


def _today() -> date:
    return datetime.now(UTC).date()
