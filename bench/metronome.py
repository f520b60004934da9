"""How fast a core is at the moment: the same small piece of work, again and again, beside whatever else runs there.

A virtual machine's core is up to twice as fast or as slow as a minute before, and nothing of it is in the machine's own
figures: others use the other half of the physical core. What is measured over minutes needs to know.
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
STEPS = 20_000  # a millisecond, so a fiftieth of the core


class Metronome:
    """Beats as they come: when, by `perf_counter`, and the CPU seconds that the work took."""

    def __init__(self) -> None:
        self._beats: deque[tuple[float, float]] = deque(maxlen=round(60 / EVERY))

    def listen(self, lines: Iterable[str]) -> None:
        """Until the last line."""
        self._beats.extend((perf_counter(), float(line)) for line in lines)

    def speed(self, seconds: float) -> float:
        """Pieces of work in a CPU second, the mean of the last so many seconds; they are at most 60."""
        since = perf_counter() - seconds
        return 1 / fmean(took for _, took in takewhile(lambda beat: beat[0] >= since, reversed(list(self._beats))))


@contextmanager
def metronome(core: int) -> Generator[Metronome]:
    """One that beats on the core, as a process of its own, for as long as the block runs."""
    beats = Metronome()
    command = ["taskset", "-c", str(core), sys.executable, "-u", "-m", __name__]
    with listening(command, beats.listen):
        yield beats


def beat() -> None:
    """Prints the CPU seconds of each beat, without end."""
    while True:
        start, total = thread_time(), 0
        for step in range(STEPS):
            total += step
        print(thread_time() - start)
        sleep(EVERY)


if __name__ == "__main__":
    beat()
