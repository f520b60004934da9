"""Entry point of the model server: `python -m model_server.server` serves the model in MODEL_DIR.

The server opens its port when the model is loaded and has predicted its input example. With PROBE_PORT it also opens
a second port for probes and metrics, whose connections have a limit of their own: clients that use all connections of
the first port cannot make probes fail. Both ports belong to one event loop, so a probe shows that this loop runs.

A rollout loses no request if the pod gets two signals with a pause between them. SIGUSR1 starts draining: the server
answers requests as before, and adds `Connection: close` to each response so that clients move to other pods. SIGTERM
stops it: the server accepts no new connection and finishes the requests in progress. It answers a late request on an
open connection with 503 and Retry-After, closes idle connections after `connections.LINGER_SECONDS`, and exits with 0.
"""

import asyncio
import faulthandler
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from types import FrameType

import uvicorn
from uvicorn.server import ServerState

from model_server import logs
from model_server.connections import PAGES_ONLY, Connection
from model_server.failure import ServingError, crash_message, report_failure
from model_server.settings import ServerSettings, Termination

LOG = logging.getLogger("serving")
# Longer than the 60 s after which load balancers close an idle connection. So the side that sends requests closes it,
# and no request arrives on a connection that the server is closing.
KEEP_ALIVE_SECONDS = 75


def main() -> int:
    """Run the server until a signal stops it. Return the exit code."""
    logs.configure()
    # Imports create many objects and free few, so garbage collection only delays the start. app.py enables it again.
    gc.disable()
    # Process 1 ignores a signal without a handler. uvicorn installs its own handler while it serves, and raises the
    # signal again at the end; this handler then exits with 0.
    signal.signal(signal.SIGTERM, _exit)
    try:
        settings = ServerSettings.load()
        settings.prepare_process()
        faulthandler.enable(all_threads=False)
        _allow_open_files()
        ports = [port for port in (settings.port, settings.probe_port) if port]
        with ExitStack() as stack:
            listeners = [stack.enter_context(_bind(settings.host, port)) for port in ports]
            stack.enter_context(crash_message(settings.title, settings.termination_log))
            # Imported by name, because the module imports numpy, which must happen after `prepare_process`.
            config = uvicorn.Config(
                "model_server.app:create",
                factory=True,
                loop="uvloop",
                http=Connection,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=settings.drain_seconds,
            )
            _Server(config, listeners[1:]).run(sockets=listeners[:1])
    except ServingError as error:
        return report_failure(error, Termination().termination_log)
    return 0


class _Server(uvicorn.Server):
    """uvicorn's server with further listeners, for probes and metrics, that stay open until the process ends."""

    def __init__(self, config: uvicorn.Config, listeners: Sequence[socket.socket]) -> None:
        super().__init__(config)
        self._listeners = listeners

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the ports, that of the requests first."""
        await super().startup(sockets)
        state, loop = ServerState(), asyncio.get_running_loop()
        for listener in self._listeners:
            await loop.create_server(lambda: Connection(self.config, state, {PAGES_ONLY: True}), sock=listener)


def _allow_open_files() -> None:
    """Raise the soft limit on open files, often 1,024, so that the connections of both ports fit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the port and does not listen yet."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ServingError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop the process that uses it, or set PORT"
        ) from error
    return listener


def _exit(_signal: int, _frame: FrameType | None) -> None:
    LOG.info("stopped")
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
