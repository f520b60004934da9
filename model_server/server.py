"""Entry point of the model server: `python -m model_server.server` serves the model in MODEL_DIR.

The server opens its port when the model is loaded and has predicted its input example.

A rollout loses no request if the pod gets two signals with a pause between them. SIGUSR1 starts draining: the server
answers requests as before, and adds `Connection: close` to each response so that clients move to other pods. SIGTERM
stops it: the server accepts no new connection and finishes the requests in progress. It answers a late request on an
open connection with 503 and Retry-After, closes idle connections after `connections.LINGER_SECONDS`, and exits with 0.
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
        listening, dying = _bind(settings.host, settings.port), crash_message(settings.title, settings.termination_log)
        with listening as listener, dying:
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
            uvicorn.Server(config).run(sockets=[listener])
    except ServingError as error:
        return report_failure(error, Termination().termination_log)
    return 0


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
