"""Queue of requests, and the worker threads that predict them."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import TypeAlias

from model_server.predict.scoring import Request
from model_server.responses import internal_error

LOG = logging.getLogger("serving")
Score: TypeAlias = Callable[[Sequence[Request]], Iterator[Sequence[Request]]]
Deliver: TypeAlias = Callable[[Sequence[Request]], None]
BATCH_BYTES = 1 << 20  # bytes of bodies after which a batch takes no more requests

EWMA_WEIGHT = 0.2  # weight of the last batch in the moving average of the time per request


class Workers:
    """Worker threads with one queue. Each takes up to `most` requests at once, in order of arrival.

    With `patience`, a worker waits up to this many seconds for more requests before it starts.
    """

    def __init__(self, count: int, score: Score, deliver: Deliver, *, most: int = 1, patience: float = 0) -> None:
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._score, self._deliver, self._most, self._patience = score, deliver, most, patience
        self._busy_since: dict[int, float | None] = dict.fromkeys(range(count))
        self._seconds_per_request = 0.0  # moving average
        for number in range(count):
            threading.Thread(target=self._run, args=(number,), name=f"predict-{number}", daemon=True).start()

    def queued(self) -> int:
        """Return the number of requests that wait for a worker."""
        return self._queue.qsize()

    def expected_wait(self) -> float:
        """Return the seconds that a new request would wait, if requests take as long as the last ones did."""
        return self._queue.qsize() * self._seconds_per_request / len(self._busy_since)

    def put(self, request: Request) -> None:
        """Queue the request."""
        self._queue.put(request)

    def stop(self) -> None:
        """Tell the workers to end when the queue is empty, and return at once."""
        for _ in self._busy_since:
            self._queue.put(None)

    def stuck(self, seconds: float) -> bool:
        """Return whether every worker has been busy without a response for longer than this many seconds."""
        before = perf_counter() - seconds
        return all(since is not None and since < before for since in self._busy_since.values())

    def _run(self, number: int) -> None:
        running = self._run_once(number, counts=False)
        while running:
            running = self._run_once(number)

    def _run_once(self, number: int, *, counts: bool = True) -> bool:
        """Take a batch from the queue and score it. Return False when the worker must end.

        This is a separate function so that no request stays in memory while the worker waits. A worker's first batch
        does not count for the expected wait, because it may import modules that only such requests need.
        """
        first = self._queue.get()
        if first is None:
            return False
        self._busy_since[number] = start = perf_counter()
        batch = [request for request in self._take(first) if not (request.future and request.future.done())]
        try:
            for answered in self._score(batch):
                self._deliver(answered)
                self._busy_since[number] = perf_counter()
        except BaseException as error:  # a model may call exit, and an extension may panic; the worker must go on
            LOG.exception("request failed", extra={"about": {"status": 500}})
            lost = [request for request in batch if request.response is None]
            for request in lost:
                request.response = internal_error(error)
                request.parsed = request.predicted = request.finished = perf_counter()
            self._deliver(lost)
        self._busy_since[number] = None
        if batch and counts:
            took = (perf_counter() - start) / len(batch)
            self._seconds_per_request += (took - self._seconds_per_request) * EWMA_WEIGHT
        return True

    def _take(self, first: Request) -> Iterator[Request]:
        yield first
        size, deadline = len(first.body), perf_counter() + self._patience
        for _ in range(self._most - 1):
            if size > BATCH_BYTES:
                return
            remaining = deadline - perf_counter()
            try:
                request = (
                    self._queue.get(timeout=remaining) if self._patience and remaining > 0 else self._queue.get_nowait()
                )
            except Empty:
                return
            if request is None:  # the order to end; the next call of _run_once takes it
                self._queue.put(None)
                return
            size += len(request.body)
            yield request
