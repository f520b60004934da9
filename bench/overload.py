"""Loads our model server with three times its capacity: what it answers, how fast it refuses, how it recovers.

The server has one core, the load generator another. A closed loop of 16 connections measures the capacity first. Then
requests arrive at fixed rates: 70 % of the capacity, three times the capacity, and 70 % again. The exit code is 1 if a
limit is missed. The table is Markdown. A request has 100 rows, by default for a forest of 200 trees, because one core
could not send enough of cheaper requests.

Run it as `python -m bench.overload`.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from bench import arrivals
from bench.arrivals import Answer
from bench.serving import Figures, body, cpu_seconds, judge, load, our_server, table

ROWS = 100
STEADY = 0.7  # share of the capacity
TIMES = 3
BEFORE, AFTER = 10, 10  # seconds at this rate
RECOVERY = 2  # seconds for the recovery
GOODPUT, REFUSED_MS, SLOWER = 0.8, 50, 2


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="seconds of overload (default: 60)")
    parser.add_argument("--model", choices=["logistic", "forest", "pyfunc"], default="forest")
    options = parser.parse_args()
    with our_server(options.model) as served:
        load(served.url, served.group, (ROWS, 16), 2, served.folder)
        peak = load(served.url, served.group, (ROWS, 16), 5, served.folder)
        os.sched_setaffinity(0, {1})
        sent = arrivals.Load(served.port, arrivals.post(body(ROWS)))
        steady, over = STEADY * peak.rate, TIMES * peak.rate
        before = cpu_seconds(served.group)
        arrivals.run(sent, [(steady, BEFORE), (over, options.seconds), (steady, AFTER)])
        used = cpu_seconds(served.group) - before
    sys.exit(show(sent.answers, peak, used, options.seconds))


def show(answers: Sequence[Answer], peak: Figures, used: float, seconds: float) -> int:
    """Print the outcome of the load. Return the exit code."""
    end, capacity = BEFORE + seconds, peak.rate
    # The first two seconds do not count, because they open the connections.
    before, during = arrivals.part(answers, 2, BEFORE), arrivals.part(answers, BEFORE, end)
    recovered = arrivals.part(answers, end + RECOVERY, end + AFTER)
    goodput = sum(answer.status == 200 for answer in during) / seconds
    refused = arrivals.milliseconds(during, 99, 429)
    steady, again = (arrivals.milliseconds(some, 50) for some in (before, recovered))
    limits = {
        f"goodput is above {GOODPUT:.0%} of the capacity": goodput > GOODPUT * capacity,
        f"99 % of the refusals arrive within {REFUSED_MS} ms": 0 < refused <= REFUSED_MS,
        "all other requests are refused with 429": {answer.status for answer in during} <= {200, 429},
        f"{RECOVERY} s later, every request is answered, with at most {SLOWER} times the median latency": (
            {answer.status for answer in recovered} == {200} and again <= SLOWER * steady
        ),
    }
    print(f"\nCapacity: {capacity:,.0f} requests/s.\n")
    parts = {f"{STEADY:.0%} of capacity": before, f"{TIMES} times": during, f"{STEADY:.0%} again": recovered}
    print(table(["load", "answers", "200, median", "200, p99", "429, p99"], [_line(*one) for one in parts.items()]))
    answered = sum(answer.status == 200 for answer in answers)
    print(f"\nGoodput under {TIMES} times the capacity: {goodput:,.0f}/s, {goodput / capacity:.0%} of it.", end=" ")
    print(f"CPU for each 200, refusals included: {used / answered * 1e3:.2f} ms; {peak.cpu:.2f} ms at capacity.")
    return 0 if judge(limits) else 1


def _line(name: str, some: Sequence[Answer]) -> list[str]:
    times = [arrivals.milliseconds(some, 50), arrivals.milliseconds(some, 99), arrivals.milliseconds(some, 99, 429)]
    return [name, arrivals.statuses(some), *(f"{time:,.1f} ms" for time in times)]


if __name__ == "__main__":
    main()
