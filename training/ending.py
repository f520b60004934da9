"""How a command of the registry ends: one sentence as its last line, and an exit code (contract/exit_codes.py)."""

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

from contract.exit_codes import ExitCode
from training.data.reading import DataError, StoreError
from training.mlflow_logging import TrackingError, reason
from training.output import outlive_the_reader
from training.project import ProjectError
from training.registry.claim import BusyError
from training.registry.client import UnknownError
from training.registry.stages import RefusedError
from training.settings import SettingsError

LOG = logging.getLogger(__name__)


class BadInputError(Exception):
    """The command cannot be run as it was written; the message says why, and what to write."""


class FailedError(Exception):
    """The command could not be carried out, and may be at another try."""


def run(command: Callable[[], str], *, leave: Path | None = None) -> int:
    """Runs the command, prints the sentence it ends with, and returns the exit code.

    Args:
        command: gives the sentence for when all went well.
        leave: a file that holds the sentence afterwards, if it is there already: Kubernetes' termination log.
    """
    outlive_the_reader()
    try:
        code, sentence = ExitCode.DONE, command()
    except Exception as error:
        code, sentence = explain(error)
        if not sentence:
            LOG.exception("a defect:")
            sentence = f"unexpected {type(error).__name__}: {reason(error)}; the traceback is above"
    except KeyboardInterrupt:
        code, sentence = ExitCode.FAILED, "interrupted; run the same command again and it goes on from here"
    if sentence:
        print(sentence, file=sys.stdout if code == ExitCode.DONE else sys.stderr, flush=True)
    if leave and leave.exists():
        with contextlib.suppress(OSError):
            leave.write_text(sentence)
    return code


def parser(module: str, description: str) -> argparse.ArgumentParser:
    """A parser for `python -m training.MODULE` that knows where MLflow is."""
    made = argparse.ArgumentParser(f"python -m training.{module}", description=description)
    made.add_argument(
        "--tracking-uri",
        default=mlflow.get_tracking_uri(),
        metavar="URI",
        help="the MLflow that holds the registry; MLFLOW_TRACKING_URI unless told",
    )
    return made


def number(text: str) -> int:
    """A version as the command line gives it."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no version: write a whole number of at least 1, as MLflow shows it"
        )
    return int(text)


class _Setting(Protocol):
    """MLflow's settings carry no types."""

    def set(self, value: int) -> None: ...


def answer_soon() -> None:
    """MLflow's client gives up a call after some 25 seconds, not after minutes: what waits for it has a deadline."""
    cast("_Setting", MLFLOW_HTTP_REQUEST_TIMEOUT).set(10)
    cast("_Setting", MLFLOW_HTTP_REQUEST_MAX_RETRIES).set(1)


ENDINGS: Mapping[ExitCode, tuple[type[Exception], ...]] = {
    ExitCode.BAD_INPUT: (BadInputError, UnknownError, DataError, ProjectError, SettingsError),
    ExitCode.REFUSED: (RefusedError,),
    ExitCode.FAILED: (BusyError, FailedError, StoreError, TrackingError),
}
"""The errors whose message is the sentence."""


def explain(error: Exception) -> tuple[ExitCode, str]:
    """Exit code and sentence; no sentence where the error is a defect of ours."""
    for code, kinds in ENDINGS.items():
        if isinstance(error, kinds):
            return code, str(error)
    match error:
        case MlflowException():
            said = f"MLflow refused, or went away: {reason(error)}; see its log, then run the command again"
        case Boto3Error() | BotoCoreError() | ClientError():
            said = f"the artifact store failed: {reason(error)}; check its address, its keys and the bucket"
        case OSError(errno=errno.ENOSPC):
            said = f"no space left while writing {error.filename or tempfile.gettempdir()}; make room"
        case _:
            said = ""
    return ExitCode.FAILED, said
