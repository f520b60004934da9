"""Function behind `mlops doctor`."""

import tempfile
from pathlib import Path

from rich.console import Console

from cli import target
from cli.errors import CommandError
from contract.exit_codes import ExitCode
from doctor import stack_file, views
from doctor.checks import Surroundings, checks
from doctor.examination import examine


def report(name: str | None, *, tracking_uri: str | None, json: bool) -> ExitCode:
    """Check a stack, print the findings, and return the exit code.

    Args:
        name: name of the stack; None: the selected one.
        tracking_uri: address of MLflow; None: a port-forward.
        json: print JSON.

    Raises:
        CommandError: there is no such stack file, or it is wrong.
    """
    if tracking_uri:
        target.check_tracking(tracking_uri)
    try:
        stack = stack_file.read(name or target.selected_stack(Path.cwd()), Path.cwd())
    except stack_file.StackFileError as error:
        raise CommandError(str(error)) from error
    kubectl = "mlops lab kubectl" if target.is_lab(stack.name) else None
    with tempfile.TemporaryDirectory() as folder:
        around = Surroundings(
            environment=target.engine(stack.name), folder=Path(folder), kubectl=kubectl, tracking_uri=tracking_uri
        )
        todo = checks(stack, around)
        with views.Watch(len(todo)) as watch:
            found = examine(todo, watch=watch)
    if json:
        print(views.as_json(stack.name, found))
    else:
        views.show(Console(highlight=False), stack.name, found)
    return views.exit_code(found)
