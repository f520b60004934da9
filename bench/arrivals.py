"""A load with a fixed arrival rate: a request is sent when it is due, whatever became of those before it.

A server that falls behind so meets what real clients would send it, and its answers count from the moment when they
were due, not from when a tired client got round to asking.
"""

import asyncio
import gc
import re
import statistics
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

import uvloop

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
CUT = 0  # the status of a request whose connection ended without an answer
PATIENCE = 60  # seconds for the last answers


@dataclass(frozen=True, slots=True)
class Answer:
    """Seconds since the load began when the request was due, its status, and seconds until the answer was there."""

    due: float
    status: int
    took: float


@dataclass
class Load:
    """Requests at a fixed rate, on as many kept connections as are needed, each taken in its turn.

    Who listens by `heard` gets every answer with what was read of it: the head, and the body. The rate is so many times
    the phase's as `pace` says, which is asked before each request.
    """

    port: int
    request: bytes
    host: str = "127.0.0.1"
    heard: Callable[[Answer, bytes, bytes], None] | None = None
    pace: Callable[[], float] = lambda: 1.0
    answers: list[Answer] = field(default_factory=list[Answer])
    connections: int = 0
    _idle: deque["_Connection"] = field(default_factory=deque["_Connection"])
    _opening: set[asyncio.Future[None]] = field(default_factory=set[asyncio.Future[None]])
    _landed: asyncio.Event = field(default_factory=asyncio.Event)
    _flying: int = 0
    _ends: bool = False
    _stopped: bool = False
    _start: float = 0

    async def run(self, phases: Sequence[tuple[float, float]]) -> None:
        """All requests of the phases, each (requests per second, seconds), are answered, or were cut."""
        self._start = due = perf_counter()
        for rate, seconds in phases:
            end = due + seconds
            while due < end and not self._stopped:
                if (early := due - perf_counter()) > 0:
                    await asyncio.sleep(early)
                self._flying += 1
                if self._idle:
                    self._idle.popleft().send(due)
                else:
                    opening = asyncio.ensure_future(self._open(due))
                    self._opening.add(opening)
                    opening.add_done_callback(self._opening.discard)
                due += 1 / (rate * self.pace())
        self._ends = True
        if self._flying:
            async with asyncio.timeout(PATIENCE):
                await self._landed.wait()

    def stop(self) -> None:
        """No more requests: `run` returns when those on their way are answered."""
        self._stopped = True

    async def _open(self, due: float) -> None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), self.host, self.port
            )
        except OSError:
            self.answered(due, CUT)
        else:
            connection.send(due)

    def answered(
        self, due: float, status: int, connection: "_Connection | None" = None, head: bytes = b"", body: bytes = b""
    ) -> None:
        """The request that was due then has its answer; the connection, if it is kept, may take another."""
        self._flying -= 1
        if self._ends and not self._flying:
            self._landed.set()
        answer = Answer(due - self._start, status, perf_counter() - due)
        self.answers.append(answer)
        if self.heard:
            self.heard(answer, head, body)
        if connection:
            self._idle.append(connection)

    def lost(self, connection: "_Connection") -> None:
        """The connection takes no more requests."""
        self.connections -= 1
        if connection in self._idle:
            self._idle.remove(connection)


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self._load = load
        self._due: float | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no base class
        self._load.connections += 1

    def send(self, due: float) -> None:
        """The request that is due is on its way."""
        self._due = due
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not found or not length or len(body) < int(length[1]) or self._due is None:
            return
        due, self._due, self._read = self._due, None, b""
        keeps = b"connection: close" not in head.lower()
        self._load.answered(due, int(head[9:12]), self if keeps else None, head, body)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._load.lost(self)
        if self._due is not None:
            self._load.answered(self._due, CUT)


def post(body: str) -> bytes:
    """A request to /invocations, as it goes over the wire."""
    head = f"POST /invocations HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


def run(load: Load, phases: Sequence[tuple[float, float]]) -> None:
    """The load, to its end, without garbage collection, which would walk through all answers and hold up the load."""
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(load.run(phases))
    finally:
        gc.enable()


def part(answers: Sequence[Answer], start: float, end: float) -> list[Answer]:
    """Those that were due from `start` to `end`, in seconds since the load began."""
    return [answer for answer in answers if start <= answer.due < end]


def milliseconds(answers: Sequence[Answer], percent: int, status: int = 200) -> float:
    """That percentile of the time until the answers with the status; 0 when there are none."""
    took = sorted(answer.took for answer in answers if answer.status == status)
    return 1e3 * (statistics.quantiles(took, n=100, method="inclusive")[percent - 1] if len(took) > 1 else sum(took))


def statuses(answers: Sequence[Answer]) -> str:
    """How many answers of each status, in words."""
    counts = sorted(Counter(answer.status for answer in answers).items())
    return ", ".join(f"{count:,} x {status or 'cut'}" for status, count in counts)
