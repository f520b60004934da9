"""The command line of training runs: `make train`, `make runs`, `make validate`, in any cluster of a kubeconfig."""

import getpass
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.text import Text

from runs import declared, history, tracking
from runs.cluster import Cluster, Object
from runs.declared import Declared
from runs.errors import ClusterError, RefusedError, RunsError
from runs.follow import Follower
from runs.infra_diff import infra_diff
from runs.output import outlive_the_reader
from runs.state import REFUSED, Run, all_runs, all_validations
from runs.table import duration, metrics, show
from runs.values import of_make, pairs

DETACHED = 130
WORDS_OF_MAKE = ("NAME", "CONTEXT", "DRY_RUN", "LAST", "VALIDATE")
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
Context = Annotated[
    str | None, typer.Option(help="Of the kubeconfig; its current one unless told.", show_default=False)
]


DryRun = Annotated[bool, typer.Option(help="Print the Job; make nothing.")]


@app.callback()
def root() -> None:
    """Starts, follows and lists training runs."""


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="The training job, as under mlops:training.", show_default=False)],
    values: Annotated[list[str] | None, typer.Argument(help="PARAMETER=value, ...", show_default=False)] = None,
    *,
    context: Context = None,
    dry_run: DryRun = False,
    validate: Annotated[bool, typer.Option(help="Look at once whether what it registers may go forward.")] = True,
) -> None:
    """Start a run now, follow it to its end, and validate what it registered.

    0: a version is registered and passed; 3: it is registered and refused; 1: it failed; 2: bad values or bad data.
    """
    _train(name, pairs(values or ()), Cluster(context=context), dry_run=dry_run, validates=validate)


@app.command(hidden=True)
def make_train() -> None:
    """The same, with all words from make's own command line."""
    words = dict(pairs(of_make(os.environ.get("MAKEFLAGS", ""))))
    told = {name: words.pop(name, "") for name in WORDS_OF_MAKE}
    if not told["NAME"]:
        raise RefusedError("which training job? write make train NAME=churn, as under mlops:training")
    if told["VALIDATE"] not in {"", "0", "1"}:
        raise RefusedError(f"VALIDATE={told['VALIDATE']}: must be 0 or 1, and is 1 unless told; write VALIDATE=0")
    cluster = Cluster(context=told["CONTEXT"] or None)
    _train(told["NAME"], words, cluster, dry_run=bool(told["DRY_RUN"]), validates=told["VALIDATE"] != "0")


@app.command()
def validate(
    model: Annotated[str, typer.Argument(help="The model, as the registry has it.", show_default=False)],
    version: Annotated[int, typer.Argument(help="Its version.", min=1, show_default=False)],
    *,
    context: Context = None,
    dry_run: DryRun = False,
) -> None:
    """Validate a version in the cluster. 0: it passed; 3: it is refused; 2: no such version or data; 1: it failed."""
    cluster = Cluster(context=context)
    training = _who_trained(cluster, model, version)
    job = declared.validation(cluster, training).job(version)
    if dry_run:
        _print(job)
        return
    raise typer.Exit(_validate(cluster, training, job))


@app.command()
def follow(
    job: Annotated[str, typer.Argument(help="The run, as `runs list` has it.", show_default=False)],
    *,
    context: Context = None,
) -> None:
    """Follow a run that goes on, or see again how it ended."""
    cluster = Cluster(context=context)
    found = {run.name: run for look in (all_runs, all_validations) for run in look(cluster)}
    if job not in found:
        raise RefusedError(f"there is no run {job}; `runs list` has those there are")
    training = declared.find(cluster, found[job].training)
    if found[job].is_validation:
        raise typer.Exit(_follow_validation(cluster, training, job))
    run, _ = _follow_training(cluster, training, job)
    raise typer.Exit(run.exit_code)


app.command(name="infra-diff")(infra_diff)


@app.command(name="list")
def list_(
    *,
    name: Annotated[str | None, typer.Option(help="Of this training job alone.", show_default=False)] = None,
    last: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    context: Context = None,
) -> None:
    """The last runs, with what came of them; of those whose Jobs are gone, what MLflow and the events tell."""
    cluster, console = Cluster(context=context), Console(highlight=False)
    there = all_runs(cluster, name)
    stack = [each for each in declared.all_of(cluster) if name in (None, each.name)]
    results: dict[str, tracking.Result] = {}
    past: dict[str, history.Past] = {}
    known = {run.name for run in there}
    try:
        with tracking.reached(cluster) as mlflow:
            for experiment in {run.experiment for run in there} | {each.experiment for each in stack}:
                results |= mlflow.results(experiment, {run.name for run in there[-last:]})
                gone = mlflow.others(experiment, known, last)
                results |= gone
                past |= {each.name: each for each in history.of_tracking(gone) if name in (None, each.training)}
    except ClusterError as error:
        _say(f"without metrics, and without runs that the cluster has forgotten: {error}", "yellow")
    trainings = {each.name for each in stack}
    past |= {each.name: each for each in history.of_events(cluster.events_of_jobs(), trainings, known | past.keys())}
    runs = sorted((*there, *past.values()), key=lambda run: run.started)[-last:]
    if runs:
        show(console, runs, results, datetime.now(UTC))
    else:
        console.print("no runs yet; start one with: make train NAME=...")


