"""Route to the stack's MLflow from the machine that runs Pulumi."""

import asyncio
import os
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from pulumi import Output

from components.foundation import ClusterAccess
from contract import names
from model_preview.server import Server

LISTENING = re.compile(r"Forwarding from (127\.0\.0\.1:\d+)")
SECONDS = 5.0
"""Time limit in seconds for kubectl to forward a port."""
TIED = 'exec 3<&0; { read -r _; kill -KILL 0; } <&3 >/dev/null 2>&1 & exec "$@" 3<&- </dev/null'
"""Shell script that becomes a command and kills its process group when standard input closes.

The engine kills the program at Ctrl-C, so the program cannot end kubectl then.
"""


class UnreachableError(OSError):
    """MLflow cannot be reached; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """Route to MLflow: its address, or a port that kubectl forwards in the stack's cluster."""

    uri: str
    """Address of MLflow; empty for a forwarded port."""
    token: str
    """Bearer token for MLflow; empty if it needs none."""
    access: ClusterAccess
    """Settings by which kubectl reaches the cluster."""

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Server]:
        """Yield the server, which can be reached while the block runs.

        A port-forward keeps the caller's Authorization header, which the API server's proxy for Services would remove.

        Raises:
            UnreachableError: the cluster does not exist yet, or kubectl cannot forward the port within SECONDS.
        """
        if self.uri:
            yield Server(uri=self.uri, token=self.token)
            return
        kubeconfig = ""
        if self.access.kubeconfig is not None:
            kubeconfig = await Output.from_input(self.access.kubeconfig).future() or ""
            if not kubeconfig:
                raise UnreachableError("the cluster of MLflow does not exist yet")
        context = self.access.context
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(kubeconfig)
            file.flush()
            cluster = ["--kubeconfig", file.name] if kubeconfig else ["--context", context] if context else []
            async with _forwarded(cluster) as url:
                yield Server(uri=url, token=self.token, host=names.TRACKING_HOST)


@asynccontextmanager
async def _forwarded(cluster: list[str]) -> AsyncGenerator[str]:
    """Yield the URL of a local port that kubectl forwards to MLflow while the block runs."""
    service = [f"service/{names.TRACKING_SERVICE}", f":{names.TRACKING_PORT}"]
    program = shutil.which("kubectl")
    if program is None:
        raise UnreachableError(
            "kubectl, which forwards a port to MLflow, is not on PATH; install it or set MLFLOW_TRACKING_URI"
        )
    kubectl = await asyncio.create_subprocess_exec(
        *["/bin/sh", "-c", TIED, "sh", program, *cluster, "--namespace", names.PLATFORM, "port-forward", *service],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield await _listening(kubectl)
    finally:
        # A credential plugin of the kubeconfig is in this process group too, and holds the pipe open while it runs.
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses a group of ended processes
            os.killpg(kubectl.pid, signal.SIGKILL)
        await kubectl.communicate()


async def _listening(kubectl: asyncio.subprocess.Process) -> str:
    printed = list[str]()
    try:
        async with asyncio.timeout(SECONDS):
            while line := (await kubectl.stdout.readline() if kubectl.stdout else b""):
                printed.append(line.decode(errors="replace").strip())
                if found := LISTENING.search(printed[-1]):
                    return f"http://{found[1]}"
    except TimeoutError:
        printed.append(f"it did not do so within {SECONDS:g} s")
    why = next((one for one in reversed(printed) if one), "it printed no reason")
    raise UnreachableError(f"kubectl could not forward a port to MLflow: {why}")
