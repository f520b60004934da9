"""The command `mlops`, and its short form `lab` for `mlops lab`."""

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Protocol, cast

import typer
from typer.main import get_command

from cli import (
    drift_commands,
    endpoint_commands,
    monitoring_commands,
    pull_request_commands,
    registry_commands,
    run_commands,
    stack_commands,
)
from cli.errors import CommandError
from client.errors import EndpointError, InputError
from contract.exit_codes import MEANINGS, ExitCode, UserError
from images.errors import ImageError, ProgramError, RequirementsError
from lab import cli as lab
from lab.cli import examples
from lab.errors import InterruptedLabError, LabError
from runs.errors import RefusedError, RunsError
from training.output import outlive_the_reader

EXIT_CODES = "\n".join(["\b", "Exit codes:", *(f"  {code.value:<5}{meaning}" for code, meaning in MEANINGS.items())])
CODES: Mapping[type[Exception], ExitCode] = {
    RefusedError: ExitCode.BAD_INPUT,
    InputError: ExitCode.BAD_INPUT,
    InterruptedLabError: ExitCode.INTERRUPTED,
    RunsError: ExitCode.FAILED,
    EndpointError: ExitCode.FAILED,
    RequirementsError: ExitCode.BAD_INPUT,
    ImageError: ExitCode.FAILED,
    ProgramError: ExitCode.FAILED,
    LabError: ExitCode.FAILED,
}
"""Exit codes of the errors whose message is for the user; the first class that matches is used."""
MAY_BE_EMPTY = ("--why", "--keep")
"""Options whose default is the empty text."""
USER_ERRORS = (UserError, *CODES)

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(lab.app, name="lab")


@app.callback(
    epilog="\n\n".join(
        [
            examples(
                "mlops lab up                                  start a cluster and the platform on this machine",
                "mlops train churn N_ESTIMATORS=300            train in the cluster and validate the version",
                "mlops promote churn-predictor 4 staging       move a version forward",
                "mlops predict churn-predictor rows.csv        predict every row of a file",
            ),
            EXIT_CODES,
        ]
    )
)
def root() -> None:
    """Train, validate and promote models, and predict with them, in the lab or in another cluster.

    Commands use the lab on this machine. --context or KUBECONFIG names another cluster, --tracking-uri or
    MLFLOW_TRACKING_URI another MLflow.
    """


app.command(
    epilog=examples(
        "mlops train churn N_ESTIMATORS=300",
        "mlops train churn --context prod --no-validate",
        "mlops train churn --data churn.csv N_ESTIMATORS=300",
    )
)(run_commands.train)
app.command(
    name="new-project",
    epilog=examples(
        "mlops new-project churn.csv --target churn",
        "mlops new-project s3://example/sales.parquet --name sales --target price --time sold_at",
    ),
)(run_commands.new_project)
app.command(epilog=examples("mlops runs", "mlops runs --name churn --last 5", "mlops runs --json"))(run_commands.runs)
app.command(epilog=examples("mlops follow churn-x7k2p", "mlops follow churn-x7k2p --context prod"))(run_commands.follow)
app.command(epilog=examples("mlops validate churn-predictor 4", "mlops validate churn-predictor 4 --json"))(
    run_commands.validate
)
app.command(epilog=examples("mlops mlflow", "mlops mlflow --context prod --port 5005", "mlops mlflow --promoter"))(
    registry_commands.mlflow
)
app.command(
    epilog=examples(
        "mlops notebook",
        "mlops notebook --tracking-uri sqlite:///mlflow.db --no-browser",
        "mlops notebook --training churn-net --minutes 240",
    )
)(registry_commands.notebook)
app.command(
    epilog=examples(
        "mlops models", "mlops models churn-predictor --json", "mlops models --served Pulumi.prod.yaml@prod"
    )
)(registry_commands.models)
app.command(
    epilog=examples(
        'mlops promote churn-predictor 4 staging --why "more trees"',
        "mlops promote churn-predictor 4 production --dry-run",
        "mlops promote churn-predictor 4 staging --copy-to https://mlflow.example.com",
    )
)(registry_commands.promote)
app.command(
    epilog=examples("mlops rollback churn-predictor", 'mlops rollback churn-predictor --why "more false alarms"')
)(registry_commands.rollback)
app.command(
    epilog=examples(
        "mlops reproduce churn-predictor 4", "mlops reproduce churn-predictor 4 --dataset s3://archive/churn.csv"
    )
)(registry_commands.reproduce)
app.command(
    epilog=examples(
        "mlops image churn-predictor --version 8",
        "mlops image churn-predictor --version 8 --registry registry.example.com/mlops --sbom packages.cdx.json",
    )
)(registry_commands.image)
app.command(
    epilog=examples(
        "mlops predict churn-predictor rows.csv",
        "mlops predict churn-predictor rows.parquet --out predictions.parquet --keep customer_id,note",
        "mlops predict churn-predictor rows.csv --url https://churn.example.com --token token.txt",
    )
)(endpoint_commands.predict)
app.command(
    epilog=examples(
        "mlops client churn-predictor > churn_predictor.py",
        "mlops client churn-predictor --url https://churn.example.com > churn_predictor.py",
    )
)(endpoint_commands.client)
app.command(
    epilog=examples("mlops top", "mlops top --context prod", "mlops top --prometheus http://localhost:9090 --json")
)(monitoring_commands.top)
app.command(
    epilog=examples(
        "mlops dashboard",
        "mlops dashboard platform --print-url",
        "mlops dashboard --grafana https://g-0123.grafana-workspace.eu-west-1.amazonaws.com --upload",
    )
)(monitoring_commands.dashboard)
app.command(epilog=examples("mlops boards dashboards", "mlops boards pictures --draw churn-predictor"))(
    monitoring_commands.boards
)
app.command(
    epilog=examples(
        "mlops compare churn-predictor --percent 10",
        "mlops compare churn-predictor --stack prod --log s3://example-mlops-prod --outcomes outcomes.csv",
        "mlops compare churn-predictor --percent 10 --outcomes outcomes.csv --by contract --html report.html",
    )
)(endpoint_commands.compare)
app.command(
    epilog=examples(
        "mlops drift churn-predictor",
        "mlops drift churn-predictor --hours 6 --out drift.html",
        "mlops drift churn-predictor --record",
    )
)(drift_commands.drift)
app.command(
    epilog=examples(
        "mlops outcomes churn-predictor s3://example-mlops-prod/outcomes/",
        "mlops outcomes churn-predictor outcomes/ --days 7 --out joined.parquet",
    )
)(drift_commands.outcomes)
app.command(
    epilog=examples(
        "mlops preview --stack prod",
        "mlops preview --stack prod --base origin/main --out report.md",
        "mlops preview --stack prod --base origin/main --models-only --markdown",
    )
)(stack_commands.preview)
app.command(
    name="infra-diff", epilog=examples("mlops infra-diff --stack prod", "mlops infra-diff --stack prod --json")
)(stack_commands.infra_diff)
app.command(
    epilog=examples(
        "mlops cost --stack prod",
        "mlops cost --stack prod --delta --markdown > comment.md",
        "mlops cost --update-prices eu-west-1",
    )
)(stack_commands.cost)
app.command(epilog=examples("mlops doctor --stack prod", "mlops doctor --stack prod --json"))(stack_commands.doctor)
app.command(
    epilog=examples(
        "mlops comment --stack prod --pull-request 12 --file report.md --outcome passes",
        "mlops comment --stack prod --pull-request 12 --file - --outcome refused < report.md",
    )
)(pull_request_commands.comment)
app.command(
    epilog=examples(
        "mlops release churn-predictor 8 --stack prod",
        "mlops release churn-predictor --previous --stack prod",
        "mlops release churn-predictor 8 --steps 1,10,50,100 --hold 10m --key X-Customer-Id",
    )
)(pull_request_commands.release)
app.command(
    epilog=examples(
        "mlops propose churn-predictor 8 --stack prod",
        "mlops propose churn-predictor --tagged --stack prod --copy-from https://mlflow.staging.example.com",
        "mlops propose churn-predictor --previous --stack prod",
    )
)(pull_request_commands.propose)


