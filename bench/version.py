"""Measures the model server on one version of a model beside `mlflow models serve`, with one row of its input example.

Each server has one core, and wrk another. Both run at the same time, and wrk loads one after the other in alternating
turns; the table shows medians and their ratio. Run it as `python -m bench.version FOLDER`; the folder holds the files
of the version: MLmodel, its model and `serving_input_example.json`.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from bench.serving import ROOT, commands, free_port, load, serving, table

EXAMPLE = "serving_input_example.json"


def main() -> None:
    """Print a table of both servers."""
    parser = argparse.ArgumentParser(description="The model server on one version beside `mlflow models serve`.")
    parser.add_argument("folder", type=Path, help="files of the version")
    parser.add_argument("--connections", type=int, default=16, help="connections of wrk (default: 16)")
    parser.add_argument("--turns", type=int, default=5, help="runs of wrk for each server (default: 5)")
    parser.add_argument("--seconds", type=int, default=2, help="seconds of each run (default: 2)")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    sent = one_row(folder / EXAMPLE)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as running:
        place = Path(scratch)
        shutil.copytree(folder, place / "models" / "version" / "1")
        servers = dict[str, tuple[str, int]]()
        for name in ("mlflow", "ours"):
            port = free_port()
            command, env = commands("version", place / "models", port, Path())[name]
            url = f"http://127.0.0.1:{port}/invocations"
            # A class of this repository may be part of the model.
            env = {**env, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])}
            _, group = running.enter_context(serving(command, env, url, place / f"{name}.log", sent))
            servers[name] = url, group
        measured = {name: list[tuple[float, float]]() for name in servers}
        for _ in range(options.turns):
            for name, (url, group) in servers.items():
                figures = load(url, group, (1, options.connections), options.seconds, place, sent=sent)
                measured[name].append((figures.rate, figures.cpu))
    medians = {
        name: [statistics.median(column) for column in zip(*each, strict=True)] for name, each in measured.items()
    }
    lines = [[name, f"{rate:,.0f}", f"{cpu:.3f}"] for name, (rate, cpu) in medians.items()]
    (theirs, their_cpu), (ours, our_cpu) = medians["mlflow"], medians["ours"]
    lines.append(["ratio", f"{ours / theirs:.1f}", f"{their_cpu / our_cpu:.1f}"])
    print(table(["server", "requests/s", "CPU ms/request"], lines))


def one_row(example: Path) -> str:
    """Return the body of a request with the first row of an input example."""
    try:
        split = cast("dict[str, Any]", json.loads(example.read_text())["dataframe_split"])
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"{example} is no input example with dataframe_split ({error}); name the folder of a version with one")
    return json.dumps({"dataframe_split": {**split, "data": split["data"][:1]}})


if __name__ == "__main__":
    main()
