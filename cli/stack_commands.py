"""Command about the stack: infra-diff. It imports what it needs when it runs."""

from typing import Annotated

import typer


def infra_diff(
    *,
    stack: Annotated[
        str | None, typer.Option(metavar="NAME", help="Pulumi stack. Default: the selected one.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with values in full length.")] = False,
) -> None:
    """Show what differs between the stack and its cluster.

    The report names who changed each field. Exit code 3 says that something differs. For the lab's stack, use
    `mlops lab drift`.
    """
    from runs.drift import PREVIEW
    from runs.infra_diff import report

    raise typer.Exit(report(["pulumi", *PREVIEW, *(["--stack", stack] if stack else [])], as_json=json))
