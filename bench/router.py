"""Measures the router of an endpoint with two versions: Envoy in front of servers that only answer.

It prints a Markdown table with the goal of each figure: shares over 50,000 keys, the latency that the router adds, its
requests for each second of CPU time, its memory, and the latency that a hanging shadow adds. Envoy has a core of its
own; servers and client are on other cores. Latency is that of an open loop at half of the rate that one core must
bear. The turns of both sides alternate, and a figure is the median of the differences between neighbouring turns, with
its 95 % interval, so that other work on the machine, which lasts longer than a turn, affects both sides alike. Where it
may, the measurement comes before that other work.
"""

import argparse
import math
import os
import signal
import statistics
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import arrivals
from bench.router_processes import Running, World, keyed, router, send, versions, world

KEYS = 50_000
BODY = '{"dataframe_records": [{"a": 1.5, "b": 2.5, "c": 3.5, "d": 4.5}]}'
TICKS = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
ENVOY, SERVERS, CLIENT = (CORES[min(place, len(CORES) - 1)] for place in range(3))
"""Core of Envoy, core of the servers, and core of the client; on two cores, servers and client share one."""
ONE_CORE = 5000
"""Requests per second that one core must bear."""
WARM_SECONDS = 0.3
"""Seconds at the start of a turn that do not count, because connections are opened."""


@dataclass(frozen=True)
class Figure:
    """Row of the table."""

    name: str
    """Name of the measured quantity, for the first column."""
    text: str
    """Figure with its unit."""
    goal: str = ""
    """Goal in words; empty if there is none."""
    reached: bool = True
    """True if the figure reaches the goal, or if there is none. Default: True."""


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=ONE_CORE / 2, help="requests per second of the open loop")
    parser.add_argument("--rounds", type=int, default=40, help="turns of each side (default: 40)")
    parser.add_argument("--seconds", type=float, default=1.3, help="seconds of a turn (default: 1.3)")
    chosen = parser.parse_args()
    with suppress(OSError):  # only root may
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        Path("/proc/self/autogroup").write_text("-20")
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {len(CORES)} cores\n")
    print("| what | figure | goal | reached |\n| --- | --- | --- | --- |")
    turns = Turns(chosen.rate, chosen.rounds, chosen.seconds)
    with servers() as made:
        for figure in (*shares(made), *cost(made), *added(made, turns)):
            show(figure)
    with servers() as made:
        for figure in beside_a_shadow(made, turns):
            show(figure)
    print(f"\nload of the machine after: {os.getloadavg()[0]:.1f}; of it, the measurement itself takes up to 2")


def show(figure: Figure) -> None:
    """Print one row."""
    reached = ("yes" if figure.reached else "**no**") if figure.goal else ""
    print(f"| {figure.name} | {figure.text} | {figure.goal} | {reached} |", flush=True)


@contextmanager
def on_core(core: int) -> Generator[None]:
    """Run what the block starts, and the block itself, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def servers() -> Generator[World]:
    """Yield three servers on their core; the client in the block is on its own."""
    with ExitStack() as stack:
        with on_core(SERVERS):
            made = stack.enter_context(world())
        stack.enter_context(on_core(CLIENT))
        yield made


@contextmanager
def envoy(made: World, percent: int = 0, *, mirrored: int = 0) -> Generator[Running]:
    """Yield a router on Envoy's core."""
    with ExitStack() as stack:
        with on_core(ENVOY):
            running = stack.enter_context(router(made.settings(percent, mirrored=mirrored)))
        yield running


def shares(made: World) -> Iterator[Figure]:
    """Yield the share of the challenger at each percentage, and the keys that a larger one takes back."""
    former = set[object]()
    for percent in (1, 10, 50):
        with envoy(made, percent) as running:
            answered = versions(running.port, range(KEYS))
        found = {key for key, version in answered.items() if version == "8"}
        sigma = math.sqrt(KEYS * percent * (100 - percent)) / 100
        off = (len(found) - KEYS * percent / 100) / sigma
        back = len(former - found)
        yield Figure(
            f"{percent} % of {KEYS:,} keys",
            f"{len(found):,} keys, {off:+.1f} sigma; {back} keys went back",
            "3 sigma, 0 keys",
            reached=abs(off) <= 3 and not back,
        )
        former = found