class _UsageError(Protocol):
    """Error of typer about a command line; typer's own class is private."""

    ctx: typer.Context | None
    exit_code: int

    def format_message(self) -> str: ...


def run(words: Sequence[str], *, program: str = "mlops") -> int:
    """Run a command line and return the exit code. An error prints one line on stderr, or one for each problem."""
    try:
        return _run(words, program)
    except typer.TyperException as error:
        code, message = _wrong_usage(program, cast("_UsageError", error))
    except USER_ERRORS as error:
        code = error.code if isinstance(error, UserError) else _code(error)
        message = f"\n{program}: ".join(str(error).splitlines()) if isinstance(error, InputError) else str(error)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = f" ({error.filename})" if error.filename else ""
        code, message = ExitCode.FAILED, f"the disk is full{where}; free some space and run the command again"
    except KeyboardInterrupt:
        code, message = ExitCode.INTERRUPTED, "interrupted"
    print(message if message.startswith("Usage: ") else f"{program}: {message}", file=sys.stderr)
    return code


def _run(words: Sequence[str], program: str) -> int:
    lab_words = list(words) if program == "lab" else list(words[1:]) if words[:1] == ["lab"] else []
    if lab_words[:1] in (["kubectl"], ["pulumi"]):
        lab.become(lab_words[0], lab_words[1:])
    _refuse_empty(words)
    command = get_command(lab.app if program == "lab" else app)
    result: object = command.main(args=list(words), prog_name=program, standalone_mode=False)
    if result == ExitCode.INTERRUPTED:  # typer returns this code after a KeyboardInterrupt
        raise KeyboardInterrupt
    return result if isinstance(result, int) else ExitCode.DONE


def _refuse_empty(words: Sequence[str]) -> None:
    """Raise CommandError for an empty value. A script whose variable is not set must not act on the default."""
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=") if word.startswith("--") else (before, "", word)
        if not value and (equals or not word) and option not in MAY_BE_EMPTY:
            named = option if option.startswith("--") else "an argument"
            raise CommandError(f"{named} is empty; write a value, or leave it out for the default")


def _wrong_usage(program: str, error: _UsageError) -> tuple[int, str]:
    message = error.format_message()
    if message.startswith("Usage: "):  # without a command, the message is the help
        return error.exit_code, message
    help_of = error.ctx.command_path if error.ctx else program
    return error.exit_code, f"{' '.join(message.split()).rstrip('.')} (see {help_of} --help)"


def _code(error: Exception) -> ExitCode:
    return next(code for kind, code in CODES.items() if isinstance(error, kind))


def start(words: Sequence[str], *, program: str = "mlops") -> int:
    """Run a command line as the program of this process, and return the exit code."""
    # Programs that a script starts in the background ignore Ctrl-C by default.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _open_standard_streams()
    outlive_the_reader()
    return run(words, program=program)


def _open_standard_streams() -> None:
    """Replace each standard stream that the caller closed, so that no other file gets its descriptor."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdin, sys.stdout, sys.stderr = (each or StringIO() for each in (sys.stdin, sys.stdout, sys.stderr))


def main() -> None:
    """Entry point of `mlops` and of `lab`; the name of the program decides."""
    sys.exit(start(sys.argv[1:], program="lab" if Path(sys.argv[0]).name == "lab" else "mlops"))
