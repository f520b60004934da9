"""The command line of the lab. Imports wait for the command that needs them, so that `lab --help` is quick."""

import sys
from typing import Annotated, Any

import typer

from lab.errors import LabError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
PASS_THROUGH: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.callback()
def root() -> None:
    """A real Kubernetes cluster and a real Pulumi engine on this machine."""


@app.command()
def tools(only: Annotated[list[str] | None, typer.Option(help="A module or a group; may be repeated.")] = None) -> None:
    """Get the programs that the lab runs: from PATH, from apt-get, or built."""
    from rich.console import Console

    from lab.tools.install import install, install_packages

    console = Console()
    if not only:
        install_packages(console)
    install(console, only or ())


def main() -> None:
    """Entry point of `lab`."""
    try:
        app()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        sys.exit(1)
