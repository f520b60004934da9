"""Our model server at 70 % of its capacity for long: memory, open files and latency stay where they were.

The server has one core, the load another. Requests arrive at a fixed rate. The first third of the time is compared with
the last. Ends with 1 when a limit is missed. The tables are Markdown.

Run it as `python -m bench.soak`.
"""

import argparse
import os
import statistics
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench import arrivals
from bench.serving import body, load, our_server, resident, table

CALM = 0.7  # of the capacity
EVERY = 2  # seconds between two looks at the process
WARM = 10  # seconds that do not count
MEMORY, MEDIAN, TAIL = 1.05, 1.2, 1.5


@dataclass(frozen=True)
class Look:
    """Seconds since the load began, MB in memory, and files open beside the connections of the load."""

    at: float
    memory: float
    files: int


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
        capacity = load(served.url, served.group, (options.rows, 16), 5, served.folder).rate
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
    start = perf_counter()
    while not done.wait(EVERY):
        files = len(list(Path(f"/proc/{group}/fd").iterdir())) - sent.connections
        looks.append(Look(perf_counter() - start, resident(group), files))


def show(answers: Sequence[arrivals.Answer], looks: Sequence[Look], capacity: float, seconds: float) -> int:
    """Prints how the time went. Returns the exit code."""
    bounds = [(WARM + seconds * third / 3, WARM + seconds * (third + 1) / 3) for third in range(3)]
    parts = [arrivals.part(answers, *bound) for bound in bounds]
    seen = [[look for look in looks if start <= look.at < end] for start, end in bounds]
    median, tail = ([arrivals.milliseconds(some, percent) for some in parts] for percent in (50, 99))
    memory = [statistics.mean(look.memory for look in some) for some in seen]
    files = [max(look.files for look in some) for some in seen]
    limits = {
        "every request is answered": {answer.status for some in parts for answer in some} == {200},
        f"memory stays within {MEMORY - 1:.0%}": memory[2] <= MEMORY * memory[0],
        "no more files are open": files[2] <= files[0],
        f"the median stays within {MEDIAN - 1:.0%}": median[2] <= MEDIAN * median[0],
        f"the 99th percentile stays within {TAIL - 1:.0%}": tail[2] <= TAIL * tail[0],
    }
    print(f"\n{CALM:.0%} of {capacity:,.0f} requests/s for {seconds / 60:g} min.\n")
    lines = [
        [name, arrivals.statuses(some), f"{one:.1f} ms", f"{other:.1f} ms", f"{held:.1f} MB", str(count)]
        for name, some, one, other, held, count in zip(
            ("first", "second", "last"), parts, median, tail, memory, files, strict=True
        )
    ]
    print(table(["third", "answers", "median", "p99", "memory", "other files"], lines))
    print()
    print(table(["limit", "kept"], [[limit, "yes" if kept else "NO"] for limit, kept in limits.items()]))
    return 0 if all(limits.values()) else 1


if __name__ == "__main__":
    main()
