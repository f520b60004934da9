"""Measures how fast a CPU core is at the moment: a process repeats the same small piece of work on it.

The core of a virtual machine can be twice as fast or as slow as a minute ago, because other guests use the other half
of the physical core. The machine's own figures do not show this, so benchmarks that run for minutes must measure it.
"""

import sys
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from itertools import takewhile
from statistics import fmean
from time import perf_counter, sleep, thread_time

from bench.listening import listening

EVERY = 0.05  # seconds between two beats
STEPS = 20_000  # about a millisecond of work, a fiftieth of the core


class Metronome:
    """Collects beats: the time of each, by `perf_counter`, and the CPU seconds of its work."""

    def __init__(self) -> None:
        self._beats: deque[tuple[float, float]] = deque(maxlen=round(60 / EVERY))

    def listen(self, lines: Iterable[str]) -> None:
        """Read beats until the last line."""
        self._beats.extend((perf_counter(), float(line)) for line in lines)

    def speed(self, seconds: float) -> float:
        """Return the pieces of work in a CPU second, the mean of the last `seconds`, which are at most 60."""
        since = perf_counter() - seconds
        return 1 / fmean(took for _, took in takewhile(lambda beat: beat[0] >= since, reversed(list(self._beats))))


@contextmanager
def metronome(core: int) -> Generator[Metronome]:
    """Run a metronome on the core, as a separate process, while the block runs."""
    beats = Metronome()
    command = ["taskset", "-c", str(core), sys.executable, "-u", "-m", __name__]
    with listening(command, beats.listen):
        yield beats


def beat() -> None:
    """Print the CPU seconds of each beat, forever."""
    while True:
        start, total = thread_time(), 0
        for step in range(STEPS):
            total += step
        print(thread_time() - start)
        sleep(EVERY)


if __name__ == "__main__":
    beat()
