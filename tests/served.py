"""Real model server on a port of this machine, whose responses a test may change."""

import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from model_server.app import Receive, Scope, Send, Server
from model_server.predict import model
from model_server.settings import ServerSettings


@dataclass(frozen=True)
class Reply:
    """Response of the server to one request."""

    path: str
    request: bytes
    status: int
    body: bytes
    version: str


Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Change = Callable[[Reply], Reply]
"""Function that returns the response to send instead of the server's own."""


def _unchanged(reply: Reply) -> Reply:
    return reply


@contextmanager
def served(folder: Path, name: str, version: int, change: Change = _unchanged) -> Generator[str]:
    """Yield the URL of a server of the model in the folder until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in {"MODEL": name, "MODEL_VERSION": str(version), "THREADS": "2"}.items():
            patch.setenv(variable, value)
        settings = ServerSettings.load()
    app = _Changed(Server(model.load(folder, settings.title), settings), change)
    try:
        with listening(app) as port:
            yield f"http://127.0.0.1:{port}"
    finally:
        app.server.stop()


@contextmanager
def listening(app: Application) -> Generator[int]:
    """Yield the port of an application that runs in a thread until the block ends."""
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive()
            thread.join(0.005)
        yield running.servers[0].sockets[0].getsockname()[1]
    finally:
        running.force_exit = running.should_exit = True
        thread.join()


@dataclass
class _Changed:
    server: Server
    change: Change
    started: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.started:
            self.server.start()  # needs the event loop
            self.started = True
        request, sent = b"", list[Any]()
        while (message := await receive()).get("more_body"):
            request += message["body"]
        request += message.get("body", b"")

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": request, "more_body": False}

        async def keep(message: Any) -> None:
            sent.append(message)

        await self.server(scope, again, keep)
        start, body = sent
        headers = dict(start["headers"])
        version = headers[b"x-model-version"].decode()
        reply = self.change(Reply(scope["path"], request, start["status"], body["body"], version))
        headers |= {b"x-model-version": reply.version.encode(), b"content-length": str(len(reply.body)).encode()}
        await send({**start, "status": reply.status, "headers": list(headers.items())})
        await send({**body, "body": reply.body})
