"""Our model server at 70 % of its capacity for long: memory, open files and latency stay where they were.

The server has one core, the load another. Requests arrive at a rate that is 70 % of what the server can take at the
moment: its capacity in the beginning, times how fast its core is now compared with then ("speed", `bench.metronome`).
Times are those that the same work takes at the speed of the beginning. The first third of the time is compared with the
last. Ends with 1 when a limit is missed; each minute in which requests were refused is then shown. The tables are
Markdown.

Run it as `python -m bench.soak`.
"""

import argparse
import math
import os
import statistics
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench import arrivals
from bench.metronome import Metronome, metronome
from bench.serving import body, cpu_seconds, load, our_server, resident, table

CALM = 0.7  # of the capacity
EVERY = 2  # seconds between two looks at the process
WARM = 10  # seconds that do not count
CAPACITY_SECONDS = 30
MEMORY, MEDIAN, TAIL = 1.05, 1.2, 1.5
THIRDS = ("first", "second", "last")
TITLES = ["", "speed", "answers", "median", "p99", "CPU", "memory", "other files"]


@dataclass(frozen=True)
class Look:
    """Seconds since the load began, MB in memory, files open beside the connections of the load.

    `used` is the server's share of its core since the look before, `speed` the core's, compared with the beginning.
    """

    at: float
    memory: float
    files: int
    used: float
    speed: float


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15, help="of load (default: 15)")
    parser.add_argument("--model", choices=["logistic", "forest", "pyfunc"], default="forest")
    parser.add_argument("--rows", type=int, default=100, help="of a request (default: 100)")
    options = parser.parse_args()
    seconds = options.minutes * 60
    with our_server(options.model) as served, metronome(0) as beats:
        load(served.url, served.group, (options.rows, 16), 2, served.folder)
        capacity = load(served.url, served.group, (options.rows, 16), CAPACITY_SECONDS, served.folder).rate
        speed = beats.speed(CAPACITY_SECONDS)
        os.sched_setaffinity(0, {1})
        sent, done = arrivals.Load(served.port, arrivals.post(body(options.rows))), threading.Event()
        looks: list[Look] = []
        watching = Watching(served.group, sent, beats, speed)
        watcher = threading.Thread(target=watching.watch, args=(looks, done))
        watcher.start()
        arrivals.run(sent, [(CALM * capacity, WARM + seconds)])
        done.set()
        watcher.join()
    sys.exit(show(sent.answers, looks, capacity, seconds))


@dataclass(frozen=True)
class Watching:
    """Of the processes of a group that a load asks; `speed` is the core's in the beginning."""

    group: int
    sent: arrivals.Load
    beats: Metronome
    speed: float

    def watch(self, looks: list[Look], done: threading.Event) -> None:
        """Looks until it is done, and keeps the load in step with the core."""
        start = before = perf_counter()
        used = cpu_seconds(self.group)
        while not done.wait(EVERY):
            self.sent.pace = pace = self.beats.speed(EVERY) / self.speed
            files = len(list(Path(f"/proc/{self.group}/fd").iterdir())) - self.sent.connections
            now, used_now = perf_counter(), cpu_seconds(self.group)
            share = (used_now - used) / (now - before)
            looks.append(Look(now - start, resident(self.group), files, share, pace))
            before, used = now, used_now


@dataclass(frozen=True)
class Stretch:
    """Some of the time: what came of the requests that were due in it, and how the server was meanwhile."""

    name: str
    answers: Sequence[arrivals.Answer]
    looks: Sequence[Look]

    @property
    def refused(self) -> bool:
        """Whether a request had another answer than 200, or none."""
        return any(answer.status != 200 for answer in self.answers)

    @property
    def files(self) -> int:
        """The most that were open."""
        return max(look.files for look in self.looks)

    def time(self, percent: int) -> float:
        """That percentile of the milliseconds until the answers, had the core been as fast as in the beginning."""
        return arrivals.milliseconds(self.answers, percent) * self.mean("speed")

    def mean(self, what: str) -> float:
        """Of all looks."""
        return statistics.mean(getattr(look, what) for look in self.looks)

    def line(self) -> list[str]:
        """Of a table with TITLES."""
        times = [f"{self.time(percent):.1f} ms" for percent in (50, 99)]
        held = [f"{self.mean('used'):.0%}", f"{self.mean('memory'):.1f} MB", str(self.files)]
        return [self.name, f"{self.mean('speed'):.2f}", arrivals.statuses(self.answers), *times, *held]


def show(answers: Sequence[arrivals.Answer], looks: Sequence[Look], capacity: float, seconds: float) -> int:
    """Prints how the time went. Returns the exit code."""

    def stretch(name: str, start: float, end: float) -> Stretch:
        start, end = WARM + start, WARM + end
        return Stretch(name, arrivals.part(answers, start, end), [look for look in looks if start <= look.at < end])

    third = seconds / 3
    thirds = [stretch(f"{name} third", at * third, (at + 1) * third) for at, name in enumerate(THIRDS)]
    first, _, last = thirds
    limits = {
        "every request is answered": not any(some.refused for some in thirds),
        f"memory stays within {MEMORY - 1:.0%}": last.mean("memory") <= MEMORY * first.mean("memory"),
        "no more files are open": last.files <= first.files,
        f"the median stays within {MEDIAN - 1:.0%}": last.time(50) <= MEDIAN * first.time(50),
        f"the 99th percentile stays within {TAIL - 1:.0%}": last.time(99) <= TAIL * first.time(99),
    }
    print(f"\n{CALM:.0%} of {capacity:,.0f} requests/s for {seconds / 60:g} min.\n")
    print(table(TITLES, [some.line() for some in thirds]))
    print()
    print(table(["limit", "kept"], [[limit, "yes" if kept else "NO"] for limit, kept in limits.items()]))
    minutes = (stretch(f"minute {at + 1}", at * 60, (at + 1) * 60) for at in range(math.ceil(seconds / 60)))
    if spells := [some.line() for some in minutes if some.refused]:
        print(f"\n{table(TITLES, spells)}")
    return 0 if all(limits.values()) else 1


if __name__ == "__main__":
    main()
