"""Fixtures: a real model server on a port of this machine that can fail on purpose, and the command line."""

import asyncio
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from client import endpoint
from model_server.app import Receive, Scope, Send, Server
from model_server.predict import model
from model_server.predict.model import Model
from model_server.settings import ServerSettings
from tests.command import mlops
from tests.model_server.zoo import ZOO, table
from tests.served import listening

__all__ = ["mlops"]

NAME = "risk"
LIMIT = 20_000
BROKEN = 0
"""A fault: the answer ends before its end."""


@dataclass
class Endpoint:
    """Model server with faults.

    `faults` has the status, or BROKEN, of each of the next requests. `seen` has the rows of requests without fault.
    """

    server: Server
    port: int
    faults: deque[int] = field(default_factory=deque[int])
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    seen: list[list[Any]] = field(default_factory=list[list[Any]])
    asked: int = 0
    most_at_once: int = 0
    next_version: tuple[int, Server] | None = None
    """After so many requests another server answers."""
    gate: threading.Event = field(default_factory=threading.Event)
    gate_after: int = 10**9
    """Requests after so many wait until the gate is opened."""
    tokens: list[str] = field(default_factory=list[str])
    """Header Authorization of each request."""
    after: Callable[[], object] = lambda: None
    """Called after each request."""
    _now: int = 0
    _started: Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.tokens.append(dict(scope["headers"]).get(b"authorization", b"").decode())
        self.after()
        if scope["path"] != "/invocations":
            await self.server(scope, receive, send)
        else:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            try:
                await self._invocation(scope, receive, send)
            finally:
                self._now -= 1

    async def _invocation(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts, more = [b""], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(parts)
        self.asked += 1
        if self.asked > self.gate_after:
            await asyncio.to_thread(self.gate.wait)
        if self.faults:
            await self._fail(self.faults.popleft(), send)
            return
        if self.next_version and self.asked > self.next_version[0]:
            self._started = None
            self.server, self.next_version = self.next_version[1], None
        if self._started is None:
            self._started = self.server
            self.server.start()
        given = json.loads(body)
        (form,) = given
        self.seen.append(given[form]["data"] if form == "dataframe_split" else given[form])

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        await self.server(scope, again, send)

    async def _fail(self, status: int, send: Send) -> None:
        headers = [*self.headers, (b"content-length", b"9" if status == BROKEN else b"4")]
        await send({"type": "http.response.start", "status": status or 200, "headers": headers})
        await send(
            {"type": "http.response.body", "body": b"no! "[: None if status else 2], "more_body": status == BROKEN}
        )
        if status == BROKEN:
            raise ConnectionResetError


@pytest.fixture(scope="session")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model.load(ZOO["a forest"](tmp_path_factory.mktemp("zoo") / "forest"), NAME)


@pytest.fixture
def server(forest: Model) -> Callable[[int], Server]:
    """Return a server of the model with a version number."""

    def of(version: int, of_model: Model = forest) -> Server:
        with pytest.MonkeyPatch.context() as patch:
            values = {"MODEL": NAME, "MODEL_VERSION": version, "THREADS": 2, "MAX_REQUEST_BYTES": LIMIT}
            for name, value in values.items():
                patch.setenv(name, str(value))
            return Server(of_model, ServerSettings.load())

    return of


@dataclass
class Port:
    """Port of this machine on which one endpoint after another listens."""

    number: int = 0
    endpoint: Endpoint | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.endpoint
        await self.endpoint(scope, receive, send)

    @contextmanager
    def serves(self, server: Server) -> Generator[Endpoint]:
        self.endpoint = Endpoint(server, self.number)
        yield self.endpoint
        self.endpoint.gate.set()
        self.endpoint.server.stop()


@pytest.fixture(scope="session")
def port() -> Iterator[Port]:
    made = Port()
    with listening(made) as made.number:
        yield made


@pytest.fixture
def risk(port: Port, server: Callable[[int], Server]) -> Iterator[Endpoint]:
    """Version 3 of the model."""
    with port.serves(server(3)) as made:
        yield made


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between tries."""
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.001)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Return a file of 250 valid rows."""
    file = tmp_path / "rows.csv"
    table(250)[0].to_csv(file, index=False)
    return file


def write(file: Path, *lines: str, header: str = "a,b,c,d") -> Path:
    file.write_text("\n".join([header, *lines]) + "\n")
    return file


def expected(forest: Model, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the predictions of the model itself for the rows."""
    (answers,) = forest.predictors[0]([tuple(row) for row in rows], [len(rows)])
    return list(answers)


@pytest.fixture
def probabilities(port: Port, server: Callable[[int, Model], Server], tmp_path: Path) -> Iterator[Endpoint]:
    """Serve a model whose prediction for a row is a list."""
    folder = ZOO["probabilities of a forest"](tmp_path / "forest")
    with port.serves(server(1, model.load(folder, NAME))) as made:
        yield made


@pytest.fixture
def bare(port: Port, server: Callable[[int, Model], Server], tmp_path: Path) -> Iterator[Endpoint]:
    """Serve a model without column names."""
    folder = ZOO["a line on a bare array"](tmp_path / "line")
    with port.serves(server(1, model.load(folder, NAME))) as made:
        yield made


KUBECTL = """#!/bin/sh
echo "$@" >> {world}/asked
[ -e {world}/address ] || {{ echo 'error: services "risk" not found'; exit 1; }}
echo "Forwarding from $(cat {world}/address) -> 8080"
exec sleep 600
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose file `address` has the address to which the fake kubectl forwards."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "kubectl").write_text(KUBECTL.format(world=tmp_path))
    (folder / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return tmp_path
