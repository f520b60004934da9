"""Requests that wait for a prediction, and the threads that make it."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import TypeAlias

from model_server.predict.scoring import Call
from model_server.responses import failed

LOG = logging.getLogger("serving")
Score: TypeAlias = Callable[[Sequence[Call]], Iterator[Sequence[Call]]]
Deliver: TypeAlias = Callable[[Sequence[Call]], None]
BATCH_BYTES = 1 << 20  # nobody waits for more than this to be read along with a request

NEWS = 0.2  # what the last batch weighs among those before it


class Threads:
    """Threads that take what waits, in order, `most` requests at once; with `patience` they wait so long for more."""

    def __init__(self, count: int, score: Score, deliver: Deliver, *, most: int = 1, patience: float = 0) -> None:
        self._waiting: SimpleQueue[Call | None] = SimpleQueue()
        self._score, self._deliver, self._most, self._patience = score, deliver, most, patience
        self._since: dict[int, float | None] = dict.fromkeys(range(count))
        self._pace = 0.0  # seconds of a thread for a request, the last ones counting most
        for number in range(count):
            threading.Thread(target=self._run, args=(number,), name=f"predict-{number}", daemon=True).start()

    def waiting(self) -> int:
        """How many requests wait for a thread."""
        return self._waiting.qsize()

    def wait(self) -> float:
        """Seconds that a request which comes now would wait, if those before it take as long as the last ones took."""
        return self._waiting.qsize() * self._pace / len(self._since)

    def put(self, call: Call) -> None:
        """The call is worked on when those before it have been taken."""
        self._waiting.put(call)

    def stop(self) -> None:
        """What waits is worked on still; then the threads end. They are not waited for."""
        for _ in self._since:
            self._waiting.put(None)

    def stuck(self, seconds: float) -> bool:
        """Whether each thread has been with one and the same request for longer than that."""
        before = perf_counter() - seconds
        return all(since is not None and since < before for since in self._since.values())

    def _run(self, number: int) -> None:
        goes_on = self._turn(number, counts=False)
        while goes_on:
            goes_on = self._turn(number)

    def _turn(self, number: int, *, counts: bool = True) -> bool:
        """What waits is answered. A function of its own: while it waits for more, nothing of it is kept in memory.

        A thread's first turn does not count for the pace: it may import what only such requests need.
        """
        first = self._waiting.get()
        if first is None:
            return False
        self._since[number] = start = perf_counter()
        batch = [call for call in self._take(first) if not (call.waiting and call.waiting.done())]
        try:
            for answered in self._score(batch):
                self._deliver(answered)
                self._since[number] = perf_counter()
        except BaseException as error:  # a model may call exit, and extensions panic; the thread is needed still
            LOG.exception("request failed", extra={"about": {"status": 500}})
            lost = [call for call in batch if call.answer is None]
            for call in lost:
                call.answer = failed(error)
                call.parsed = call.predicted = call.finished = perf_counter()
            self._deliver(lost)
        self._since[number] = None
        if batch and counts:
            took = (perf_counter() - start) / len(batch)
            self._pace += (took - self._pace) * NEWS
        return True

    def _take(self, first: Call) -> Iterator[Call]:
        yield first
        size, deadline = len(first.body), perf_counter() + self._patience
        for _ in range(self._most - 1):
            if size > BATCH_BYTES:
                return
            left = deadline - perf_counter()
            try:
                call = self._waiting.get(timeout=left) if self._patience and left > 0 else self._waiting.get_nowait()
            except Empty:
                return
            if call is None:  # the order to end, for the next turn
                self._waiting.put(None)
                return
            size += len(call.body)
            yield call
