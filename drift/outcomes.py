"""Outcomes: what really happened, joined to the prediction log by request and row.

Outcomes are files in CSV or Parquet with the columns `request_id`, `row` (0 if it is left out), `label` (or the name of
the target), and `at`, the time when the outcome was known.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from drift import log
from drift.log import Part, Trouble
from drift.store import Store
from training.fit import metrics
from training.fit.metrics import Estimate
from training.fit.predictions import BinaryPredictions
from training.project import Classifier, Project

KEY = ["request_id", "row"]
SKEW = timedelta(minutes=1)
"""Time by which an outcome may seem to come before its prediction, because the clocks of machines differ."""
LISTED = 5
"""Number of examples that are kept of each kind of outcome that is not joined."""
LEAST = 50
"""Smallest number of outcomes of a day for which metrics are computed."""


@dataclass(kw_only=True)
class Refused:
    """Outcomes that are not joined, by reason."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    examples: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, reason: str, rows: pd.DataFrame) -> None:
        """Count the rows under the reason, and keep a few as examples."""
        if len(rows):
            self.counts[reason] = self.counts.get(reason, 0) + len(rows)
            shown = [f"{one} row {row}" for one, row in zip(rows["request_id"], rows["row"], strict=True)]
            self.examples.setdefault(reason, []).extend(shown[: LISTED - len(self.examples.get(reason, []))])


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
    """Median and 95th percentile of the time from prediction to outcome; None without outcomes."""
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


def read(store: Store, prefix: str, target: str, notes: list[str]) -> pd.DataFrame:
    """Return all outcomes below the prefix, with the columns request_id, row, label and outcome_at.

    Files that are not outcomes are left out and named in `notes`.
    """
    found: list[pd.DataFrame] = []
    for key in store.keys(prefix):
        if not key.endswith((".csv", ".parquet")):
            continue
        try:
            found.append(_file(store.read(key), key, target))
        except (ValueError, pa.ArrowException) as error:
            notes.append(f"{key} holds no outcomes and is left out: {' '.join(str(error).split())[:200]}")
    if not found:
        empty = pd.DataFrame(columns=["request_id", "row", "label", "outcome_at"], dtype=object)
        return empty.astype({"row": "int64", "outcome_at": "datetime64[us, UTC]"})
    return pd.concat(found, ignore_index=True)


def _file(content: bytes, key: str, target: str) -> pd.DataFrame:
    if key.endswith(".parquet"):
        table = parquet.ParquetFile(io.BytesIO(content)).read(columns=None, use_threads=False).to_pandas()
    else:
        table = pd.read_csv(io.BytesIO(content), dtype={"request_id": str})
    label = "label" if "label" in table else target
    if missing := [name for name in ("request_id", label, "at") if name not in table]:
        raise ValueError(f"the columns {', '.join(missing)} are missing; write request_id, row, label and at")
    return pd.DataFrame(
        {
            "request_id": table["request_id"].astype(str),
            "row": table["row"].astype("int64") if "row" in table else 0,
            "label": table[label].astype(object),
            "outcome_at": pd.to_datetime(table["at"], utc=True).astype("datetime64[us, UTC]"),
        }
    )


def join(
    store: Store,
    part: Part,
    outcomes: pd.DataFrame,
    *,
    project: Project[Any],
    model: Classifier | None,
    expected: Mapping[str, tuple[float, float]],
    notes: Sequence[str] = (),
) -> Joined:
    """Join the outcomes to a part of the prediction log.

    Args:
        store: store of the prediction log.
        part: version and window.
        outcomes: outcomes as `read` returns them.
        project: project of the model, which names features, target and labels.
        model: model, for ROC-AUC; None: only accuracy and f1 are computed.
        expected: interval that the training measured, by metric.
        notes: sentences that the result starts with.
    """
    refused, trouble = Refused(), Trouble()
    usable = _usable(outcomes, project, refused)
    found, predicted = _predictions(store, part, usable, project.features, trouble)
    merged = usable.merge(found, on=KEY, how="left")
    refused.add("unknown request", merged.loc[merged["at"].isna().to_numpy(dtype=bool)])
    merged = merged.dropna(subset=["at"])
    seconds: NDArray[np.float64] = (merged["outcome_at"] - merged["at"]).dt.total_seconds().to_numpy()
    early = seconds < -SKEW.total_seconds()
    refused.add("before the prediction", merged.loc[early])
    merged = merged.loc[~early].rename(columns={"label": project.target.name})
    lags: list[float] = np.quantile(np.maximum(seconds[~early], 0), [0.5, 0.95]).tolist() if len(merged) else []
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
        notes=[*notes, *trouble.notes],
    )


def _usable(outcomes: pd.DataFrame, project: Project[Any], refused: Refused) -> pd.DataFrame:
    """Return outcomes with a label of the project, one for each key."""
    known = outcomes["label"].isin(project.target.labels)
    refused.add(f"label other than {' and '.join(project.target.labels)}", outcomes[~known])
    outcomes = outcomes[known]
    same = outcomes.drop_duplicates([*KEY, "label"])
    refused.add("repeated with the same label (counted once)", outcomes.loc[outcomes.index.difference(same.index)])
    contradicted = same.duplicated(KEY, keep=False)
    refused.add("repeated with another label", same[contradicted])
    return same[~contradicted]


def _predictions(
    store: Store, part: Part, outcomes: pd.DataFrame, features: Sequence[str], trouble: Trouble
) -> tuple[pd.DataFrame, Mapping[str, int]]:
    """Return the predictions that have an outcome, and the number of predicted rows by day."""
    wanted = set(outcomes["request_id"])
    parts: list[pd.DataFrame] = []
    by_day: dict[str, int] = {}
    for table in log.tables(store, part, trouble, keys=True):
        rows = table.to_pandas()
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
        rows = merged[project.features]
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
