"""Ends a command of the registry with a message as its last line and an exit code (contract/exit_codes.py)."""

import argparse
import contextlib
import errno
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, cast

import mlflow
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException

from contract.exit_codes import ExitCode, UserError
from contract.stages import RefusedError
from training.data.reading import DataError, StoreError
from training.mlflow_logging import TrackingError, reason
from training.output import outlive_the_reader
from training.project import ProjectError
from training.registry.claim import BusyError
from training.registry.client import UnknownError
from training.settings import SettingsError

LOG = logging.getLogger(__name__)


class BadInputError(Exception):
    """The command is wrong; the message says why, and what to write instead."""


class FailedError(Exception):
    """The command failed; another try may succeed."""


def run(command: Callable[[], str], *, termination_log: Path | None = None) -> int:
    """Run the command, print its last line, and return the exit code.

    Args:
        command: returns the last line of a run that succeeded.
        termination_log: file that gets the last line, too, if it exists: Kubernetes' termination log.
    """
    outlive_the_reader()
    try:
        code, message = ExitCode.DONE, command()
    except Exception as error:
        code, message = explain(error)
        if not message:
            LOG.exception("unexpected error, a defect in this program:")
            message = f"unexpected {type(error).__name__}: {reason(error)}; the traceback is above"
    except KeyboardInterrupt:
        code, message = ExitCode.FAILED, "interrupted; run the same command again to continue"
    if message:
        print(message, file=sys.stdout if code == ExitCode.DONE else sys.stderr, flush=True)
    if termination_log and termination_log.exists():
        with contextlib.suppress(OSError):
            termination_log.write_text(message)
    return code


def parser(module: str, description: str) -> argparse.ArgumentParser:
    """Return a parser for `python -m training.MODULE` with the option `--tracking-uri`."""
    command_line = argparse.ArgumentParser(f"python -m training.{module}", description=description)
    command_line.add_argument(
        "--tracking-uri",
        default=mlflow.get_tracking_uri(),
        metavar="URI",
        help="URI of the MLflow server that holds the registry (default: MLFLOW_TRACKING_URI)",
    )
    return command_line


def number(text: str) -> int:
    """Convert a version number from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a version number; write a whole number of at least 1, as MLflow shows it"
        )
    return int(text)


class _Setting(Protocol):
    """Typed part of a setting of MLflow."""

    def set(self, value: int) -> None: ...


def fail_fast() -> None:
    """Make MLflow's client give up a call after about 25 seconds, not minutes, because its callers have deadlines."""
    cast("_Setting", MLFLOW_HTTP_REQUEST_TIMEOUT).set(10)
    cast("_Setting", MLFLOW_HTTP_REQUEST_MAX_RETRIES).set(1)


CODES: Mapping[ExitCode, tuple[type[Exception], ...]] = {
    ExitCode.BAD_INPUT: (BadInputError, UnknownError, DataError, ProjectError, SettingsError),
    ExitCode.REFUSED: (RefusedError,),
    ExitCode.FAILED: (BusyError, FailedError, StoreError, TrackingError),
}
"""Errors whose message is printed as it is, by exit code."""


def explain(error: Exception) -> tuple[ExitCode, str]:
    """Return exit code and message for the error; the message is empty if the error is a defect of this program."""
    for code, kinds in CODES.items():
        if isinstance(error, kinds):
            return code, str(error)
    match error:
        case UserError():
            return error.code, str(error)
        case MlflowException():
            message = f"a call to MLflow failed: {reason(error)}; check MLflow's log, then run the command again"
        case Boto3Error() | BotoCoreError() | ClientError():
            message = f"a call to the artifact store failed: {reason(error)}; check its address, keys and bucket"
        case OSError(errno=errno.ENOSPC):
            message = f"no space left while writing {error.filename or tempfile.gettempdir()}; free some space"
        case _:
            message = ""
    return ExitCode.FAILED, message
