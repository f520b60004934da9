"""A bounded load at a fixed rate: each answer is kept with who gave it and how long after its time it came."""

import asyncio
import math
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import httpx

MOST_SECONDS = 300
CONNECTIONS = 100


@dataclass(frozen=True)
class Answered:
    """One answer: the moment when its request was due, by `time.monotonic`, and the seconds from then on."""

    due: float
    seconds: float
    version: str


@dataclass
class Answers:
    """What came back, and every failure in words."""

    all: list[Answered] = field(default_factory=list[Answered])
    failures: list[str] = field(default_factory=list[str])

    @property
    def by_version(self) -> Counter[str]:
        return Counter(answer.version for answer in self.all)

    @property
    def latest(self) -> str:
        return self.all[-1].version if self.all else ""

    def p99(self, since: float, until: float = math.inf) -> float:
        """Milliseconds within which 99 of 100 requests that were due in between were answered."""
        seconds = sorted(answer.seconds for answer in self.all if since <= answer.due < until)
        return 1000 * seconds[math.ceil(0.99 * len(seconds)) - 1]


async def _request(client: httpx.AsyncClient, url: str, body: object, due: float, answers: Answers) -> None:
    try:
        answer = await client.post(url, json=body)
    except httpx.HTTPError as error:
        answers.failures.append(repr(error))
        return
    if answer.is_error or "predictions" not in answer.json():
        answers.failures.append(f"{answer.status_code} {answer.text[:200]}")
    answers.all.append(Answered(due, time.monotonic() - due, answer.headers.get("X-Model-Version", "none named")))


async def _arrivals(url: str, body: object, per_second: int, answers: Answers, stop: threading.Event) -> None:
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    start = time.monotonic()
    async with httpx.AsyncClient(timeout=30, limits=limits) as client, asyncio.TaskGroup() as group:
        for number in count():
            due = start + number / per_second
            if stop.is_set() or due > start + MOST_SECONDS:
                return
            await asyncio.sleep(due - time.monotonic())
            group.create_task(_request(client, url, body, due, answers))


@contextmanager
def load(url: str, body: object, *, per_second: int = 100) -> Generator[Answers]:
    """Sends `per_second` requests a second for as long as the block runs, however slow the answers are.

    Nothing is tried again: a request that got no answer counts as a failure.
    """
    answers, stop = Answers(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_arrivals(url, body, per_second, answers, stop)))
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()
