"""Loads our model server with 70 % of its capacity for long, and checks that it gets neither larger nor slower.

The server has one core, the load generator another. The load is 70 % of the server's current capacity: the capacity
measured first, times the present speed of its core relative to that time (`bench.metronome`). Memory and open files are
compared between the first and the last third. Latency is not, because the core's speed changes from minute to minute.
Instead the old server and a new one then get the same load in many short turns. Other guests of the host can only make
a turn slower, so the comparison uses each server's lower quartile over its turns, of the median and of the 99th
percentile. The exit code is 1 if a limit is missed. Minutes with refused requests are shown. The tables are Markdown.

Run it as `python -m bench.soak`.
"""

import argparse
import math
import os
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, quantiles
from time import perf_counter

from bench import arrivals
from bench.metronome import metronome
from bench.serving import Served, body, cpu_used, judge, load, megabytes, our_server, process, table

STEADY = 0.7  # share of the capacity
EVERY = 2  # seconds between two samples
PACE = 1  # seconds over which the core's speed is averaged for the load
WARM = 10  # first seconds, which do not count
CAPACITY_SECONDS = 30
TURNS, TURN_SECONDS = 30, 4  # turns of each server, the old and the new
MEMORY, MEDIAN, TAIL = 1.05, 1.1, 1.25
THIRDS = ("first", "second", "last")
TITLES = ["", "speed", "answers", "median", "p99", "CPU", "memory", "other files"]


@dataclass(frozen=True)
class Sample:
    """State of the server at one moment."""

    at: float
    """Seconds since the load began."""
    memory: float
    """MB in memory."""
    files: int
    """Open files, without the connections of the load."""
    used: float
    """Share of its core that the server used since the previous sample."""
    speed: float
    """Speed of the core relative to the beginning."""


@dataclass(frozen=True)
class SteadyLoad:
    """A load that the server can take for long."""

    rows: int
    """Rows of each request."""
    rate: float
    """Requests per second."""
    pace: Callable[[], float]
    """Function that returns the present factor for the rate."""

    def load_for(self, served: Served) -> arrivals.Load:
        """Return the load for that server."""
        return arrivals.Load(served.port, arrivals.post(body(self.rows)), pace=self.pace)

    def run(self, served: Served, seconds: float) -> Sequence[arrivals.Answer]:
        """Run the load for this many seconds. Return the answers."""
        sent = self.load_for(served)
        arrivals.run(sent, [(self.rate, seconds)])
        return sent.answers


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15, help="minutes of load (default: 15)")
    parser.add_argument("--model", choices=["logistic", "forest", "pyfunc"], default="forest")
    parser.add_argument("--rows", type=int, default=100, help="rows of a request (default: 100)")
    options = parser.parse_args()
    seconds = options.minutes * 60
    with our_server(options.model) as old, metronome(0) as beats:
        load(old.url, old.group, (options.rows, 16), 2, old.folder)
        capacity = load(old.url, old.group, (options.rows, 16), CAPACITY_SECONDS, old.folder).rate
        speed = beats.speed(CAPACITY_SECONDS)
        os.sched_setaffinity(0, {1})
        steady = SteadyLoad(options.rows, STEADY * capacity, lambda: beats.speed(PACE) / speed)
        sent = steady.load_for(old)
        with sampling(old.group, sent) as samples:
            arrivals.run(sent, [(steady.rate, WARM + seconds)])
        print(f"\n{STEADY:.0%} of {capacity:,.0f} requests/s for {options.minutes:g} min.\n")
        kept = show(sent.answers, samples, seconds)
        with our_server(options.model) as new:
            steady.run(new, WARM)
            kept &= compare([(steady.run(old, TURN_SECONDS), steady.run(new, TURN_SECONDS)) for _ in range(TURNS)])
    sys.exit(0 if kept else 1)


