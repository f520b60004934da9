"""Commands about the stack: preview, infra-diff, cost, doctor. Each imports what it needs when it runs."""

import math
from typing import Annotated

import typer

from cli.errors import CommandError
from cli.options import Json, Stack

MlflowUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI",
        help="Address of the stack's MLflow. Default: a port-forward of kubectl to MLflow in the cluster.",
        show_default=False,
    ),
]


def _usd(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = 0
    if not 0 < amount < math.inf:
        raise typer.BadParameter(f"{text} is not an amount above zero; write it as in 1500 or 19.50")
    return amount


def preview(
    *,
    stack: Stack = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Git ref whose stack file is compared with that of the working tree, such as origin/main.",
            show_default=False,
        ),
    ] = None,
    models_only: Annotated[
        bool,
        typer.Option(
            "--models-only",
            help="Report only models, from the two stack files and MLFLOW_TRACKING_URI. Runs no engine, and needs no "
            "credentials.",
        ),
    ] = False,
    json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown for a comment on GitHub.")] = False,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write the report into this file, as JSON with --json and as Markdown otherwise, and show it in the "
            "terminal too.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show what a change does to a stack, and whether it passes.

    The report has models, resources, cost and policies. The command runs `pulumi preview` and changes nothing. Exit
    code 3 says that a model is refused, a budget is exceeded or a mandatory policy is violated; 1 says that the preview
    failed, or that MLflow did not respond and the stack is protected.
    """
    if json and markdown:
        raise CommandError("--json and --markdown are two forms of one report; write one of the two")
    if models_only and not base:
        raise CommandError("--models-only compares two stack files; write --base REF, such as --base origin/main")
    from cli import stack_preview

    raise typer.Exit(
        stack_preview.show(stack=stack, base=base, models_only=models_only, json=json, markdown=markdown, out=out)
    )


def infra_diff(
    *,
    stack: Stack = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with values in full length.")] = False,
) -> None:
    """Show what differs between the stack and its cluster.

    The report names who changed each field. Exit code 3 says that something differs. For the lab's stack, use
    `mlops lab drift`.
    """
    from runs.infra_diff import report
    from runs.preview import arguments

    raise typer.Exit(report(["pulumi", *arguments("--refresh", stack=stack)], as_json=json))


def doctor(*, stack: Stack = None, tracking_uri: MlflowUri = None, json: Json = False) -> None:
    """Check everything that a stack needs, before its first update and on any day after it.

    The checks only read: the account and its quotas, the state, the cluster, its pods, MLflow and the served versions.
    Each finding has the command that mends it. Exit code 3 says that there is a problem. Without a permission, a check
    is reported as `not checked`.
    """
    from cli import stack_doctor

    raise typer.Exit(stack_doctor.report(stack, tracking_uri=tracking_uri, json=json))


def cost(
    *,
    stack: Stack = None,
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Output of `pulumi preview --json --show-sames`, or an exported state; - is stdin. Default: the "
            "command runs the preview.",
            show_default=False,
        ),
    ] = None,
    delta: Annotated[bool, typer.Option("--delta", help="Compare with what is deployed now.")] = False,
    base: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Compare with this preview or exported state.", show_default=False),
    ] = None,
    json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, as for a pull request.")] = False,
    prices_of: Annotated[
        str | None,
        typer.Option(
            metavar="REGION", help="Region whose prices are taken. Default: that of the stack.", show_default=False
        ),
    ] = None,
    month_usd: Annotated[
        float | None,
        typer.Option(
            metavar="USD",
            parser=_usd,
            help="Most that a month may cost. Default: mlops:budget.month_usd of the stack file.",
            show_default=False,
        ),
    ] = None,
    run_usd: Annotated[
        float | None,
        typer.Option(
            metavar="USD",
            parser=_usd,
            help="Most that one training run may cost. Default: mlops:budget.run_usd of the stack file.",
            show_default=False,
        ),
    ] = None,
    update_prices: Annotated[
        str | None,
        typer.Option(
            metavar="REGION",
            help="Write the price table of this region from the AWS Price List API, and estimate nothing.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show what a stack costs on AWS, from its planned resources.

    The report has a month without load, a month with every node pool at its maximum, one training run, one endpoint,
    and the prices of what depends on usage. Exit code 3 says that a budget is exceeded.
    """
    given = [stack, plan, delta, base, json, markdown, prices_of, month_usd, run_usd]
    if update_prices and any(given):
        raise CommandError("--update-prices only writes a price table; use it without other options")
    if stack and plan:
        raise CommandError("--stack makes a preview and --plan reads one; write one of the two")
    if json and markdown:
        raise CommandError("--json and --markdown are two forms of one report; write one of the two")
    from cli import stack_cost
    from cost.budget import Budget

    if update_prices:
        stack_cost.update_prices(update_prices)
        return
    stack_cost.show(
        stack=stack,
        plan=plan,
        base=base,
        delta=delta,
        json=json,
        markdown=markdown,
        prices_of=prices_of,
        limits=Budget(month_usd=month_usd, run_usd=run_usd),
    )
