"""Functions behind `mlops train`, `validate`, `follow` and `runs`: Jobs of a cluster."""

import getpass
import json as jsons
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import yaml
from rich.console import Console
from rich.text import Text

from cli import target
from cli.errors import CommandError
from contract.exit_codes import ExitCode
from contract.tags import SERVING_IMAGE, TRAINING_JOB
from model_preview.images import is_of_platform
from runs import declared, endpoints, history, tracking
from runs.cluster import Cluster, Object
from runs.declared import Code, Declared
from runs.endpoints import Endpoint
from runs.errors import ClusterError, RefusedError, RunsError
from runs.follow import Follower
from runs.history import Past
from runs.state import Run, all_runs, all_validations
from runs.table import duration, metrics, show
from runs.values import pairs

VALIDATION_STATUS = {ExitCode.DONE: "passed", ExitCode.REFUSED: "refused"}


def train(
    name: str,
    words: Sequence[str],
    context: str | None,
    *,
    code: Code | None,
    dry_run: bool,
    validates: bool,
    json: bool,
) -> int:
    """Start a run of a training job, follow it, validate the registered version, and return the exit code."""
    commands = _Commands(target.cluster(context), json=json)
    return commands.train(name, pairs(words), code, dry_run=dry_run, validates=validates)


def validate(
    model: str | None, version: int | None, context: str | None, *, endpoint: str | None, dry_run: bool, json: bool
) -> int:
    """Validate a version in a Job and return the exit code.

    Args:
        model: name of the registered model; None for the one that the endpoint serves.
        version: number of the version; None for the one that the endpoint serves.
        context: context of the kubeconfig; None for the current one.
        endpoint: name of an endpoint that serves the version and is tested; None if none is tested.
        dry_run: True to print the Job and create nothing.
        json: True to print JSON.
    """
    if endpoint is not None:
        cluster = target.cluster(context)
        served = endpoints.find_serving(cluster, endpoint, model, version)
        return _Commands(cluster, json=json).validate(served.model, served.version, endpoint=served, dry_run=dry_run)
    if model is None or version is None:
        missing = "MODEL and VERSION are" if model is None else "VERSION is"
        raise CommandError(
            f"{missing} missing, because no --endpoint names a version; write mlops validate MODEL VERSION, or "
            "mlops validate --endpoint NAME"
        )
    return _Commands(target.cluster(context), json=json).validate(model, version, endpoint=None, dry_run=dry_run)


def follow(job: str, context: str | None) -> int:
    """Follow a run or a validation to its end and return its exit code."""
    return _Commands(target.cluster(context), json=False).follow(job)


def show_runs(context: str | None, name: str | None, last: int, *, json: bool) -> None:
    """Print the last runs, with those whose Jobs are gone if MLflow or the cluster's events know them."""
    commands = _Commands(target.cluster(context), json=json)
    runs, results = commands.runs(name, last)
    if json:
        _print_json([_row(run, results.get(run.name)) for run in runs])
    elif runs:
        show(Console(highlight=False), runs, results, datetime.now(UTC))
    else:
        print("no runs yet; start one with: mlops train NAME")


