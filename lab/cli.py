"""The command line of the lab. Imports wait for the command that needs them, so that `lab --help` is quick."""

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from lab import paths
from lab.errors import LabError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


@app.callback()
def root() -> None:
    """A real Kubernetes cluster and a real Pulumi engine on this machine."""


@app.command()
def up(
    *,
    cluster_only: Annotated[bool, typer.Option(help="Stop when the cluster runs; deploy nothing.")] = False,
    context: Annotated[str | None, typer.Option(help="Deploy to this context of your kubeconfig instead.")] = None,
    registry: Annotated[str | None, typer.Option(help="HOST/PATH to push images to, for --context.")] = None,
    mlflow_port: Annotated[int | None, typer.Option(help="Port of 127.0.0.1 for MLflow; 5000 unless told.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done; do nothing.")] = False,
) -> None:
    """From nothing, or from any broken state, to a running cluster and a served prediction."""
    from rich.console import Console

    with _interruptible():
        if dry_run:
            from lab.plan import steps

            print("\n".join(steps(own_cluster=context is None)))
        elif cluster_only:
            from lab.cluster.bring_up import bring_up

            bring_up(Console(), mlflow_port, tools=("cluster", "engine"))
        else:
            from lab.up import up as bring_up_all

            bring_up_all(Console(), context=context, registry=registry, mlflow_port=mlflow_port)


@contextmanager
def _interruptible() -> Generator[None]:
    """Ctrl-C is a sentence; left alone, typer would end without a word."""
    try:
        yield
    except KeyboardInterrupt:
        raise LabError("interrupted; what is done stays done, and `lab up` goes on from here") from None


@app.command()
def down(*, wipe: Annotated[bool, typer.Option(help="Drop the state too: cluster, stacks, secrets.")] = False) -> None:
    """Stop everything; nothing but files is left on this machine."""
    from rich.console import Console

    from lab.cluster import operate

    console = Console()
    operate.down(wipe=wipe, say=lambda line: console.print(f"[dim]{line}", highlight=False))
    console.print("nothing of the lab runs" + (", and its state is gone" if wipe else "; its state stays"))


@app.command()
def status() -> None:
    """What runs, since when and with how much memory; where to reach it."""
    from rich.console import Console

    from lab.cluster.status import show

    show(Console())


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="A process; without it, the list of all.")] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the process writes.")] = False,
) -> None:
    """What a process of the cluster wrote."""
    if name is None:
        for path in sorted(paths.logs().glob("*.log")):
            print(f"{path.stem:26} {path.stat().st_size / 1024:>8.0f} KiB  {path}")
        return
    path = paths.logs() / f"{name}.log"
    if not path.exists():
        known = ", ".join(sorted(found.stem for found in paths.logs().glob("*.log"))) or "none yet"
        raise LabError(f"{name}: there is no such log; there are {known}")
    arguments = ["tail", "-n", "200", *(["-F"] if follow else []), str(path)]
    os.execvp(arguments[0], arguments)


@app.command()
def tools(only: Annotated[list[str] | None, typer.Option(help="A module or a group; may be repeated.")] = None) -> None:
    """Get the programs that the lab runs: from PATH, from apt-get, or built."""
    from rich.console import Console

    from lab.tools.install import install, install_packages

    console = Console()
    if not only:
        install_packages(console)
    install(console, only or ())


@app.command()
def env(
    *, stores: Annotated[bool, typer.Option(help="Where MLflow and the artifact store are, with its keys.")] = False
) -> None:
    """Print the lab's environment for a shell: eval "$(lab env)"."""
    from lab import stores as lab_stores
    from lab.engine import engine_environment

    for name, value in (lab_stores.environment() if stores else engine_environment()).items():
        if os.environ.get(name) != value:
            print(f"export {name}={shlex.quote(value)}")


@app.command(add_help_option=False)
def kubectl() -> None:
    """Run kubectl on the lab's cluster; all arguments are its own."""
    _become("kubectl")


@app.command(add_help_option=False)
def pulumi() -> None:
    """Run the Pulumi engine with the lab's state; all arguments are its own."""
    _become("pulumi")


@app.command()
def drift(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with values in full.")] = False) -> None:
    """What differs between the stack and the cluster, and who changed it. 0: nothing; 3: something."""
    from lab.engine import engine_environment
    from lab.recovery import STACK, engine_arguments
    from runs import infra_diff
    from runs.drift import PREVIEW
    from runs.errors import RunsError

    environment = engine_environment()
    arguments = engine_arguments([*PREVIEW, "--stack", STACK])
    try:
        code = infra_diff.report([_found("pulumi", environment), *arguments], as_json=as_json, environment=environment)
    except RunsError as error:
        raise LabError(str(error)) from error
    raise typer.Exit(code)


def _found(program: str, environment: Mapping[str, str]) -> str:
    found = shutil.which(program, path=environment["PATH"])
    if found is None:
        raise LabError(f"{program} is not on PATH and not in {paths.binaries()} yet; get it with: lab tools")
    return found


def _become(program: str) -> None:
    """Replaces this process; the arguments come from the shell untouched, `--` and `--help` included."""
    from lab.engine import engine_environment
    from lab.recovery import engine_arguments

    environment = engine_environment()
    found = _found(program, environment)
    arguments = engine_arguments(sys.argv[2:]) if program == "pulumi" else sys.argv[2:]
    os.execve(found, [program, *arguments], environment)


def main() -> None:
    """Entry point of `lab`."""
    try:
        if sys.argv[1:2] in (["kubectl"], ["pulumi"]):
            _become(sys.argv[1])
        app(prog_name=Path(sys.argv[0]).name)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"lab: the disk is full ({error.filename or paths.cache()}); make room and try again", file=sys.stderr)
        sys.exit(1)
