"""A client and a server in one process, without a socket between them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import httpx

from model_server import app

Result = TypeVar("Result")


def talk(server: app.Server, conversation: Callable[[httpx.AsyncClient], Awaitable[Result]]) -> Result:
    """What comes of the conversation, from the server's start to its stop."""

    async def run() -> Result:
        server.start()
        transport = httpx.ASGITransport(cast("Any", server))
        async with httpx.AsyncClient(transport=transport, base_url="http://model") as client:
            answered = await conversation(client)
        server.stop()
        return answered

    return asyncio.run(run())