@dataclass(frozen=True)
class _Commands:
    """Commands on one cluster. With `json`, only the result goes to stdout, and all other text to stderr."""

    cluster: Cluster
    json: bool

    def train(self, name: str, given: Mapping[str, str], code: Code | None, *, dry_run: bool, validates: bool) -> int:
        training = declared.find(self.cluster, name)
        manifest = training.job(given, _requester(), code)
        if dry_run:
            print_manifest(manifest)
            return ExitCode.DONE
        run, result, fault = self._follow_training(training, self._create(manifest))
        if fault:
            if self.json:
                _print_json(_row(run, result) | {"reason": fault})
            return ExitCode.BAD_INPUT
        validation = self._validate_new(training, result) if validates and not run.exit_code else None
        if self.json:
            row = _row(run, result) | {"page": result and training.tracking_ui + result.page}
            _print_json(row | {"validation": validation and _validation(validation)})
        return validation.exit_code if validation else run.exit_code

    def validate(self, model: str, version: int, *, endpoint: Endpoint | None, dry_run: bool) -> int:
        training = self._trained_by(model, version)
        template = declared.validation(self.cluster, training)
        job = template.job(version, endpoint, self._image(template.standard_image, model, version))
        if dry_run:
            print_manifest(job)
            return ExitCode.DONE
        run = self._follow_validation(training, self._create(job))
        if self.json:
            tested = {"endpoint": endpoint.name} if endpoint else {}
            _print_json({"model": model, "version": version, **tested, **_validation(run)})
        return run.exit_code

    def follow(self, job: str) -> int:
        found = {run.name: run for find in (all_runs, all_validations) for run in find(self.cluster)}
        if job not in found:
            raise RefusedError(f"there is no run {job} in the cluster; write one that `mlops runs` lists")
        training = declared.find(self.cluster, found[job].training)
        if found[job].is_validation:
            return self._follow_validation(training, job).exit_code
        run, _, fault = self._follow_training(training, job)
        return ExitCode.BAD_INPUT if fault else run.exit_code

    def runs(self, name: str | None, last: int) -> tuple[Sequence[Run | Past], Mapping[str, tracking.Result]]:
        """Return the last runs, and their results in MLflow by the Job's name."""
        present = all_runs(self.cluster, name)
        stack = [each for each in declared.all_of(self.cluster) if name in (None, each.name)]
        results: dict[str, tracking.Result] = {}
        past: dict[str, Past] = {}
        known = {run.name for run in present}
        try:
            with tracking.connected(self.cluster) as mlflow:
                for experiment in {run.experiment for run in present} | {each.experiment for each in stack}:
                    results |= mlflow.results(experiment, {run.name for run in present[-last:]})
                    gone = mlflow.others(experiment, known, last)
                    results |= gone
                    past |= {each.name: each for each in history.of_tracking(gone) if name in (None, each.training)}
        except ClusterError as error:
            self._print(f"metrics and older runs are missing, because MLflow did not return them: {error}", "yellow")
        trainings, events = {each.name for each in stack}, self.cluster.events_of_jobs()
        past |= {each.name: each for each in history.of_events(events, trainings, known | past.keys())}
        return sorted((*present, *past.values()), key=lambda run: run.started)[-last:], results

    def _validate_new(self, training: Declared, result: tracking.Result | None) -> Run | None:
        """Validate the version that a run registered. Return None, and print the reason, if nothing is validated."""
        if result is None:
            self._print(
                "not validated: MLflow did not return the version that the run registered; the schedule of the "
                "training job validates it, or start it with: mlops validate MODEL VERSION",
                "yellow",
            )
            return None
        if not (result.model and result.version):
            return None
        again = f"mlops validate {shlex.quote(result.model)} {result.version}{self._in_context}"
        template = declared.validation(self.cluster, training)
        if not template.enabled:
            self._print(
                f"not validated: validation is not enabled for {training.name}; start it with: {again}", "yellow"
            )
            return None
        run = self._follow_validation(training, self._create(template.job(result.version)))
        if run.exit_code not in VALIDATION_STATUS:
            self._print(f"the version is registered but not validated; validate it again with: {again}", "yellow")
        return run

    def _trained_by(self, model: str, version: int) -> Declared:
        """Return the training job that made the version; if that is unknown, the first one of the model."""
        first, *more = declared.of_model(self.cluster, model)
        if not more:
            return first
        with tracking.connected(self.cluster) as mlflow:
            name = mlflow.tags(model, version).get(TRAINING_JOB, "")
        return next((each for each in more if each.name == name), first)

    def _image(self, standard: str, model: str, version: int) -> str:
        """Return the image that the registry records for the version; empty for the declared one.

        Raises:
            RefusedError: the image is not in the repository of the standard image, or its tag can change.
        """
        if not standard:
            return ""
        with tracking.connected(self.cluster) as mlflow:
            recorded = mlflow.tags(model, version).get(SERVING_IMAGE, "")
        if recorded and not is_of_platform(recorded, standard):
            build = shlex.join(["mlops", "image", model, "--version", str(version)])
            raise RefusedError(
                f"the registry names the image {recorded} for {model} version {version}, and only images in the "
                f"repository of {standard}, by digest or with a tag own-..., validate; build it with `{build} "
                "--registry HOST/PATH`"
            )
        return recorded

    def _create(self, manifest: Object) -> str:
        """Create the Job and return its name."""
        return self.cluster.create(manifest)["metadata"]["name"]

    def _follow_validation(self, training: Declared, job: str) -> Run:
        """Follow the validation to its end, print its result, and return its run."""
        what = f"a validation for {training.name}"
        run = self._follow(job, what, lambda: all_validations(self.cluster, training.name))
        took = duration(run.duration(datetime.now(UTC)))
        if run.exit_code == ExitCode.DONE:
            self._print(f"{run.name} is done after {took}", "green")
        elif run.exit_code == ExitCode.REFUSED:
            self._print(
                f"{run.name} took {took}: {run.reason}; the version stays registered but cannot be promoted", "red"
            )
        else:
            self._print(f"{run.name} failed after {took}: {run.reason}", "red")
        return run

    def _follow_training(self, training: Declared, job: str) -> tuple[Run, tracking.Result | None, str]:
        """Follow the run, print its result, and return it with its result in MLflow.

        The third value says what a script that succeeded has not registered; it is empty for any other run.
        """
        run = self._follow(job, f"a run of {training.name}", lambda: all_runs(self.cluster, training.name))
        took = duration(run.duration(datetime.now(UTC)))
        if run.status == "Failed":
            self._print(f"{run.name} failed after {took}: {run.reason}", "red")
        else:
            self._print(f"{run.name} succeeded after {took}", "green")
        try:
            with tracking.connected(self.cluster) as mlflow:
                result = mlflow.results(run.experiment, {run.name}).get(run.name)
        except ClusterError as error:
            self._print(f"MLflow did not return the result of the run: {error}")
            return run, None, ""
        if result:
            self._print(f"run      {training.tracking_ui}{result.page}")
            if result.metrics:
                self._print(f"metrics  {metrics(result.metrics)}")
            if result.version:
                self._print(f"version  {result.model} {result.version}")
        fault = "" if run.exit_code or not training.is_script else _unregistered(training, result)
        if fault:
            self._print(fault, "red")
        return run, result, fault

    def _follow(self, job: str, what: str, runs: Callable[[], Sequence[Run]]) -> Run:
        """Follow the Job to its end and return its run; `what` describes the run to the user."""
        self._console.print(Text.assemble((job, "bold"), f", {what}; Ctrl-C does not stop it"))
        follower = Follower(
            cluster=self.cluster,
            runs=runs,
            job=job,
            note=lambda line: self._print(line, "dim"),
            log=self._print,
        )
        again = f"mlops follow {job}{self._in_context}"
        try:
            return follower.until_the_end()
        except KeyboardInterrupt:
            raise CommandError(f"{job} continues; follow it again with: {again}", ExitCode.INTERRUPTED) from None
        except ClusterError as error:
            raise RunsError(f"{error}; {job} may still run; follow it again with: {again}") from error

    @property
    def _in_context(self) -> str:
        """Option that names the cluster in a command that a message recommends; empty without a context."""
        return f" --context {shlex.quote(self.cluster.context)}" if self.cluster.context else ""

    @property
    def _console(self) -> Console:
        return Console(highlight=False, soft_wrap=True, stderr=self.json)

    def _print(self, line: str, color: str | None = None) -> None:
        self._console.print(line, style=color, markup=False)


