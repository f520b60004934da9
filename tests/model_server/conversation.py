"""HTTP client and server in one process, without a socket."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import httpx

from model_server import app

Result = TypeVar("Result")


def talk(server: app.Server, conversation: Callable[[httpx.AsyncClient], Awaitable[Result]]) -> Result:
    """Run the conversation between the server's start and stop. Return its result."""

    async def run() -> Result:
        server.start()
        transport = httpx.ASGITransport(cast("Any", server))
        async with httpx.AsyncClient(transport=transport, base_url="http://model") as client:
            answered = await conversation(client)
        server.stop()
        return answered

    return asyncio.run(run())
