"""Function behind `mlops mlflow`: MLflow on a port of this machine, which adds the caller's token to each request."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx
import uvicorn

from cli import laptop, target
from client.tunnel import Tunnel
from contract import names

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-authorization"}
)
"""Headers that belong to one connection."""
OWN = HOP_BY_HOP | {"authorization", "host", "origin", "referer"}
"""Headers that the page sets itself, or that MLflow must not see."""
MOST_BYTES = 32 << 20
"""Largest body of a request in bytes; it is kept until the response, to send it again with a new token."""
TIMEOUT = httpx.Timeout(300, connect=10)


Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]


def show(context: str | None, port: int, *, promoter: bool) -> None:
    """Serve MLflow at http://localhost:PORT until Ctrl-C; with `promoter`, as the account that may change stages."""
    account = names.PROMOTER if promoter else names.PEOPLE
    with server(context, port, account) as (page, listening):
        address = f"http://localhost:{listening.getsockname()[1]}"
        print(f"MLflow: {address} (as {account}; stop with Ctrl-C)", flush=True)
        page.run(sockets=[listening])


@contextmanager
def server(context: str | None, port: int, account: str) -> Generator[tuple[uvicorn.Server, socket.socket]]:
    """Yield a server of MLflow, with the rights of the account, and the listening socket to run it on."""
    with (
        laptop.listen(port) as listening,
        Tunnel(target.cluster(context), names.TRACKING_SERVICE, names.PLATFORM, names.TRACKING_PORT) as tunnel,
    ):
        page = Page(tunnel, account, listening.getsockname()[1])
        yield uvicorn.Server(uvicorn.Config(page, log_config=None, lifespan="off", access_log=False)), listening


@dataclass
class Page:
    """ASGI application that sends requests to MLflow, with a token if MLflow asks for one.

    Only pages that it serves itself may use it: other web pages in the same browser have no right to the token.
    """

    tunnel: Tunnel
    account: str
    port: int
    _token: str = ""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if reason := self._foreign(headers):
            await _respond(send, 403, reason)
            return
        body = await _body(receive)
        if body is None:
            await _respond(send, 413, f"The body has more than {MOST_BYTES} bytes, which this page does not send.")
            return
        path = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        asked = {name: value for name, value in headers.items() if name not in OWN}
        async with httpx.AsyncClient(timeout=TIMEOUT) as http:
            try:
                response = await self._ask(http, scope["method"], path, asked, body)
            except httpx.TransportError as error:
                await _respond(send, 502, f"MLflow cannot be reached: {error or type(error).__name__}; try again.")
                return
            await _pass_on(response, send)

    def _foreign(self, headers: dict[str, str]) -> str:
        """Return why a request does not come from a page of MLflow; empty if it may."""
        own = {f"localhost:{self.port}", f"127.0.0.1:{self.port}"}
        if headers.get("host") not in own:
            return f"This address is http://localhost:{self.port}; the request is for another host."
        origin = headers.get("origin", "")
        if origin and origin.removeprefix("http://") not in own:
            return "A page of another site may not ask MLflow with your token."
        return ""

    async def _ask(
        self, http: httpx.AsyncClient, method: str, path: bytes, headers: dict[str, str], body: bytes
    ) -> httpx.Response:
        """Return MLflow's response; after 401, that with a new token. A broken port-forward is opened again."""
        for is_last in (False, False, True):
            address, token = self.tunnel.address, self._token
            bearer = {"authorization": f"Bearer {token}"} if token else {}
            url = httpx.URL(address).copy_with(raw_path=path)
            named = {**headers, **bearer, "host": names.TRACKING_HOST}
            try:
                response = await http.send(http.build_request(method, url, headers=named, content=body), stream=True)
            except httpx.TransportError:
                if is_last:
                    raise
                await asyncio.to_thread(self.tunnel.renew, address)
                continue
            if response.status_code != httpx.codes.UNAUTHORIZED.value or is_last:
                return response
            await response.aclose()
            async with self._lock:
                if self._token == token:
                    self._token = await asyncio.to_thread(self.tunnel.cluster.token, self.account)
        raise AssertionError


async def _body(receive: Receive) -> bytes | None:
    """Return the body of a request; None if it is too large."""
    body, more = b"", True
    while more and len(body) <= MOST_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return None if len(body) > MOST_BYTES else body


async def _pass_on(response: httpx.Response, send: Send) -> None:
    kept: Sequence[tuple[bytes, bytes]] = [
        (name, value) for name, value in response.headers.raw if name.decode("latin-1").lower() not in HOP_BY_HOP
    ]
    await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
    async for part in response.aiter_raw():
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await response.aclose()
    await send({"type": "http.response.body", "body": b""})


async def _respond(send: Send, status: int, sentence: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(sentence.encode()))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": sentence.encode()})
