"""Load generator with a fixed arrival rate: it sends each request when it is due, even if earlier ones are unanswered.

A server that falls behind gets the load that real clients would send. Latency counts from the time when a request was
due, not from the time when a delayed client sent it.
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
CUT = 0  # status of a request whose connection ended without a response
PATIENCE = 60  # seconds to wait for the last responses


@dataclass(frozen=True, slots=True)
class Answer:
    """Outcome of one request."""

    due: float
    """Seconds from the start of the load to the time when the request was due."""
    status: int
    """HTTP status, or CUT."""
    took: float
    """Seconds from the due time to the response."""


@dataclass
class Load:
    """Sends requests at a fixed rate, over as many keep-alive connections as needed, in rotation.

    `on_answer` is called with each answer, its headers and its body. `pace` is called before each request and returns a
    factor for the rate. `vary` returns the bytes to send in place of `request`.
    """

    port: int
    request: bytes
    host: str = "127.0.0.1"
    on_answer: Callable[[Answer, bytes, bytes], None] | None = None
    pace: Callable[[], float] = lambda: 1.0
    vary: Callable[[bytes], bytes] = lambda request: request
    answers: list[Answer] = field(default_factory=list[Answer])
    connections: int = 0
    _idle: deque["_Connection"] = field(default_factory=deque["_Connection"])
    _opening: set[asyncio.Future[None]] = field(default_factory=set[asyncio.Future[None]])
    _all_answered: asyncio.Event = field(default_factory=asyncio.Event)
    _in_flight: int = 0
    _finishing: bool = False
    _stopped: bool = False
    _start: float = 0

    async def run(self, phases: Sequence[tuple[float, float]]) -> None:
        """Send the requests of all phases, each (requests per second, seconds), and wait for the responses."""
        self._start = due = perf_counter()
        for rate, seconds in phases:
            end = due + seconds
            while due < end and not self._stopped:
                if (early := due - perf_counter()) > 0:
                    await asyncio.sleep(early)
                self._in_flight += 1
                if self._idle:
                    self._idle.popleft().send(due)
                else:
                    opening = asyncio.ensure_future(self._open(due))
                    self._opening.add(opening)
                    opening.add_done_callback(self._opening.discard)
                due += 1 / (rate * self.pace())
        self._finishing = True
        if self._in_flight:
            async with asyncio.timeout(PATIENCE):
                await self._all_answered.wait()

    def stop(self) -> None:
        """Send no more requests; `run` returns when those in progress are answered."""
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
        """Record the answer to the request that was due then, and reuse its connection if it stays open."""
        self._in_flight -= 1
        if self._finishing and not self._in_flight:
            self._all_answered.set()
        answer = Answer(due - self._start, status, perf_counter() - due)
        self.answers.append(answer)
        if self.on_answer:
            self.on_answer(answer, head, body)
        if connection:
            self._idle.append(connection)

    def lost(self, connection: "_Connection") -> None:
        """Remove the connection."""
        self.connections -= 1
        if connection in self._idle:
            self._idle.remove(connection)


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self._load = load
        self._due: float | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport has no base class
        self._load.connections += 1

    def send(self, due: float) -> None:
        """Send the request that is due."""
        self._due = due
        self._transport.write(self._load.vary(self._load.request))

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
    """Return the bytes of a POST request to /invocations."""
    head = f"POST /invocations HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


def run(load: Load, phases: Sequence[tuple[float, float]]) -> None:
    """Run the load without garbage collection, which would scan all answers and delay the load."""
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(load.run(phases))
    finally:
        gc.enable()


def part(answers: Sequence[Answer], start: float, end: float) -> list[Answer]:
    """Return the answers that were due from `start` to `end`, in seconds since the load began."""
    return [answer for answer in answers if start <= answer.due < end]


def milliseconds(answers: Sequence[Answer], percent: int, status: int = 200) -> float:
    """Return this percentile of the latency of answers with the status, or 0 if there are none."""
    took = sorted(answer.took for answer in answers if answer.status == status)
    return 1e3 * (statistics.quantiles(took, n=100, method="inclusive")[percent - 1] if len(took) > 1 else sum(took))


def statuses(answers: Sequence[Answer]) -> str:
    """Return the number of answers with each status, as text."""
    counts = sorted(Counter(answer.status for answer in answers).items())
    return ", ".join(f"{count:,} x {status or 'cut'}" for status, count in counts)
