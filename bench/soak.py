"""Our model server at 70 % of its capacity for long: memory, open files and latency stay where they were.

The server has one core, the load another. Requests arrive at a fixed rate. The first third of the time is compared with
the last. Ends with 1 when a limit is missed; each minute in which requests were refused is then shown, with what the
host took of the server's core meanwhile ("stolen"). The tables are Markdown.

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
from bench.serving import body, cpu_seconds, load, our_server, resident, table

CALM = 0.7  # of the capacity
EVERY = 2  # seconds between two looks at the process
WARM = 10  # seconds that do not count
CAPACITY_SECONDS = 30  # a machine that others share gives more or less from one second to the next
MEMORY, MEDIAN, TAIL = 1.05, 1.2, 1.5
THIRDS = ("first", "second", "last")
TITLES = ["", "answers", "median", "p99", "CPU", "stolen", "memory", "other files"]


@dataclass(frozen=True)
class Look:
    """Seconds since the load began, MB in memory, files open beside the connections of the load.

    `used` and `stolen` are the shares of the server's core that the server, and that other guests of the host had since
    the look before.
    """

    at: float
    memory: float
    files: int
    used: float
    stolen: float


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15, help="of load (default: 15)")
    parser.add_argument("--model", choices=["logistic", "forest", "pyfunc"], default="forest")
    parser.add_argument("--rows", type=int, default=100, help="of a request (default: 100)")
    options = parser.parse_args()
    seconds = options.minutes * 60
    with our_server(options.model) as served:
        load(served.url, served.group, (options.rows, 16), 2, served.folder)
        capacity = load(served.url, served.group, (options.rows, 16), CAPACITY_SECONDS, served.folder).rate
        os.sched_setaffinity(0, {1})
        sent, done = arrivals.Load(served.port, arrivals.post(body(options.rows))), threading.Event()
        looks: list[Look] = []
        watcher = threading.Thread(target=watch, args=(served.group, sent, looks, done))
        watcher.start()
        arrivals.run(sent, [(CALM * capacity, WARM + seconds)])
        done.set()
        watcher.join()
    sys.exit(show(sent.answers, looks, capacity, seconds))


def watch(group: int, sent: arrivals.Load, looks: list[Look], done: threading.Event) -> None:
    """Looks at the processes of the group until it is done."""
    start = before = perf_counter()
    used, stolen = cpu_seconds(group), stolen_seconds()
    while not done.wait(EVERY):
        files = len(list(Path(f"/proc/{group}/fd").iterdir())) - sent.connections
        now, used_now, stolen_now = perf_counter(), cpu_seconds(group), stolen_seconds()
        shares = ((used_now - used) / (now - before), (stolen_now - stolen) / (now - before))
        looks.append(Look(now - start, resident(group), files, *shares))
        before, used, stolen = now, used_now, stolen_now


def stolen_seconds() -> float:
    """What others have had of core 0, where the server is, while it had work."""
    core = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("cpu0 "))
    return int(core.split()[8]) / os.sysconf("SC_CLK_TCK")


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
        """That percentile of the milliseconds until the answers."""
        return arrivals.milliseconds(self.answers, percent)

    def mean(self, what: str) -> float:
        """Of all looks."""
        return statistics.mean(getattr(look, what) for look in self.looks)

    def line(self) -> list[str]:
        """Of a table with TITLES."""
        times = [f"{self.time(percent):.1f} ms" for percent in (50, 99)]
        shares = [f"{self.mean('used'):.0%}", f"{self.mean('stolen'):.1%}"]
        held = [f"{self.mean('memory'):.1f} MB", str(self.files)]
        return [self.name, arrivals.statuses(self.answers), *times, *shares, *held]


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
