"""Joins outcomes, which say what really happened, to the predictions of one version, and measures the version."""

import io
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from prediction_log import log
from prediction_log.log import Part, Unreadable
from prediction_log.outcomes import KEY, Outcomes, Refused, as_text
from prediction_log.store import Store
from training.data import reading
from training.fit import metrics
from training.fit.metrics import Estimate
from training.fit.predictions import BinaryPredictions
from training.project import Classifier, Project

SKEW = timedelta(minutes=1)
"""Time by which an outcome may seem to come before its prediction, because the clocks of machines differ."""
LEAST = 50
"""Smallest number of outcomes of a day for which metrics are computed."""


@dataclass(frozen=True, kw_only=True)
class Day:
    """Outcomes of the predictions of one day."""

    day: str
    predictions: int
    """Rows that were predicted."""
    outcomes: int
    """Rows whose outcome is known."""
    metrics: Mapping[str, Estimate]
    """Metrics with 95 % intervals; empty if there are too few outcomes, or only one label."""


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Predictions with their outcomes."""

    part: Part
    table: pd.DataFrame
    """Joined rows: `request_id`, `row`, `at`, `prediction`, `outcome_at`, the features, and the target."""
    predictions: int
    """Rows that were predicted in the window."""
    refused: Refused
    lag: tuple[timedelta, timedelta] | None
    """Median and 95th percentile of the time from prediction to outcome; None if no outcome has a time."""
    days: Sequence[Day]
    whole: Mapping[str, Estimate]
    """Metrics of all joined rows; empty if there are too few, or only one label."""
    expected: Mapping[str, tuple[float, float]]
    """Interval that the training measured, by metric."""
    notes: Sequence[str]

    @property
    def coverage(self) -> float:
        """Share of the predictions whose outcome is known, 0 to 1."""
        return len(self.table) / self.predictions if self.predictions else 0.0

    @property
    def worse(self) -> Sequence[str]:
        """Names of the metrics that are certainly below what the training measured."""
        return [name for name, (low, _) in self.expected.items() if name in self.whole and self.whole[name].high < low]


def join(
    store: Store,
    part: Part,
    outcomes: Outcomes,
    *,
    project: Project[Any],
    model: Classifier | None,
    expected: Mapping[str, tuple[float, float]],
) -> Joined:
    """Join the outcomes to a part of the prediction log.

    Args:
        store: store of the prediction log.
        part: version and window.
        outcomes: outcomes of any predictions.
        project: project of the model, which names features, target and labels.
        model: model, for ROC-AUC; None: only accuracy and f1 are computed.
        expected: interval that the training measured, by metric.
    """
    refused, unreadable = deepcopy(outcomes.refused), Unreadable()
    usable = _usable(outcomes, project, refused)
    found, predicted = _predictions(store, part, usable, project.features, unreadable)
    merged = usable.merge(found, on=KEY, how="left")
    _refuse(refused, "unknown request", merged.loc[merged["at"].isna().to_numpy(dtype=bool)])
    merged = merged.dropna(subset=["at"])
    seconds: NDArray[np.float64] = (merged["outcome_at"] - merged["at"]).dt.total_seconds().to_numpy()
    early = seconds < -SKEW.total_seconds()  # False where the time of the outcome is unknown
    _refuse(refused, "before the prediction", merged.loc[early])
    merged = merged.loc[~early].rename(columns={"label": project.target.name})
    lag = np.maximum(seconds[~early & ~np.isnan(seconds)], 0)
    lags: list[float] = np.quantile(lag, [0.5, 0.95]).tolist() if len(lag) else []
    notes = [*outcomes.notes, *unreadable.notes]
    if model and (absent := [name for name in project.features if name not in merged]):
        notes.append(f"roc_auc is not computed, because the log does not have {', '.join(absent)} (`redact`)")
        model = None
    scored = _scored(merged, project, model)
    day = merged["at"].dt.strftime("%Y-%m-%d")
    days = [
        Day(
            day=str(one),
            predictions=count,
            outcomes=int((day == one).sum()),
            metrics=_metrics(scored, (day == one).to_numpy(), with_area=model is not None),
        )
        for one, count in sorted(predicted.items())
    ]
    return Joined(
        part=part,
        table=merged.reset_index(drop=True),
        predictions=sum(predicted.values()),
        refused=refused,
        lag=(timedelta(seconds=lags[0]), timedelta(seconds=lags[1])) if lags else None,
        days=days,
        whole=_metrics(scored, np.ones(len(merged), dtype=bool), with_area=model is not None),
        expected=expected,
        notes=notes,
    )


def _usable(outcomes: Outcomes, project: Project[Any], refused: Refused) -> pd.DataFrame:
    """Return the outcomes whose label is one of the project's."""
    table = outcomes.table.set_column(2, "label", as_text(outcomes.table["label"]))
    frame: pd.DataFrame = table.rename_columns([*KEY, "label", "outcome_at"]).to_pandas()
    known = frame["label"].isin(project.target.labels)
    _refuse(refused, f"label other than {' and '.join(project.target.labels)}", frame[~known])
    return frame[known]


