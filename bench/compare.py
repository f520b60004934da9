"""Compares our model server with that of another checkout, in alternating turns on one machine.

    git worktree add ../before COMMIT
    python -m bench.compare ../before

Both servers stay up on core 0; wrk on core 1 loads them one after the other, in changing order. Each turn gives three
ratios of this checkout to the other: requests per second, the 99th percentile of the latency, and CPU milliseconds for
each request, which other work on the machine affects least. The Markdown table shows medians, and geometric mean ratios
with their 95 % intervals. The exit code is 1 if an interval of the requests per second reaches below 0.9.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median, stdev

from bench.serving import MODELS, ROOT, Figures, commands, free_port, judge, load, make_models, serving, table

LEAST = 0.9
CONNECTIONS = 16
STUDENT = 2.05  # two-sided 95 % quantile of Student's distribution for 30 turns


def main() -> None:
    """Print one line for each model and each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument("--turns", type=int, default=30, help="turns of each server (default: 30)")
    parser.add_argument("--seconds", type=int, default=1, help="seconds of a turn (default: 1)")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 100], help="rows of a request (default: 1 100)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["logistic", "forest", "xgboost"])
    options = parser.parse_args()
    lines: list[list[str]] = []
    limits: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_models(folder / "models")
        for model in options.models:
            for rows, turns in measured(model, folder, options).items():
                rate = interval([math.log(here.rate / there.rate) for there, here in turns])
                tail = interval([math.log(here.p99 / there.p99) for there, here in turns])
                cpu = interval([math.log(here.cpu / there.cpu) for there, here in turns])
                here, there = ([pair[place] for pair in turns] for place in (1, 0))
                title = f"{model}, {rows} row{'s' * (rows > 1)}"
                ratios = [f"{mean:.3f} ({low:.3f} to {high:.3f})" for mean, low, high in (rate, tail, cpu)]
                lines.append([title, shown(there), shown(here), *ratios])
                limits[f"{title}: above {LEAST}"] = rate[1] > LEAST
    print(f"{options.turns} turns of {options.seconds} s, {CONNECTIONS} connections; medians, and mean ratios:\n")
    print(table(["", "there", "here", "ratio of requests (95 %)", "ratio of p99", "ratio of CPU"], lines))
    sys.exit(0 if judge(limits) else 1)


def measured(model: str, folder: Path, options: argparse.Namespace) -> dict[int, list[tuple[Figures, Figures]]]:
    """Return, for each number of rows, the figures of each turn: the other checkout's, then this one's."""
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}/invocations" for port in ports]
    (command, env), (command_here, env_here) = (
        commands(model, folder / "models", port, Path())["ours"] for port in ports
    )
    env_there = env | {"PYTHONPATH": str(options.other.resolve())}
    if not (options.other / "model_server").is_dir():  # the package's former name
        command = [word.replace("model_server.", "serving.") for word in command]
    with (
        serving(command, env_there, urls[0], folder / "there.log") as (_, there),
        serving(command_here, env_here | {"PYTHONPATH": str(ROOT)}, urls[1], folder / "here.log") as (_, here),
    ):
        groups, found = [there, here], dict[int, list[tuple[Figures, Figures]]]()
        for rows in options.rows:
            case = (rows, CONNECTIONS)
            for url, group in zip(urls, groups, strict=True):
                load(url, group, case, 1, folder)
            turns: list[tuple[Figures, Figures]] = []
            while len(turns) < options.turns:
                order = (0, 1) if len(turns) % 2 else (1, 0)
                figures = {at: load(urls[at], groups[at], case, options.seconds, folder) for at in order}
                # A turn without requests, on a busy machine, does not count.
                if all(one.rate and one.cpu and one.p99 for one in figures.values()):
                    turns.append((figures[0], figures[1]))
            found[rows] = turns
            print(f"{model}, {rows}: done", file=sys.stderr)
    return found


def interval(logarithms: Sequence[float]) -> tuple[float, float, float]:
    """Return the geometric mean ratio, and the ends of its 95 % interval."""
    middle, half = fmean(logarithms), STUDENT * stdev(logarithms) / math.sqrt(len(logarithms))
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def shown(turns: Sequence[Figures]) -> str:
    """Return the medians of a server's turns as text."""
    rate, p99, cpu = (median(getattr(turn, kind) for turn in turns) for kind in ("rate", "p99", "cpu"))
    return f"{rate:,.0f} requests/s, p99 {p99:.1f} ms, CPU {cpu:.3f} ms"


if __name__ == "__main__":
    main()