def _unregistered(training: Declared, result: tracking.Result | None) -> str:
    """Return why the run of a script has not registered a version of its model; empty if it has."""
    script, instead = f"the script of {training.name}", "call log_model with registered_model_name=os.environ['MODEL']"
    if result is None:
        return (
            f"{script} logged no run of this Job to MLflow, so no version of {training.model} can be found; call "
            "mlflow.start_run() and set no tracking URI and no experiment in the script"
        )
    if result.version is None:
        return f"{script} registered no version, so there is nothing to validate or serve; {instead}"
    if result.model != training.model:
        return (
            f"{script} registered {result.model} version {result.version}, and the training job is for the model "
            f"{training.model}, so no endpoint gets the version; {instead}"
        )
    return ""


def _row(run: Run | Past, result: tracking.Result | None) -> dict[str, object]:
    """Return a run as `--json` prints it. Times are ISO 8601 in UTC, durations are seconds."""
    current = run if isinstance(run, Run) else None
    took = run.duration(datetime.now(UTC)) if isinstance(run, Run) else run.duration
    return {
        "run": run.name,
        "training": run.training,
        "made_by": current and current.made_by,
        "given": dict(current.given) if current else {},
        "status": run.status,
        "reason": current.reason if current and current.status == "Failed" else None,
        "started": run.started.isoformat(timespec="seconds"),
        "seconds": took and took.total_seconds(),
        "metrics": dict(result.metrics) if result else {},
        "model": result and result.model,
        "version": result and result.version,
    }


def _validation(run: Run) -> dict[str, object]:
    """Return a validation as `--json` prints it."""
    return {
        "run": run.name,
        "status": VALIDATION_STATUS.get(ExitCode(run.exit_code), "failed"),
        "reason": run.reason if run.exit_code else None,
        "seconds": run.duration(datetime.now(UTC)).total_seconds(),
    }


def _print_json(value: object) -> None:
    print(jsons.dumps(value, indent=1))


def print_manifest(manifest: Object) -> None:
    """Print an object as YAML that `kubectl create` reads."""
    sys.stdout.write(yaml.safe_dump(manifest, sort_keys=False))


def _requester() -> str | None:
    """Return the name of the user of this machine; None if it is unknown."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