def _refuse(refused: Refused, reason: str, rows: pd.DataFrame) -> None:
    refused.add(reason, len(rows), rows["request_id"].tolist(), rows["row"].tolist())


def _is_read(column: str) -> bool:
    return column in {"request_id", "row", "at", "latency_ms", "prediction"} or column.startswith("input_")


def _predictions(
    store: Store, part: Part, outcomes: pd.DataFrame, features: Sequence[str], unreadable: Unreadable
) -> tuple[pd.DataFrame, Mapping[str, int]]:
    """Return the predictions that have an outcome, and the number of predicted rows by day."""
    wanted = set(outcomes["request_id"])
    parts: list[pd.DataFrame] = []
    by_day: dict[str, int] = {}
    for _, table in log.tables(store, log.files(store, part), _is_read, unreadable):
        rows: pd.DataFrame = table.to_pandas()
        rows = rows[(rows["at"] >= part.start) & (rows["at"] < part.end)]
        for day, count in rows["at"].dt.strftime("%Y-%m-%d").value_counts().items():
            by_day[str(day)] = by_day.get(str(day), 0) + int(count)
        parts.append(rows[rows["request_id"].isin(wanted)])
    if not parts:
        empty = pd.DataFrame(columns=[*KEY, "at", "prediction", *features], dtype=object)
        return empty.astype({"row": "int64", "at": "datetime64[us, UTC]"}), by_day
    found = pd.concat(parts, ignore_index=True)
    found.columns = [name.removeprefix("input_") for name in found.columns]
    # A client that sends two requests with one id gets the first prediction joined.
    return found.sort_values("at").drop_duplicates(KEY), by_day


def _scored(merged: pd.DataFrame, project: Project[Any], model: Classifier | None) -> BinaryPredictions:
    interesting = project.target.labels[-1]
    probability = np.zeros(len(merged))
    if model is not None and len(merged):
        rows = reading.in_nanoseconds(project, merged[project.features])
        probability = model.predict_proba(rows)[:, list(model.classes_).index(interesting)]
    return BinaryPredictions(
        truth=(merged[project.target.name] == interesting).to_numpy(),
        predicted=(merged["prediction"] == interesting).to_numpy(),
        probability=probability,
    )


def _metrics(scored: BinaryPredictions, rows: NDArray[np.bool_], *, with_area: bool) -> Mapping[str, Estimate]:
    some = scored.only(rows)
    if len(some.truth) < LEAST or some.truth.all() or not some.truth.any():
        return {}
    found = metrics.estimate(some, seed=7)
    return {name: one for name, one in found.items() if with_area or name != "roc_auc"}


def as_parquet(joined: Joined) -> bytes:
    """Return the joined rows as a Parquet file, which is a dataset for the training of the project."""
    sink, table = io.BytesIO(), joined.table
    times = ("at", "outcome_at")
    written = pa.Table.from_pandas(table.drop(columns=[*times]), preserve_index=False)
    for name in times:
        written = written.append_column(name, pa.array(table[name].astype("int64"), pa.timestamp("us", "UTC")))
    parquet.write_table(written, sink, compression="zstd")
    return sink.getvalue()
