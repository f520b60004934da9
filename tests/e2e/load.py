"""A bounded load: a fixed number of requests in flight, each answer kept with who gave it."""

import asyncio
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

IN_FLIGHT = 20
MOST_SECONDS = 240


@dataclass
class Answers:
    """What came back: by version, and every failure in words."""

    by_version: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])
    latest: str = ""


async def _one_client(
    client: httpx.AsyncClient, url: str, body: object, answers: Answers, stop: threading.Event
) -> None:
    while not stop.is_set():
        try:
            answer = await client.post(url, json=body)
        except httpx.HTTPError as error:
            answers.failures.append(repr(error))
            continue
        if answer.is_error or "predictions" not in answer.json():
            answers.failures.append(f"{answer.status_code} {answer.text[:200]}")
        answers.latest = answer.headers.get("X-Model-Version", "none named")
        answers.by_version[answers.latest] += 1


async def _clients(url: str, body: object, answers: Answers, stop: threading.Event) -> None:
    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    async with httpx.AsyncClient(timeout=30, limits=limits) as client, asyncio.timeout(MOST_SECONDS):
        await asyncio.gather(*(_one_client(client, url, body, answers, stop) for _ in range(IN_FLIGHT)))


@contextmanager
def load(url: str, body: object) -> Generator[Answers]:
    """Keeps `IN_FLIGHT` requests in flight over kept-alive connections for as long as the block runs.

    Nothing is tried again: a request that got no answer counts as a failure.
    """
    answers, stop = Answers(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_clients(url, body, answers, stop)))
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()
