"""Route to the stack's MLflow from the machine that runs Pulumi."""

import asyncio
import re
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from components.foundation import ClusterAccess
from contract import names

LISTENING = re.compile(r"Forwarding from (127\.0\.0\.1:\d+)")
SECONDS = 5.0
"""Time limit in seconds for kubectl to forward a port."""
HOST = f"{names.TRACKING_SERVICE}.{names.PLATFORM}:{names.TRACKING_PORT}"
"""Host header of requests through a forwarded port; MLflow refuses a host that it does not know."""


class UnreachableError(Exception):
    """MLflow cannot be reached; the message says why."""


@asynccontextmanager
async def forwarded(access: ClusterAccess, kubeconfig: str | None) -> AsyncGenerator[str]:
    """Yield the URL of a local port that kubectl forwards to MLflow while the block runs.

    A port-forward keeps the caller's Authorization header, which the API server's proxy for Services would remove.

    Raises:
        UnreachableError: kubectl is missing, or cannot forward the port within SECONDS.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(kubeconfig or "")
        file.flush()
        cluster = ["--kubeconfig", file.name] if kubeconfig else ["--context", access.context] if access.context else []
        service = [f"service/{names.TRACKING_SERVICE}", f":{names.TRACKING_PORT}"]
        try:
            kubectl = await asyncio.create_subprocess_exec(
                *["kubectl", *cluster, "--namespace", names.PLATFORM, "port-forward", *service],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except FileNotFoundError:
            raise UnreachableError(
                "kubectl, which forwards a port to MLflow, is not on PATH; install it or set MLFLOW_TRACKING_URI"
            ) from None
        try:
            yield await _listening(kubectl)
        finally:
            if kubectl.returncode is None:
                kubectl.terminate()
            await kubectl.communicate()


async def _listening(kubectl: asyncio.subprocess.Process) -> str:
    said = list[str]()
    try:
        async with asyncio.timeout(SECONDS):
            while line := (await kubectl.stdout.readline() if kubectl.stdout else b""):
                said.append(line.decode(errors="replace").strip())
                if found := LISTENING.search(said[-1]):
                    return f"http://{found[1]}"
    except TimeoutError:
        said.append(f"it did not do so within {SECONDS:g} s")
    why = next((one for one in reversed(said) if one), "it printed no reason")
    raise UnreachableError(f"kubectl could not forward a port to MLflow: {why}")


def headers(token: str) -> Mapping[str, str]:
    """Return the headers of each request through a forwarded port."""
    return {"Host": HOST, **({"Authorization": f"Bearer {token}"} if token else {})}
