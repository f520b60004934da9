"""Training on this machine: `mlops train churn --data file.csv N_ESTIMATORS=300`."""

import contextlib
import getpass
import json as jsons
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.errors import CommandError
from cli.target import check_tracking
from contract.exit_codes import ExitCode
from contract.tags import GIT_COMMIT
from runs.values import pairs
from training import project
from training import train as training
from training.failure import Failure
from training.settings import local_store


def train(name: str, words: Sequence[str], data: str, *, model: str | None, uri: str | None, json: bool) -> int:
    """Train a model project on this machine and return the exit code.

    Args:
        name: name of the model project.
        words: parameters of the project, as NAME=VALUE.
        data: address of the table.
        model: name of the model in the registry; None is the project's own.
        uri: address of MLflow; None means MLFLOW_TRACKING_URI, or without it mlflow.db in the current folder.
        json: print the result as JSON to stdout, and the log to stderr.
    """
    parameters = pairs(words)
    if address := uri or os.environ.get("MLFLOW_TRACKING_URI"):
        check_tracking(address)
    try:
        registered = model or project.load(name).model
    except project.ProjectError as error:
        raise CommandError(str(error)) from error
    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        ended = training.attempt(
            project=name,
            dataset=data,
            model=registered,
            experiment=registered,
            parameters=jsons.dumps(parameters),
            requester=requester(),
            **commit(),
            **({"mlflow_tracking_uri": uri} if uri else local_store()),
        )
    failure = ended if isinstance(ended, Failure) else None
    if json:
        result = {
            "status": "Failed" if failure else "Succeeded",
            "reason": failure.sentence if failure else None,
            "model": registered,
            "version": None if failure else ended,
        }
        print(jsons.dumps(result, indent=1))
    return failure.code if failure else ExitCode.DONE


def listen(port: int) -> socket.socket:
    """Return a listening socket of this machine; with port 0, a free port. Raise CommandError if it is in use."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise CommandError(
            f"port {port} of this machine cannot be used: {error.strerror}; write another one with --port",
            ExitCode.FAILED,
        ) from None


def requester() -> str:
    """Return the name of the user of this machine; empty if it is unknown."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def commit() -> dict[str, str]:
    """Return the commit of the code, with `-dirty` if the code differs from it; empty without git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {GIT_COMMIT: done.stdout.strip()}
