"""Choice of the cluster, MLflow and endpoint that a command uses. Only this module decides it.

- Cluster: `--context`, else the kubeconfig in KUBECONFIG, else the lab's cluster.
- MLflow: `--tracking-uri`, else MLFLOW_TRACKING_URI, else the lab's MLflow with the keys of the lab's artifact store.
- Endpoint: `--url`, else a port-forward of kubectl in the cluster above.
"""

import os
import re
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cli.errors import CommandError
from contract.exit_codes import ExitCode
from lab import paths
from lab.recovery import STACK
from runs.cluster import Cluster

if TYPE_CHECKING:
    from client.endpoint import Route

STORES = ("sqlite:///", "postgresql", "mysql", "mssql", "databricks")
"""Beginnings of the addresses of MLflow that are not URLs of a server."""
WORDS = re.compile(r"[^\s\x00-\x1f\x7f]+")
"""Text without a space or a control character."""


def is_lab(stack: str) -> bool:
    """Return whether the stack is the lab's and this machine has a lab; KUBECONFIG names another cluster."""
    return stack == STACK and paths.kubeconfig().exists() and not os.environ.get("KUBECONFIG")


def engine(stack: str) -> dict[str, str]:
    """Return the environment of pulumi and kubectl for a stack: that of the lab for the lab's stack."""
    if is_lab(stack):
        from lab.engine import engine_environment

        return engine_environment()
    return {**os.environ, "PATH": path()}


def selected_stack(folder: Path) -> str:
    """Return the stack that Pulumi has selected in the folder. CommandError if there is none."""
    command = ["pulumi", "stack", "--show-name", "--non-interactive"]
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "PATH": path()}, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise CommandError(f"{error}; install pulumi, or write --stack NAME") from error
    if done.returncode or not done.stdout.strip():
        reason = " ".join(done.stderr.split()).removeprefix("error: ")
        raise CommandError(
            f"no stack is selected{f' ({reason})' if reason else ''}; write --stack NAME, or run "
            "`pulumi stack select NAME`"
        )
    return done.stdout.strip()


def path() -> str:
    """Return PATH with the programs of this installation and of the lab after the user's own."""
    return os.pathsep.join([os.environ.get("PATH", ""), *_own_programs()])


def _own_programs() -> list[str]:
    return [str(Path(sys.prefix) / "bin"), str(paths.binaries())]


def cluster(context: str | None) -> Cluster:
    """Return the cluster. CommandError if none is named and this machine has no lab."""
    if context or os.environ.get("KUBECONFIG"):
        return Cluster(context=context, environment={**os.environ, "PATH": path()})
    if not paths.kubeconfig().exists():
        raise CommandError(
            "no cluster is known: this machine has no lab, and neither --context nor KUBECONFIG names another cluster; "
            "write --context NAME, or start the lab with `mlops lab up`",
            ExitCode.FAILED,
        )
    first = os.pathsep.join([*_own_programs(), os.environ.get("PATH", "")])
    return Cluster(environment={**os.environ, "PATH": first, "KUBECONFIG": str(paths.kubeconfig())})


def served(uri: str | None) -> Sequence[str]:
    """Return the default of --served: the stack file of the lab, if MLflow is the lab's."""
    file = paths.CHECKOUT / f"Pulumi.{STACK}.yaml"
    return [f"{file}@{STACK}"] if _is_lab_tracking(uri) and file.exists() else []


def tracking(uri: str | None) -> str:
    """Return the address of MLflow. CommandError if it is the lab's and the lab does not run.

    For the lab's MLflow, this sets the address and the keys of the lab's artifact store in the environment.
    """
    if _is_lab_tracking(uri):
        from lab import stores
        from lab.errors import LabError

        try:
            os.environ.update(stores.environment())
        except LabError as error:
            raise CommandError(f"{error}; or write --tracking-uri URI", ExitCode.FAILED) from error
    found = uri or os.environ["MLFLOW_TRACKING_URI"]
    check_tracking(found)
    return found


def _is_lab_tracking(uri: str | None) -> bool:
    return not (uri or os.environ.get("MLFLOW_TRACKING_URI"))


def prediction_log(uri: str | None) -> str:
    """Return the address of the prediction log. Without one, it is the lab's, whose keys are set in the environment.

    CommandError if none is named and the lab does not run.
    """
    if uri:
        return uri
    from lab import stores
    from lab.errors import LabError

    try:
        os.environ.update(stores.environment())
    except LabError as error:
        raise CommandError(
            f"no log is named, and {error}; or write --log s3://BUCKET (`pulumi stack output artifacts` "
            "prints the bucket)",
            ExitCode.FAILED,
        ) from error
    return stores.PREDICTION_LOG


def is_http(text: str) -> bool:
    """Return whether the text is an HTTP URL with a host that can exist, and a port that can exist if it has one."""
    try:
        url = urlsplit(text)
        return (
            url.scheme in {"http", "https"}
            and bool(url.hostname)
            and url.port != 0
            and WORDS.fullmatch(text) is not None
        )
    except ValueError:
        return False


def check_tracking(uri: str) -> None:
    """Raise CommandError if no MLflow can have this address."""
    if not (is_http(uri) or uri.startswith(STORES)):
        raise CommandError(
            f"{uri!r} is not an address of MLflow; write --tracking-uri or MLFLOW_TRACKING_URI as in "
            "http://localhost:5000 or sqlite:////PATH/mlflow.db"
        )


@contextmanager
def endpoint(name: str, url: str | None, context: str | None) -> Generator["Route"]:
    """Yield a route to the endpoint, which is open while the block runs."""
    from client.endpoint import Direct
    from client.tunnel import Tunnel

    if url:
        yield Direct(address(url))
        return
    with Tunnel(cluster(context), name) as tunnel:
        yield tunnel


def address(url: str) -> str:
    """Return the URL without the path of requests. CommandError if it is not a URL."""
    if not is_http(url):
        raise CommandError(f"--url {url!r} is not a URL; write one such as http://localhost:8080")
    return url.rstrip("/").removesuffix("/invocations")
