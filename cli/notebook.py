"""Function behind `mlops notebook`: JupyterLab on this machine, with the address of an MLflow for its runs."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

from cli import laptop, mlflow_page, target
from cli.errors import CommandError
from contract import names
from contract.exit_codes import ExitCode

LOCAL = "sqlite:///"
"""Beginning of the address of a local store."""


def show(context: str | None, uri: str | None, port: int, *, browser: bool) -> int:
    """Run JupyterLab in the current folder until Ctrl-C, and return its exit code."""
    if find_spec("jupyterlab") is None:
        raise CommandError(
            "JupyterLab is not installed; install it with `uv pip install jupyterlab`, or run `make .venv/.ready` in "
            "the checkout",
            ExitCode.FAILED,
        )
    words = [f"--ServerApp.port={port}", "--ServerApp.answer_yes=True"]
    words += [] if browser else ["--no-browser"]
    words += ["--allow-root"] if os.geteuid() == 0 else []  # JupyterLab asks root to confirm
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with environment(context, uri) as variables:
        print(f"MLflow: {variables['MLFLOW_TRACKING_URI']}", flush=True)
        command = [sys.executable, "-m", "jupyterlab", *words]
        with subprocess.Popen(command, env={**os.environ, **variables}) as jupyter:
            try:
                return jupyter.wait()
            except KeyboardInterrupt:
                return ExitCode.DONE
            finally:
                jupyter.terminate()


@contextmanager
def environment(context: str | None, uri: str | None) -> Generator[Mapping[str, str]]:
    """Yield the variables that the kernels of notebooks need; their MLflow can be reached while the block runs."""
    origin = {name.upper(): text for name, text in laptop.commit().items()} | {"REQUESTER": laptop.requester()}
    if context and not uri:
        with _forwarded(context) as address:
            yield {"MLFLOW_TRACKING_URI": address, **origin}
    else:
        yield {"MLFLOW_TRACKING_URI": _absolute(target.tracking(uri)), **origin}


@contextmanager
def _forwarded(context: str) -> Generator[str]:
    """Yield the address of the cluster's MLflow on this machine, as `mlops mlflow` serves it."""
    with mlflow_page.server(context, 0, names.PEOPLE) as (server, socket):
        thread = Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        try:
            yield f"http://localhost:{socket.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _absolute(uri: str) -> str:
    """Return the address of a local store with an absolute path: a kernel runs in the folder of its notebook."""
    return f"{LOCAL}{Path(uri.removeprefix(LOCAL)).resolve()}" if uri.startswith(LOCAL) else uri
