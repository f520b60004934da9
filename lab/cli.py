"""Commands of the lab: `mlops lab`, or `lab` for short. Each command imports what it needs when it runs."""

import os
import shlex
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from lab import paths
from lab.errors import InterruptedLabError, LabError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


def examples(*lines: str) -> str:
    """Return the examples of a command as the last part of its help, one line each."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


@app.callback()
def root() -> None:
    """Run a Kubernetes cluster and a Pulumi engine on this machine."""


@app.command(
    epilog=examples(
        "mlops lab up",
        "mlops lab up --with monitoring",
        "mlops lab up --context my-cluster --registry registry.example.com/mlops",
    )
)
def up(
    *,
    cluster_only: Annotated[bool, typer.Option(help="Stop when the cluster runs; deploy nothing.")] = False,
    context: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Deploy to this context of your kubeconfig, not to the lab's own cluster."),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(metavar="HOST/PATH", help="Registry to which images are pushed; needed with --context."),
    ] = None,
    mlflow_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port of 127.0.0.1 for MLflow.", show_default="5000")
    ] = None,
    parts: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="PART", help="Part to deploy too: monitoring.", show_default="none"),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the steps, and do nothing.")] = False,
) -> None:
    """Start the cluster, and deploy the platform up to a served prediction.

    The command works from any state: on a new machine, after an interruption, or with a broken cluster.
    """
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

            bring_up_all(Console(), context=context, registry=registry, mlflow_port=mlflow_port, parts=parts or ())


@app.command(epilog=examples("mlops lab sbom serving", "mlops lab sbom training > training.cdx.json"))
def sbom(image: Annotated[str, typer.Argument(metavar="IMAGE", help="mlflow, training or serving.")]) -> None:
    """Print the Python packages of an image, with their hashes, as a CycloneDX bill of materials."""
    import json

    from images.sbom import sbom as bill

    print(json.dumps(bill(image, paths.CHECKOUT), indent=1))


@contextmanager
def _interruptible() -> Generator[None]:
    """Turn Ctrl-C into an error that says how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedLabError("interrupted; what is done stays done, and `lab up` continues from here") from None


@app.command(epilog=examples("mlops lab down", "mlops lab down --wipe"))
def down(
    *, wipe: Annotated[bool, typer.Option(help="Delete the state too: cluster, stacks, secrets.")] = False
) -> None:
    """Stop the cluster and everything that runs in it; its files stay."""
    from rich.console import Console

    from lab.cluster import operate

    console = Console()
    operate.down(wipe=wipe, say=lambda line: console.print(f"[dim]{line}", highlight=False))
    console.print("nothing of the lab runs" + (", and its state is gone" if wipe else "; its state stays"))


@app.command(epilog=examples("mlops lab status", "mlops lab status --json"))
def status(*, json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False) -> None:
    """Show what runs, how much memory it uses, and its addresses."""
    from rich.console import Console

    from lab.cluster.status import show

    show(Console(), json=json)


@app.command(epilog=examples("mlops lab logs", "mlops lab logs kubelet", "mlops lab logs kubelet --follow"))
def logs(
    name: Annotated[
        str | None,
        typer.Argument(metavar="PROCESS", help="Process whose log is shown.", show_default="a list of all logs"),
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines as the process writes them.")] = False,
) -> None:
    """Show the log of a process of the cluster, or the list of all logs."""
    if name is None:
        for path in sorted(paths.logs().glob("*.log")):
            print(f"{path.stem:26} {path.stat().st_size / 1024:>8.0f} KiB  {path}")
        return
    path = paths.logs() / f"{name}.log"
    if not path.exists():
        known = ", ".join(sorted(found.stem for found in paths.logs().glob("*.log"))) or "none yet"
        raise LabError(f"there is no log of a process {name}; write one of: {known}")
    arguments = ["tail", "-n", "200", *(["-F"] if follow else []), str(path)]
    os.execvp(arguments[0], arguments)


@app.command(epilog=examples("mlops lab tools", "mlops lab tools --only engine"))
def tools(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Build or group of builds to install; may be repeated.", show_default="all"),
    ] = None,
) -> None:
    """Find, install or build the programs that the lab runs."""
    from rich.console import Console

    from lab.tools.install import install, install_packages

    console = Console()
    if not only:
        install_packages(console)
    install(console, only or ())


@app.command(epilog=examples('eval "$(mlops lab env)"', 'eval "$(mlops lab env --stores)"'))
def env(
    *,
    stores: Annotated[
        bool, typer.Option(help="Print addresses of MLflow and the artifact store, and the store's keys.")
    ] = False,
) -> None:
    """Print the lab's environment for a shell."""
    from lab import stores as lab_stores
    from lab.engine import engine_environment

    for name, value in (lab_stores.environment() if stores else engine_environment()).items():
        if os.environ.get(name) != value:
            print(f"export {name}={shlex.quote(value)}")


@app.command(
    add_help_option=False,
    options_metavar="[ARGUMENT]...",
    epilog=examples("mlops lab kubectl get pods --all-namespaces", "mlops lab kubectl logs --help"),
)
def kubectl() -> None:
    """Run kubectl on the lab's cluster; it gets all arguments."""
    become("kubectl", [])


@app.command(
    add_help_option=False,
    options_metavar="[ARGUMENT]...",
    epilog=examples("mlops lab pulumi preview", "mlops lab pulumi up"),
)
def pulumi() -> None:
    """Run Pulumi with the lab's state; it gets all arguments."""
    become("pulumi", [])


@app.command(epilog=examples("mlops lab drift", "mlops lab drift --json"))
def drift(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with values in full length.")] = False
) -> None:
    """Show what differs between the stack and the lab's cluster.

    The report names who changed each field. Exit code 3 says that something differs. For other stacks, use
    `mlops infra-diff`.
    """
    from lab.engine import engine_environment
    from lab.recovery import STACK, engine_arguments
    from runs import infra_diff, preview
    from runs.errors import RunsError

    environment = engine_environment()
    arguments = engine_arguments(preview.arguments("--refresh", stack=STACK))
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


def become(program: str, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by a program of the lab. It gets the arguments untouched, `--` and `--help` included."""
    from lab.engine import engine_environment
    from lab.recovery import engine_arguments

    environment = engine_environment()
    found = _found(program, environment)
    given = engine_arguments(arguments) if program == "pulumi" else arguments
    os.execve(found, [program, *given], environment)
