"""Envoy and the servers behind it as processes of this machine, and a client."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import envoy
import httpx
import uvloop

from components.router.configuration import Address, Challenger, Router, Shadow, configuration

ROOT = Path(__file__).parent.parent
ENVOY = Path(envoy.__file__).parent / "_bin" / "envoy"
MIB = 1 << 20
KEY = "X-Customer-Id"


def wait_for(what: str, happened: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until it has happened."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that no process of this machine uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@dataclass
class Backend:
    """Running server of one version."""

    address: Address
    process: subprocess.Popen[str]

    def seen(self) -> list[tuple[str, str, int]]:
        """Request ID, experiment and size of each request that arrived."""
        answer = httpx.get(f"http://127.0.0.1:{self.address.port}/seen", timeout=20)
        return [(who, experiment, size) for who, experiment, size in answer.json()]


@contextmanager
def backend(version: int) -> Generator[Backend]:
    """Yield a server of a version."""
    port = free_port()
    command = [sys.executable, "-m", "bench.echo", str(port), str(version)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline().strip() == "ready"
            yield Backend(Address(host="127.0.0.1", port=port, probe_port=port), process)
        finally:
            process.kill()


@dataclass(frozen=True)
class Running:
    """Running router."""

    port: int
    probe_port: int
    process: subprocess.Popen[bytes]

    def counted(self, name: str) -> int:
        """Sum of Envoy's counters with this name."""
        return sum(int(line.rpartition(" ")[2]) for line in self.metrics() if line.startswith(name))

    def metrics(self) -> list[str]:
        """Lines of Envoy's metrics."""
        return httpx.get(f"http://127.0.0.1:{self.probe_port}/metrics", timeout=20).text.splitlines()


@contextmanager
def router(settings: Router) -> Generator[Running]:
    """Yield a router that is ready for requests."""
    listen = Address(host="127.0.0.1", port=free_port(), probe_port=free_port())
    config = json.dumps(configuration(replace(settings, listen=listen, admin_port=free_port())))
    command = [ENVOY, "--config-yaml", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    with subprocess.Popen(command) as process:
        try:
            url = f"http://127.0.0.1:{listen.probe_port}/ping"
            wait_for("the router's readiness", lambda: process.poll() is not None or _is_200(url))
            yield Running(listen.port, listen.probe_port, process)
        finally:
            process.kill()


def _is_200(url: str) -> bool:
    try:
        return httpx.get(url, timeout=20).status_code == 200
    except httpx.TransportError:
        return False


@dataclass(frozen=True)
class World:
    """Champion 7, challenger 8 and shadow 9."""

    champion: Backend
    challenger: Backend
    shadow: Backend

    def settings(
        self, percent: int = 0, *, experiment: str = "trees", mirrored: int = 0, versions: tuple[int, int] | None = None
    ) -> Router:
        """Settings of a router with a challenger, and a shadow if requests are mirrored."""
        return Router(
            champion=self.champion.address,
            challenger=Challenger(
                address=self.challenger.address,
                percent=percent,
                key=KEY,
                experiment=experiment,
                versions=versions,
                patience_seconds=2,
            )
            if percent
            else None,
            shadow=Shadow(address=self.shadow.address, percent=mirrored) if mirrored else None,
            request_seconds=35,
            max_body_bytes=10 * MIB,
            memory_bytes=512 * MIB,
        )


@contextmanager
def world() -> Generator[World]:
    """Yield three servers."""
    with ExitStack() as stack:
        yield World(*(stack.enter_context(backend(version)) for version in (7, 8, 9)))


def request(body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> bytes:
    """Bytes of a request for predictions."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"POST /invocations HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def keyed(keys: Sequence[object]) -> list[bytes]:
    """A request for each key."""
    return [request(headers={KEY: str(key)}) for key in keys]


def send(
    port: int, requests: Sequence[bytes], *, ahead: int = 16, connections: int = 8, host: str = "127.0.0.1"
) -> list[tuple[int, str, float]]:
    """Status, version and seconds of each answer; status 0 for a connection that ended without one."""
    answers = list[tuple[int, str, float]]([(0, "", 0.0)] * len(requests))

    async def part(first: int) -> None:
        mine, sent, waiting = range(first, len(requests), connections), 0, list[float]()
        reader, writer = await asyncio.open_connection(host, port)
        try:
            for got, number in enumerate(mine):
                while sent < len(mine) and sent < got + ahead:
                    waiting.append(time.monotonic())
                    writer.write(requests[mine[sent]])
                    sent += 1
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
                await reader.readexactly(int(fields.get(b"content-length", 0)))
                version = fields.get(b"x-model-version", b"").decode()
                answers[number] = int(head[9:12]), version, time.monotonic() - waiting[got]
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.close()

    async def all_parts() -> None:
        await asyncio.gather(*(part(first) for first in range(min(connections, len(requests)))))

    with asyncio.Runner(loop_factory=cast("Any", uvloop).new_event_loop) as runner:
        runner.run(all_parts())
    return answers


def versions(port: int, keys: Sequence[object]) -> Mapping[object, str]:
    """Version that answered each key; every answer must be 200."""
    answers = send(port, keyed(keys))
    assert {status for status, _, _ in answers} == {200}
    return {key: version for key, (_, version, _) in zip(keys, answers, strict=True)}
