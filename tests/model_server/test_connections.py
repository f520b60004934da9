"""Connections with valid and invalid data, against the real protocol class in this process."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from model_server import connections
from model_server.body_budget import BodyBudget
from model_server.connections import BODY_BUDGET, Connection

SOON = 0.05  # seconds
PATIENCE = 10
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
LARGE = b"x" * 20_000_000
Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class House:
    """A server whose requests wait for `go`. It responds `leaving` if the request came during shutdown."""

    def __init__(self) -> None:
        self.state, self.app_state, self.port = ServerState(), dict[str, object](), 0
        self.go = asyncio.Event()
        self.go.set()
        self.arrived = 0
        self.answer = b"welcome"

    async def app(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        self.arrived += 1
        if scope["method"] == "POST":
            await self.echo(scope, receive, send)
            return
        await self.go.wait()
        said = b"leaving" if "shutting_down" in scope["state"] else self.answer
        head = [(b"content-length", str(len(said)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": said})

    async def echo(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Respond with the body, after the names of the headers."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        said = b",".join(name for name, _ in scope["headers"]) + b"|" + body + b"."
        head = [(b"content-length", str(len(said)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": said})

    async def visit(self, said: bytes = b"") -> Peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(said)
        return reader, writer

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            for _ in iter(condition, True):
                await asyncio.sleep(0.001)


@asynccontextmanager
async def opened(keep: float = PATIENCE) -> AsyncGenerator[House]:
    house = House()
    config = uvicorn.Config(cast("Any", house.app), interface="asgi3", lifespan="off", log_config=None)
    cast("Any", config).timeout_keep_alive = keep
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(config=config, server_state=house.state, app_state=house.app_state), "127.0.0.1", 0
    )
    house.port = server.sockets[0].getsockname()[1]
    yield house
    for one in list(house.state.connections):
        one.transport.abort()
    server.close()
    await server.wait_closed()


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def play() -> None:
        async with asyncio.timeout(PATIENCE):
            await scene()

    asyncio.run(play())


@pytest.mark.parametrize("said", [b"G", HEAD, b"\r\n", b"POST / HTTP/1.1\r\nX: "], ids=repr)
def test_a_head_that_does_not_end_is_cut(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", SOON)

    async def scene() -> None:
        async with opened() as house:
            reader, writer = await house.visit(said)
            assert (await reader.read()).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            writer.close()

    run(scene)


def test_a_head_that_takes_two_pieces_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", SOON)

    async def scene() -> None:
        async with opened() as house:
            house.go.clear()
            reader, writer = await house.visit(HEAD)
            await house.until(lambda: bool(house.state.connections))
            writer.write(b"\r\n")
            await house.until(lambda: house.arrived == 1)
            await asyncio.sleep(2 * SOON)  # the time that a head may take
            house.go.set()
            assert b"200 OK" in await reader.readuntil(b"welcome")
            writer.close()

    run(scene)


@pytest.mark.parametrize("start", [b"GET /", HEAD + b"X: ", HEAD, b"\r\n"], ids=repr)
def test_a_head_without_bounds_is_refused(start: bytes) -> None:
    async def scene() -> None:
        async with opened() as house:
            reader, writer = await house.visit(start)
            filling = b"\r\n" if start == b"\r\n" else b"a: b\r\n" if start == HEAD else b"x"
            while not reader.at_eof() and not writer.is_closing():
                writer.write(filling * 10_000)
                try:
                    await writer.drain()
                    said = await asyncio.wait_for(reader.read(100), SOON)
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
                assert said.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")), said
                break
            writer.close()
            await house.until(lambda: not house.state.connections)

    run(scene)


def test_a_head_without_bounds_behind_a_request_in_work_ends_the_connection() -> None:
    async def scene() -> None:
        async with opened() as house:
            house.go.clear()
            _, writer = await house.visit(HEAD + b"\r\n" + HEAD)
            await house.until(lambda: house.arrived == 1)
            while house.state.connections:
                writer.write(b"X" * 10_000)
                await asyncio.sleep(0)
            writer.close()

    run(scene)


@pytest.mark.parametrize("end", [b"", b"\r\n"], ids=["incomplete", "complete"])
def test_a_head_of_many_short_lines_is_refused(end: bytes) -> None:
    async def scene() -> None:
        async with opened() as house:
            reader, writer = await house.visit(HEAD + b"a: b\r\n" * 1000 + end)
            assert (await reader.read()).startswith(b"HTTP/1.1 431")
            assert house.arrived == 0
            writer.close()

    run(scene)


def test_a_client_that_sends_requests_ahead_without_end_is_cut() -> None:
    async def scene() -> None:
        async with opened() as house:
            house.go.clear()
            reader, writer = await house.visit((HEAD + b"\r\n") * 1000)
            assert await reader.read() == b""
            assert house.arrived <= 1
            writer.close()

    run(scene)


def test_the_rest_of_a_body_is_discarded_up_to_a_limit_and_then_the_connection_serves_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "DISCARD_BYTES", 2000)

    async def scene() -> None:
        async with opened() as house:
            sent = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
            reader, writer = await house.visit(sent % 1000)
            assert b"200 OK" in await reader.readuntil(b"welcome")
            writer.write(b"x" * 1000 + sent % 100_000)
            assert b"200 OK" in await reader.readuntil(b"welcome")
            writer.write(b"x" * 50_000)
            await house.until(lambda: not house.state.connections)
            writer.close()

    run(scene)


def test_a_client_that_never_sends_the_rest_of_a_body_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "DISCARD_SECONDS", SOON)

    async def scene() -> None:
        async with opened() as house:
            reader, writer = await house.visit(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
            assert (await reader.read()).endswith(b"welcome")
            writer.close()

    run(scene)


def test_a_connection_that_never_says_a_word_is_closed() -> None:
    async def scene() -> None:
        async with opened(keep=SOON) as house:
            reader, writer = await house.visit()
            assert await reader.read() == b""
            writer.close()

    run(scene)


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"], ids=["kept", "closing"])
def test_an_unread_answer_is_dropped(more: bytes) -> None:
    async def scene() -> None:
        async with opened(keep=SOON) as house:
            house.answer = LARGE
            _, writer = await house.visit(HEAD + more + b"\r\n")
            await house.until(lambda: house.arrived == 1)
            await house.until(lambda: not house.state.connections)
            writer.close()

    run(scene)


def test_one_large_answer_waits_for_its_reader_and_of_many_the_oldest_are_dropped() -> None:
    async def scene() -> None:
        async with opened() as house:
            house.answer = LARGE
            house.app_state[BODY_BUDGET] = budget = BodyBudget(1000)
            peers = [await house.visit(HEAD + b"\r\n")]
            await house.until(lambda: budget.used > 0)
            assert (await peers[0][0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await peers[0][0].readexactly(len(LARGE)) == LARGE
            await house.until(lambda: budget.used == 0)
            for number in range(5):
                peers.append(await house.visit(HEAD + b"\r\n"))
                await house.until(lambda wanted=number + 2: house.arrived == wanted)
            await house.until(lambda: len(house.state.connections) == 5)
            assert budget.evicted == {"unread": 1}
            for _, writer in peers:
                writer.close()

    run(scene)


def test_one_connection_too_many_is_made_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 2)

    async def scene() -> None:
        async with opened() as house:
            house.go.clear()
            _, busy = await house.visit(HEAD + b"\r\n")
            await house.until(lambda: house.arrived == 1)
            idle, silent = await house.visit()
            await house.until(lambda: len(house.state.connections) == 2)
            _, other = await house.visit(HEAD + b"\r\n")
            assert await idle.read() == b""
            await house.until(lambda: house.arrived == 2)
            refused, last = await house.visit(HEAD + b"\r\n")
            assert b"503 Service Unavailable" in await refused.read()
            for writer in (busy, silent, other, last):
                writer.close()

    run(scene)


def test_a_request_after_the_order_to_stop_knows_of_it_and_an_idle_connection_ends_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "LINGER_SECONDS", SOON)

    async def scene() -> None:
        async with opened() as house:
            asking, one = await house.visit()
            idle, other = await house.visit()
            await house.until(lambda: len(house.state.connections) == 2)
            for connection in list(house.state.connections):
                connection.shutdown()
            one.write(HEAD + b"\r\n")
            assert (await asking.readuntil(b"leaving")).startswith(b"HTTP/1.1 200 OK")
            assert await idle.read() == b""
            for writer in (one, other):
                writer.close()

    run(scene)


OFFERS = {
    "HTTP/2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "TLS": b"Connection: keep-alive, Upgrade\r\nUpgrade: TLS/1.0\r\n",
    "a web socket": b"Connection: upgrade\r\nUpgrade: websocket\r\n",
}
BODIES = {
    "whole": b"Content-Length: 5\r\n\r\nhello",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("offer", OFFERS)
def test_an_offer_of_another_protocol_is_ignored_wherever_the_packets_end(offer: str, body: str) -> None:
    sent = b"POST / HTTP/1.1\r\nHost: x\r\n" + OFFERS[offer] + BODIES[body]
    head = sent.index(b"\r\n\r\n")

    async def scene() -> None:
        async with opened() as house:
            reader, writer = await house.visit()
            for cut in (len(sent), 20, 60, head - 1, head + 2, head + 4, head + 5, len(sent) - 1):
                for piece in (sent[:cut], sent[cut:]):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001)
                said = await reader.readuntil(b"|hello.")
                assert said.startswith(b"HTTP/1.1 200 OK")
                assert b"upgrade" not in said
                assert b"host" in said
            assert house.arrived == 8
            writer.write(HEAD + b"\r\n")
            assert b"200 OK" in await reader.readuntil(b"welcome")
            writer.close()

    run(scene)


def test_requests_sent_ahead_behind_an_offer_are_answered_in_order() -> None:
    sent = b"POST / HTTP/1.1\r\nHost: x\r\n" + OFFERS["HTTP/2"] + BODIES["whole"]

    async def scene() -> None:
        async with opened() as house:
            reader, writer = await house.visit(sent * 3 + HEAD + b"\r\n")
            for _ in range(3):
                assert b"200 OK" in await reader.readuntil(b"|hello.")
            assert b"200 OK" in await reader.readuntil(b"welcome")
            writer.close()

    run(scene)