@contextmanager
def sampling(pid: int, sent: arrivals.Load) -> Generator[list[Sample]]:
    """Sample our server, a single process, every EVERY seconds while the block runs."""
    samples, done = list[Sample](), threading.Event()

    def watch() -> None:
        start = before = perf_counter()
        used = cpu_used(process(pid))
        while not done.wait(EVERY):
            files = len(list(Path(f"/proc/{pid}/fd").iterdir())) - sent.connections
            now, fields = perf_counter(), process(pid)
            share = (cpu_used(fields) - used) / (now - before)
            samples.append(Sample(now - start, megabytes(fields), files, share, sent.pace()))
            before, used = now, cpu_used(fields)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        done.set()
        watcher.join()


@dataclass(frozen=True)
class Period:
    """A period: the answers to the requests that were due in it, and the state of the server."""

    name: str
    answers: Sequence[arrivals.Answer]
    samples: Sequence[Sample]

    @property
    def refused(self) -> bool:
        """Return whether a request had another status than 200, or no response."""
        return any(answer.status != 200 for answer in self.answers)

    @property
    def files(self) -> int:
        """Return the maximum of open files."""
        return max(sample.files for sample in self.samples)

    def mean(self, what: str) -> float:
        """Return the mean of this field over all samples."""
        return fmean(getattr(sample, what) for sample in self.samples)

    def line(self) -> list[str]:
        """Return the cells for a table with TITLES."""
        times = [f"{arrivals.milliseconds(self.answers, percent):.1f} ms" for percent in (50, 99)]
        held = [f"{self.mean('used'):.0%}", f"{self.mean('memory'):.1f} MB", str(self.files)]
        return [self.name, f"{self.mean('speed'):.2f}", arrivals.statuses(self.answers), *times, *held]


def show(answers: Sequence[arrivals.Answer], samples: Sequence[Sample], seconds: float) -> bool:
    """Print the periods. Return whether all limits were kept."""

    def period(name: str, start: float, end: float) -> Period:
        start, end = WARM + start, WARM + end
        return Period(
            name, arrivals.part(answers, start, end), [sample for sample in samples if start <= sample.at < end]
        )

    third = seconds / 3
    thirds = [period(f"{name} third", at * third, (at + 1) * third) for at, name in enumerate(THIRDS)]
    first, _, last = thirds
    print(table(TITLES, [some.line() for some in thirds]))
    minutes = (period(f"minute {at + 1}", at * 60, (at + 1) * 60) for at in range(math.ceil(seconds / 60)))
    if refused_minutes := [some.line() for some in minutes if some.refused]:
        print(f"\n{table(TITLES, refused_minutes)}")
    return judge({
        "every request is answered": not any(some.refused for some in thirds),
        f"memory stays within {MEMORY - 1:.0%}": last.mean("memory") <= MEMORY * first.mean("memory"),
        "no more files are open": last.files <= first.files,
    })  # fmt: skip


def compare(turns: Sequence[tuple[Sequence[arrivals.Answer], Sequence[arrivals.Answer]]]) -> bool:
    """Print the latencies of the old server and a new one. Return whether the old one is as fast."""

    def times(percent: int) -> list[float]:
        took = [[arrivals.milliseconds(answers, percent) for answers in server] for server in zip(*turns, strict=True)]
        return [quantiles(each, n=4)[0] for each in took]

    (old, new), (old_tail, new_tail) = times(50), times(99)
    print(f"\nLower quartiles of {len(turns)} turns of {TURN_SECONDS} s:\n")
    rows = [["old", f"{old:.1f} ms", f"{old_tail:.1f} ms"], ["new", f"{new:.1f} ms", f"{new_tail:.1f} ms"]]
    print(table(["", "median", "p99"], rows))
    return judge({
        f"the old one's median is within {MEDIAN - 1:.0%}": old <= MEDIAN * new,
        f"the old one's 99th percentile is within {TAIL - 1:.0%}": old_tail <= TAIL * new_tail,
    })  # fmt: skip


if __name__ == "__main__":
    main()
