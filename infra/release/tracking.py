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
    is_authenticated: bool = False
    """Whether MLflow needs a token; without `token`, kubectl gets one."""

    @asynccontextmanager
    async def opened(self, account: str = names.PEOPLE) -> AsyncGenerator[Server]:
        """Yield the server, which can be reached while the block runs, with a token of the service account.

        A port-forward keeps the caller's Authorization header, which the API server's proxy for Services would remove.

        Raises:
            UnreachableError: the cluster does not exist yet, or kubectl cannot forward the port within SECONDS.
        """
        needs_token = self.is_authenticated and not self.token
        if self.uri and not needs_token:
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
            token = await _token(cluster, account) if needs_token else self.token
            if self.uri:
                yield Server(uri=self.uri, token=token)
                return
            async with _forwarded(cluster) as url:
                yield Server(uri=url, token=token, host=names.TRACKING_HOST)


async def _token(cluster: list[str], account: str) -> str:
    """Return a token of a service account for MLflow, valid for the ten minutes that Kubernetes issues at least."""
    words = ["create", "token", account, "--audience", names.TRACKING_AUDIENCE, "--duration", "10m"]
    async with _started(cluster, words) as kubectl:
        try:
            async with asyncio.timeout(SECONDS):
                # `communicate` would close standard input, and so end kubectl.
                printed = await kubectl.stdout.read() if kubectl.stdout else b""
                await kubectl.wait()
        except TimeoutError:
            printed = f"it did not do so within {SECONDS:g} s".encode()
        text = printed.decode(errors="replace").strip()
        if kubectl.returncode != 0:
            why = (text.splitlines() or ["it printed no reason"])[-1]
            raise UnreachableError(f"kubectl could not get a token of {account} for MLflow: {why}")
        return text


@asynccontextmanager
async def _forwarded(cluster: list[str]) -> AsyncGenerator[str]:
    """Yield the URL of a local port that kubectl forwards to MLflow while the block runs."""
    words = ["port-forward", f"service/{names.TRACKING_SERVICE}", f":{names.TRACKING_PORT}"]
    async with _started(cluster, words) as kubectl:
        yield await _listening(kubectl)


@asynccontextmanager
async def _started(cluster: list[str], words: list[str]) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Yield kubectl, which runs in MLflow's namespace at most as long as the block."""
    program = shutil.which("kubectl")
    if program is None:
        raise UnreachableError(
            "kubectl, which forwards a port to MLflow, is not on PATH; install it or set MLFLOW_TRACKING_URI"
        )
    kubectl = await asyncio.create_subprocess_exec(
        *["/bin/sh", "-c", TIED, "sh", program, *cluster, "--namespace", names.PLATFORM, *words],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield kubectl
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
