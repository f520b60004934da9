"""Three times the load that our model server can take: what it still answers, how soon it refuses, how it recovers.

The server has one core, the load another. Its capacity is measured first, in a closed loop of 16 connections. Then
requests arrive at fixed rates: 70 % of the capacity, three times the capacity, and 70 % again. Ends with 1 when a limit
is missed. The table is Markdown. Requests are 100 rows of a forest of 200 trees: of requests that cost the server less,
one core could not send enough.

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
CALM = 0.7  # of the capacity
TIMES = 3
BEFORE, AFTER = 10, 10  # seconds at the calm rate
RECOVERY = 2  # seconds
GOODPUT, REFUSED_MS, SLOWER = 0.8, 50, 2


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of overload (default: 60)")
    parser.add_argument("--model", choices=["logistic", "forest", "pyfunc"], default="forest")
    options = parser.parse_args()
    with our_server(options.model) as served:
        load(served.url, served.group, (ROWS, 16), 2, served.folder)
        peak = load(served.url, served.group, (ROWS, 16), 5, served.folder)
        os.sched_setaffinity(0, {1})
        sent = arrivals.Load(served.port, arrivals.post(body(ROWS)))
        calm, over = CALM * peak.rate, TIMES * peak.rate
        before = cpu_seconds(served.group)
        arrivals.run(sent, [(calm, BEFORE), (over, options.seconds), (calm, AFTER)])
        used = cpu_seconds(served.group) - before
    sys.exit(show(sent.answers, peak, used, options.seconds))


def show(answers: Sequence[Answer], peak: Figures, used: float, seconds: float) -> int:
    """Prints what became of the load. Returns the exit code."""
    end, capacity = BEFORE + seconds, peak.rate
    # Connections are opened in the first seconds.
    before, during = arrivals.part(answers, 2, BEFORE), arrivals.part(answers, BEFORE, end)
    recovered = arrivals.part(answers, end + RECOVERY, end + AFTER)
    goodput = sum(answer.status == 200 for answer in during) / seconds
    refused = arrivals.milliseconds(during, 99, 429)
    calm, again = (arrivals.milliseconds(some, 50) for some in (before, recovered))
    limits = {
        f"goodput is over {GOODPUT:.0%} of the capacity": goodput > GOODPUT * capacity,
        f"99 % of the refusals come within {REFUSED_MS} ms": 0 < refused <= REFUSED_MS,
        "what is not answered is refused with 429": {answer.status for answer in during} <= {200, 429},
        f"{RECOVERY} s after it, every request is answered, at most {SLOWER} times as slowly (median)": (
            {answer.status for answer in recovered} == {200} and again <= SLOWER * calm
        ),
    }
    print(f"\nCapacity: {capacity:,.0f} requests/s.\n")
    parts = {f"{CALM:.0%} of it": before, f"{TIMES} times": during, f"{CALM:.0%} again": recovered}
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
