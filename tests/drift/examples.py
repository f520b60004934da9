"""Windows of a small model's log: a number, a count, a category and a prediction."""

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from drift.reference import Reference, parse
from drift.window import Window
from tests.training.test_project import declared
from training.fit import reference_profile
from training.fit.predictions import BinaryPredictions
from training.project import categories, integers, numbers
from training.projects import churn

START = datetime(2026, 11, 24, tzinfo=UTC)
DAY = timedelta(days=1)
PROJECT = declared(columns=[*numbers("size", "weight"), *integers("count"), *categories("word")])


def rows(count: int, seed: int) -> pd.DataFrame:
    """Return rows: `size` and `weight` belong together, and the label follows `size`."""
    chance = np.random.default_rng(seed)
    size = chance.gamma(2.0, 10.0, count)
    return pd.DataFrame(
        {
            "size": size,
            "weight": size + chance.normal(0, 3, count),
            "count": chance.integers(0, 4, count),
            "word": pd.Categorical(chance.choice(["a", "b", "c"], count, p=[0.6, 0.3, 0.1])),
            "probability": 1 / (1 + np.exp(2 - size / 10)),
        }
    )


def predictions(table: pd.DataFrame, seed: int = 0) -> BinaryPredictions:
    probability = table["probability"].to_numpy()
    truth = np.random.default_rng(seed).random(len(table)) < probability
    return BinaryPredictions(truth=truth, predicted=probability > 0.5, probability=probability)


def profile(seed: int = 1) -> dict[str, Any]:
    known, unseen = rows(4_000, seed), rows(1_500, seed + 1000)
    return dict(reference_profile.describe(PROJECT, known, predictions(unseen)))


@cache
def reference(seed: int = 1) -> Reference:
    return parse(profile(seed), "model version 1")


def times(count: int, seed: int = 0) -> np.ndarray[Any, Any]:
    offsets = np.random.default_rng(seed).integers(DAY // timedelta(microseconds=1), size=count)
    return int(START.timestamp()) * 1_000_000 + np.sort(offsets)


def logged(table: pd.DataFrame, at: np.ndarray[Any, Any] | None = None, ids: str = "request") -> pa.Table:
    """Return the rows as a file of the prediction log holds them."""
    count = len(table)
    labels = np.where(table["probability"] > 0.5, "Yes", "No")
    columns: Mapping[str, Any] = {
        "request_id": pa.array([f"{ids}-{number}" for number in range(count)], pa.string()),
        "row": pa.array([0] * count, pa.int32()),
        "at": pa.array(times(count) if at is None else at, pa.timestamp("us", tz="UTC")),
        "latency_ms": pa.array([1.5] * count, pa.float64()),
        "input_size": pa.array(table["size"], pa.float64(), from_pandas=True),
        "input_weight": pa.array(table["weight"], pa.float64(), from_pandas=True),
        "input_count": pa.array(table["count"], pa.int64()),
        "input_word": pa.array(table["word"].astype(object), pa.string(), from_pandas=True),
        "prediction": pa.array(labels.tolist(), pa.string()),
    }
    return pa.table(columns)


def window(table: pd.DataFrame, about: Reference, at: np.ndarray[Any, Any] | None = None) -> Window:
    made = Window(about, START, START + DAY)
    made.add(logged(table, at))
    return made


def write(
    folder: Path, table: pa.Table, *, model: str = "model", version: int = 1, hour: int = 0, day: datetime = START
) -> Path:
    """Write a file of the log of one day, and return its path."""
    where = folder / f"predictions/model={model}/version={version}/date={day:%Y-%m-%d}/hour={hour:02d}"
    where.mkdir(parents=True, exist_ok=True)
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    file = where / f"pod-{len(list(where.iterdir()))}.parquet"
    file.write_bytes(sink.getvalue())
    return file


def write_customers(
    folder: Path, table: pd.DataFrame, day: datetime, *, model: str, answers: Sequence[str] = (), redact: str = ""
) -> None:
    """Write the log of one day of version 1 of the churn model: the rows of a table, spread over the day.

    Args:
        folder: store of the log.
        table: customers, with the columns of the project.
        day: start of the day.
        model: name of the model.
        answers: prediction of each row; empty for No.
        redact: column whose values are not written; empty for none.
    """
    count = len(table)
    at = [int(day.timestamp()) * 1_000_000 + number * 86_400_000_000 // count for number in range(count)]
    names = {"request_id": pa.array([f"{day:%d}-{n}" for n in range(count)]), "row": pa.array([0] * count, pa.int32())}
    columns = {**names, "at": pa.array(at, pa.timestamp("us", tz="UTC"))}
    for column in churn.PROJECT.columns:
        kind = pa.string() if column.kind == "category" else pa.float64()
        values = table[column.name].astype(object) if column.kind == "category" else table[column.name]
        columns[f"input_{column.name}"] = pa.array(values, kind, from_pandas=True)
    columns.pop(f"input_{redact}", None)
    write(folder, pa.table({**columns, "prediction": pa.array([*answers] or ["No"] * count)}), model=model, day=day)
