"""Measures what a scrape of its metrics costs our model server, beside 1,000 requests a second.

Turns with and without a scraper alternate. The scraper asks much more often than Prometheus does, and the cost is
computed for Prometheus' interval, because fifteen seconds hold one scrape, which is too little to measure. CPU time of
the server counts, so that other programs of the machine disturb little. The exit code is 1 if the limit is missed.

Run it as `python -m bench.scraping`.
"""

import argparse
import os
import statistics
import sys
import threading
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager

from bench import arrivals
from bench.serving import body, cpu_seconds, judge, our_server, table
from monitoring.scrape import INTERVAL_SECONDS

PAUSE = 0.05
"""Seconds between two scrapes of a turn."""
LIMIT = 0.01


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000, help="requests per second (default: 1000)")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each side (default: 10)")
    parser.add_argument("--seconds", type=float, default=5, help="length of a turn in seconds (default: 5)")
    options = parser.parse_args()
    plain, each = list[float](), list[float]()
    with our_server("logistic") as served:
        metrics = f"http://127.0.0.1:{served.port}/metrics"

        def turn() -> float:
            """Return the seconds of CPU time that the server needs for one turn's requests."""
            load = arrivals.Load(served.port, arrivals.post(body(1)))
            before = cpu_seconds(served.group)
            arrivals.run(load, [(options.rate, options.seconds)])
            if {answer.status for answer in load.answers} != {200}:
                sys.exit(
                    f"the machine is too busy: {arrivals.statuses(load.answers)}; try again, or with a lower --rate"
                )
            return cpu_seconds(served.group) - before

        os.sched_setaffinity(0, {1})  # the server has core 0
        turn()
        for _ in range(options.rounds):
            alone = turn()
            with scraping(metrics) as scrapes:
                scraped = turn()
            plain.append(alone / options.seconds)
            each.append((scraped - alone) / len(scrapes))
        size = len(read(metrics))
    share = statistics.median(plain)
    cost = statistics.median(each)
    added = cost / INTERVAL_SECONDS
    rows = [
        [f"CPU of the server at {options.rate:,.0f} requests/s", f"{share:.1%} of a core"],
        [f"CPU time of one scrape ({size / 1024:.0f} KiB)", f"{cost * 1e3:.2f} ms"],
        [f"added by a scrape each {INTERVAL_SECONDS} s", f"{added / share:.3%} of the server's CPU"],
    ]
    print(table([f"median of {options.rounds} turns", "figure"], rows))
    sys.exit(0 if judge({f"scraping costs at most {LIMIT:.0%} of the server's CPU": added <= LIMIT * share}) else 1)


@contextmanager
def scraping(url: str) -> Generator[list[int]]:
    """Read the metrics again and again while the block runs; the list has the size of each answer."""
    sizes, over = list[int](), threading.Event()

    def scrape() -> None:
        while not over.is_set():
            sizes.append(len(read(url)))
            over.wait(PAUSE)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        yield sizes
    finally:
        over.set()
        scraper.join()


def read(url: str) -> bytes:
    """Return what Prometheus would get."""
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read()


if __name__ == "__main__":
    main()