def _train(name: str, given: Mapping[str, str], cluster: Cluster, *, dry_run: bool, validates: bool) -> None:
    training = declared.find(cluster, name)
    manifest = training.job(given, _requester())
    if dry_run:
        _print(manifest)
        return
    run, result = _follow_training(cluster, training, _create(cluster, manifest))
    if run.exit_code or not validates:
        raise typer.Exit(run.exit_code)
    if result is None:
        _say(
            "not validated: which version it registered is not known here; its schedule looks at it, or make validate",
            "yellow",
        )
    elif result.version:
        _validate_new(cluster, training, f"MODEL={result.model} VERSION={result.version}", result.version)


def _validate_new(cluster: Cluster, training: Declared, named: str, version: int) -> None:
    template = declared.validation(cluster, training)
    if not template.enabled:
        _say(f"not validated, for it is not enabled for {training.name}; do it with: make validate {named}", "yellow")
        return
    code = _validate(cluster, training, template.job(version))
    if code not in {0, REFUSED}:
        _say(f"it is registered, and not validated; try again with: make validate {named}", "yellow")
    raise typer.Exit(code)


def _who_trained(cluster: Cluster, model: str, version: int) -> Declared:
    """The training job whose code made the version; where nobody knows, one of the model's."""
    first, *more = declared.of_model(cluster, model)
    if not more:
        return first
    with tracking.reached(cluster) as mlflow:
        name = mlflow.training_job(model, version)
    return next((each for each in more if each.name == name), first)


def _print(manifest: Object) -> None:
    sys.stdout.write(yaml.safe_dump(manifest, sort_keys=False))


def _create(cluster: Cluster, manifest: Object) -> str:
    return cluster.create(manifest)["metadata"]["name"]


def _validate(cluster: Cluster, training: Declared, manifest: Object) -> int:
    """The exit code of the Job."""
    return _follow_validation(cluster, training, _create(cluster, manifest))


def _follow_validation(cluster: Cluster, training: Declared, job: str) -> int:
    run = _follow(cluster, job, f"a validation for {training.name}", lambda: all_validations(cluster, training.name))
    took = duration(run.duration(datetime.now(UTC)))
    if run.exit_code == 0:
        _say(f"{run.name} is done after {took}", "green")
    elif run.exit_code == REFUSED:
        _say(f"{run.name} took {took}: {run.reason}; it stays registered, and no promotion takes it", "red")
    else:
        _say(f"{run.name} failed after {took}: {run.reason}", "red")
    return run.exit_code


def _follow_training(cluster: Cluster, training: Declared, job: str) -> tuple[Run, tracking.Result | None]:
    run = _follow(cluster, job, f"a run of {training.name}", lambda: all_runs(cluster, training.name))
    return run, _tell_end(cluster, training, run)


def _follow(cluster: Cluster, job: str, what: str, runs: Callable[[], Sequence[Run]]) -> Run:
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text.assemble((job, "bold"), f", {what}; Ctrl-C leaves it to itself"))
    follower = Follower(
        cluster=cluster,
        runs=runs,
        job=job,
        note=lambda line: console.print(line, style="dim", markup=False),
        log=lambda line: console.print(line, markup=False),
    )
    again = f"make follow RUN={job}" + (f" CONTEXT={cluster.context}" if cluster.context else "")
    try:
        return follower.until_the_end()
    except KeyboardInterrupt:
        console.print(f"\n{job} goes on; follow it again with: {again}", markup=False)
        raise typer.Exit(DETACHED) from None
    except ClusterError as error:
        raise RunsError(f"{error}; {job} goes on, if it can; follow it again with: {again}") from error


def _tell_end(cluster: Cluster, training: Declared, run: Run) -> tracking.Result | None:
    """What MLflow knows of it; None where that is not known here."""
    took = duration(run.duration(datetime.now(UTC)))
    if run.status == "Failed":
        _say(f"{run.name} failed after {took}: {run.reason}", "red")
    else:
        _say(f"{run.name} succeeded after {took}", "green")
    try:
        result = _results(cluster, [run]).get(run.name)
    except ClusterError as error:
        _say(f"what MLflow knows of it is not known here: {error}")
        return None
    if result is None:
        return None
    _say(f"run      {training.tracking_ui}{result.page}")
    if result.metrics:
        _say(f"metrics  {metrics(result.metrics)}")
    if result.version:
        _say(f"version  {result.model} {result.version}")
    return result


def _say(line: str, color: str | None = None) -> None:
    Console(highlight=False, soft_wrap=True).print(line, style=color, markup=False)


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
    outlive_the_reader()
    try:
        app(prog_name="runs")
    except RunsError as error:
        print(f"runs: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, RefusedError) else 1)
    except KeyboardInterrupt:
        sys.exit(DETACHED)
