"""Serves the model in MODEL_DIR: `python -m model_server.server`.

The port opens when the model has been loaded and has answered its input example.

A rollout loses no request when it gives two orders, with time in between. SIGUSR1 starts draining: requests are
answered as before, for proxies still send them, and each answer carries `Connection: close`, so that clients go
elsewhere of themselves. SIGTERM: no new connection; what is in flight is answered; a request that still comes on a kept
connection gets 503 with Retry-After, at once, rather than a connection that is cut under it; idle connections are
closed after `connections.LINGER_SECONDS`; exit code 0.
"""

import faulthandler
import gc
import logging
import signal
import socket
import sys
from types import FrameType

import uvicorn

from model_server import logs
from model_server.connections import Connection
from model_server.failure import ServingError, leave, unexplained
from model_server.settings import ServerSettings, Termination

LOG = logging.getLogger("serving")
# Longer than the 60 s after which load balancers give up an idle connection: the side that sends closes it, so no
# request meets a connection that is being closed.
KEEP_ALIVE_SECONDS = 75


def main() -> int:
    """Runs until it is told to stop. Returns the exit code."""
    logs.configure()
    # Imports make many objects and free few: a start without collections takes a seventh less. app.py enables them.
    gc.disable()
    # As process 1 a signal without a handler is ignored. uvicorn puts its own in place while it serves, and raises the
    # signal again at the end: this handler then makes it exit code 0.
    signal.signal(signal.SIGTERM, _exit)
    try:
        settings = ServerSettings.load()
        settings.prepare_process()
        faulthandler.enable(all_threads=False)
        listening, dying = _bind(settings.host, settings.port), unexplained(settings.title, settings.termination_log)
        with listening as listener, dying:
            # By name: the module imports numpy, which must not happen before `prepare_process`.
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
            uvicorn.Server(config).run(sockets=[listener])
    except ServingError as error:
        return leave(error, Termination().termination_log)
    return 0


def _bind(host: str, port: int) -> socket.socket:
    """A socket that holds the port and does not listen yet."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ServingError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what holds it, or set PORT"
        ) from error
    return listener


def _exit(_signal: int, _frame: FrameType | None) -> None:
    LOG.info("stopped")
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
