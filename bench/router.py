"""Measures the router of an endpoint with two versions: Envoy in front of servers that only answer.

It prints a Markdown table: shares over 50,000 keys, the latency that the router adds (open loop, direct and routed
turns alternate), requests for each second of Envoy's CPU time, memory, and the latency beside a shadow that hangs.
"""

import argparse
import math
import os
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from bench import arrivals
from bench.router_processes import Running, World, keyed, router, send, versions, world

KEYS = 50_000
BODY = '{"dataframe_records": [{"a": 1.5, "b": 2.5, "c": 3.5, "d": 4.5}]}'
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000, help="requests per second of the open loop")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each side")
    chosen = parser.parse_args()
    print("| what | figure |\n| --- | --- |")
    with world() as servers:
        for name, figure in [*shares(servers), *added(servers, chosen.rate, chosen.rounds), *cost(servers)]:
            print(f"| {name} | {figure} |", flush=True)
    with world() as servers:
        for name, figure in beside_a_shadow(servers, chosen.rate, chosen.rounds):
            print(f"| {name} | {figure} |", flush=True)


def shares(servers: World) -> Iterator[tuple[str, str]]:
    """Yield the share of the challenger at each percentage, and the keys that a larger one takes back."""
    former = set[object]()
    for percent in (1, 10, 50):
        with router(servers.settings(percent)) as running:
            answered = versions(running.port, range(KEYS))
        found = {key for key, version in answered.items() if version == "8"}
        sigma = math.sqrt(KEYS * percent * (100 - percent)) / 100
        off = (len(found) - KEYS * percent / 100) / sigma
        back = len(former - found)
        yield f"{percent} % of {KEYS:,} keys", f"{len(found):,} keys, {off:+.1f} sigma; {back} keys went back"
        former = found


def added(servers: World, rate: float, rounds: int) -> Iterator[tuple[str, str]]:
    """Yield the latency without and with the router."""
    with router(servers.settings(10)) as running:
        yield from _turns({"direct": servers.champion.address.port, "routed": running.port}, rate, rounds)


def beside_a_shadow(servers: World, rate: float, rounds: int) -> Iterator[tuple[str, str]]:
    """Yield the latency without a shadow and with one that gets all requests and hangs."""
    with router(servers.settings()) as plain, router(servers.settings(mirrored=100)) as mirrored:
        servers.shadow.process.send_signal(signal.SIGSTOP)
        yield from _turns({"without a shadow": plain.port, "shadow hangs": mirrored.port}, rate, rounds)


def _turns(ports: dict[str, int], rate: float, rounds: int) -> Iterator[tuple[str, str]]:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ports}
    for _ in range(rounds):
        for name, port in ports.items():
            load = arrivals.Load(port, arrivals.post(BODY))
            arrivals.run(load, [(rate, 3.0)])
            found[name].append((arrivals.milliseconds(load.answers, 50), arrivals.milliseconds(load.answers, 99)))
    for name, turns in found.items():
        p50, p99 = (statistics.median(values) for values in zip(*turns, strict=True))
        yield f"{name}, {rate:,.0f} requests/s, median of {rounds} turns", f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"


def cost(servers: World) -> Iterator[tuple[str, str]]:
    """Yield requests per second of Envoy's CPU time, and its memory."""
    with router(servers.settings(10)) as running:
        asked, before, start = keyed(range(20_000)), _cpu_seconds(running), time.monotonic()
        send(running.port, asked, ahead=1, connections=16)
        used, took = _cpu_seconds(running) - before, time.monotonic() - start
        rss = next(
            int(line.split()[1]) // 1024
            for line in Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
            if line.startswith("VmRSS")
        )
    yield (
        "requests per CPU second of Envoy, 16 connections",
        f"{len(asked) / used:,.0f} ({len(asked) / took:,.0f} a second)",
    )
    yield "memory of Envoy", f"{rss} MiB"


def _cpu_seconds(running: Running) -> float:
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()