def cost(made: World) -> Iterator[Figure]:
    """Yield requests per second of Envoy's CPU time, and its memory."""
    with envoy(made, 10) as running:
        idle = _mebibytes(running)
        asked, before = keyed(range(40_000)), _cpu_seconds(running)
        send(running.port, asked, ahead=1, connections=16)
        rate, busy = len(asked) / (_cpu_seconds(running) - before), _mebibytes(running)
    yield Figure(
        "requests for each second of Envoy's CPU time, 16 connections",
        f"{rate:,.0f}",
        f"{ONE_CORE:,}",
        reached=rate >= ONE_CORE,
    )
    yield Figure(
        "memory that the router adds",
        f"{busy} MiB under load, {idle} MiB before; 0 without a router",
        "100 MB",
        reached=busy << 20 < 100_000_000,
    )


@dataclass(frozen=True)
class Turns:
    """Alternating turns of load on two sides."""

    rate: float
    """Requests per second of the open loop."""
    rounds: int
    """Number of turns of each side."""
    seconds: float
    """Seconds of a turn."""

    def measure(self, ports: Mapping[str, int], goals: Mapping[int, float]) -> Iterator[Figure]:
        """Yield percentiles of both sides and what the second side adds, with goals in milliseconds."""
        found: dict[str, list[Mapping[int, float]]] = {name: [] for name in ports}
        for number in range(self.rounds):
            for name, port in sorted(ports.items(), reverse=bool(number % 2)):
                load = arrivals.Load(port, arrivals.post(BODY))
                arrivals.run(load, [(self.rate, self.seconds)])
                if failed := [answer for answer in load.answers if answer.status != 200]:
                    raise RuntimeError(f"{name}: {len(failed)} requests of a turn failed: {failed[0]}")
                warm = arrivals.part(load.answers, WARM_SECONDS, self.seconds)
                found[name].append({percent: arrivals.milliseconds(warm, percent) for percent in goals})
        (without, first), (with_it, second) = found.items()
        what = f"{self.rate:,.0f} requests/s, {self.rounds} turns of {self.seconds} s"
        for percent, goal in goals.items():
            pairs = [(one[percent], other[percent]) for one, other in zip(first, second, strict=True)]
            plain, changed = (statistics.median(values) for values in zip(*pairs, strict=True))
            low, middle, high = median([other - one for one, other in pairs])
            yield Figure(
                f"p{percent} {without} and {with_it}, {what}",
                f"{plain:.2f} and {changed:.2f} ms: {middle:+.2f} ms ({low:+.2f} to {high:+.2f})",
                f"{goal:+g} ms",
                reached=middle <= goal,
            )


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median between the ends of its 95 % interval, which are values in their order (sign test)."""
    ordered, off = sorted(values), math.ceil(0.98 * math.sqrt(len(values)))
    middle = len(ordered) // 2
    return ordered[max(0, middle - off)], statistics.median(ordered), ordered[min(len(ordered) - 1, middle + off)]


def added(made: World, turns: Turns) -> Iterator[Figure]:
    """Yield the latency without and with the router."""
    with envoy(made, 10) as running:
        ports = {"without the router": made.champion.address.port, "with it": running.port}
        yield from turns.measure(ports, {50: 0.3, 99: 1})


def beside_a_shadow(made: World, turns: Turns) -> Iterator[Figure]:
    """Yield the latency without a shadow and with one that gets copies of all requests and hangs."""
    with envoy(made) as plain, envoy(made, mirrored=100) as mirrored:
        made.shadow.process.send_signal(signal.SIGSTOP)
        ports = {"without a shadow": plain.port, "with one that hangs": mirrored.port}
        yield from turns.measure(ports, {99: 1})


def _mebibytes(running: Running) -> int:
    lines = Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))


def _cpu_seconds(running: Running) -> float:
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()
