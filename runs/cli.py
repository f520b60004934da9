"""The command line of training runs: `make train` and `make runs`, in any cluster that a kubeconfig knows."""

import getpass
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.markup import escape

from runs import declared, tracking
from runs.cluster import Cluster, Object
from runs.declared import Declared
from runs.errors import ClusterError, RefusedError, RunsError
from runs.follow import Follower
from runs.state import Run, all_runs
from runs.table import duration, metrics, table
from runs.values import of_make, pairs

DETACHED = 130
WORDS_OF_MAKE = ("NAME", "CONTEXT", "DRY_RUN", "LAST")
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
Context = Annotated[
    str | None, typer.Option(help="Of the kubeconfig; its current one unless told.", show_default=False)
]


@app.callback()
def root() -> None:
    """Starts, follows and lists training runs."""


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="The training job, as under mlops:training.", show_default=False)],
    values: Annotated[list[str] | None, typer.Argument(help="PARAMETER=value, ...", show_default=False)] = None,
    *,
    context: Context = None,
    dry_run: Annotated[bool, typer.Option(help="Print the Job; make nothing.")] = False,
) -> None:
    """Start a run now, follow it to its end. 0: a version is registered; 1: it failed; 2: bad values or bad data."""
    _train(name, pairs(values or ()), Cluster(context=context), dry_run=dry_run)


@app.command(hidden=True)
def make_train() -> None:
    """The same, with all words from make's own command line."""
    words = dict(pairs(of_make(os.environ.get("MAKEFLAGS", ""))))
    told = {name: words.pop(name, "") for name in WORDS_OF_MAKE}
    if not told["NAME"]:
        raise RefusedError("which training job? write make train NAME=churn, as under mlops:training")
    cluster = Cluster(context=told["CONTEXT"] or None)
    _train(told["NAME"], words, cluster, dry_run=bool(told["DRY_RUN"]))


@app.command()
def validate(
    model: Annotated[str, typer.Argument(help="The model, as the registry has it.", show_default=False)],
    version: Annotated[int, typer.Argument(help="Its version.", min=1, show_default=False)],
    *,
    context: Context = None,
    dry_run: Annotated[bool, typer.Option(help="Print the Job; make nothing.")] = False,
) -> None:
    """Validate a version in the cluster. 0: it passed; 3: it is refused; 2: no such version or data; 1: it failed."""
    cluster = Cluster(context=context)
    training = declared.of_model(cluster, model)
    _start(training, training.validation(version, _requester()), cluster, dry_run=dry_run)


@app.command()
def follow(
    job: Annotated[str, typer.Argument(help="The run, as `runs list` has it.", show_default=False)],
    *,
    context: Context = None,
) -> None:
    """Follow a run that goes on, or see again how it ended."""
    cluster = Cluster(context=context)
    found = {run.name: run for run in all_runs(cluster)}
    if job not in found:
        raise RefusedError(f"there is no run {job}; `runs list` has those there are")
    _follow(cluster, declared.find(cluster, found[job].training), job)


@app.command(name="list")
def list_(
    *,
    name: Annotated[str | None, typer.Option(help="Of this training job alone.", show_default=False)] = None,
    last: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    context: Context = None,
) -> None:
    """The last runs, with what came of them."""
    cluster, console = Cluster(context=context), Console()
    runs = all_runs(cluster, name)[-last:]
    if not runs:
        console.print("no runs yet; start one with: make train NAME=...", highlight=False)
        return
    results: Mapping[str, tracking.Result] = {}
    try:
        results = _results(cluster, runs)
    except ClusterError as error:
        console.print(f"without metrics: {error}", style="yellow", markup=False, highlight=False)
    console.print(table(runs, results, datetime.now(UTC)))


def _train(name: str, given: Mapping[str, str], cluster: Cluster, *, dry_run: bool) -> None:
    training = declared.find(cluster, name)
    _start(training, training.job(given, _requester()), cluster, dry_run=dry_run)


def _start(training: Declared, manifest: Object, cluster: Cluster, *, dry_run: bool) -> None:
    if dry_run:
        sys.stdout.write(yaml.safe_dump(manifest, sort_keys=False))
        return
    job = cluster.create(manifest)["metadata"]["name"]
    _follow(cluster, training, job)


def _follow(cluster: Cluster, training: Declared, job: str) -> None:
    """Ends the command."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{job}[/], a run of {training.name}; Ctrl-C leaves it to itself")
    follower = Follower(
        cluster=cluster,
        training=training.name,
        job=job,
        note=lambda line: console.print(line, style="dim", markup=False),
        log=lambda line: console.print(line, markup=False),
    )
    again = f"make follow RUN={job}" + (f" CONTEXT={cluster.context}" if cluster.context else "")
    try:
        run = follower.until_the_end()
    except KeyboardInterrupt:
        console.print(f"\n{job} goes on; follow it again with: {again}")
        raise typer.Exit(DETACHED) from None
    except ClusterError as error:
        raise RunsError(f"{error}; {job} goes on, if it can; follow it again with: {again}") from error
    _tell_end(console, cluster, training, run)
    raise typer.Exit(run.exit_code)


def _tell_end(console: Console, cluster: Cluster, training: Declared, run: Run) -> None:
    took = duration(run.duration(datetime.now(UTC)))
    if run.status == "Failed":
        console.print(f"[red]{run.name} failed[/] after {took}: {escape(run.reason)}")
    else:
        console.print(f"[green]{run.name} succeeded[/] after {took}")
    try:
        result = _results(cluster, [run]).get(run.name)
    except ClusterError as error:
        console.print(f"what MLflow knows of it is not known here: {error}", markup=False)
        return
    if result is None:
        return
    console.print(f"run      {training.tracking_ui}{result.page}", markup=False)
    if result.metrics:
        console.print(f"metrics  {metrics(result.metrics)}", markup=False)
    if result.version:
        console.print(f"version  {result.model} {result.version}", markup=False)


def _results(cluster: Cluster, runs: Sequence[Run]) -> Mapping[str, tracking.Result]:
    names = {run.name for run in runs}
    with tracking.reached(cluster) as mlflow:
        return {
            job: result
            for experiment in {run.experiment for run in runs}
            for job, result in mlflow.results(experiment, names).items()
        }


def _requester() -> str | None:
    """Who runs this command; None where the machine does not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def main() -> None:
    """Entry point of `runs`."""
    # A script that starts it in the background has it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        app(prog_name="runs")
    except RunsError as error:
        print(f"runs: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, RefusedError) else 1)
    except KeyboardInterrupt:
        sys.exit(DETACHED)
