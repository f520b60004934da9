"""Joins outcomes, which say what really happened, to the predictions of an endpoint, and measures one version."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contract.tasks import ERRORS, RANKED
from prediction_log import log
from prediction_log.arrow import Table, pa, parquet, pc
from prediction_log.log import LogFile, Part, Unreadable
from prediction_log.outcomes import KEY, Outcomes, Refused, as_text
from prediction_log.store import LogError, Store
from training.data import reading
from training.fit import metrics
from training.fit.metrics import Estimate
from training.fit.predictions import BinaryPredictions, MulticlassPredictions, Predictions, RegressionPredictions
from training.project import Classifier, Project

SKEW = timedelta(minutes=1)
"""Time by which an outcome may seem to come before its prediction, because the clocks of machines differ."""
LEAST = 50
"""Smallest number of outcomes of a day for which metrics are computed."""
INPUT = "input_"
"""Prefix of the columns of the log that hold a request's features."""
LOGGED = (*KEY, "at", "prediction")
"""Columns of the log, besides the features, that are joined."""


@dataclass(frozen=True, kw_only=True)
class Day:
    """Outcomes of the version's predictions of one day."""

    day: str
    """Day in UTC, as in 2026-11-24."""
    predictions: int
    """Rows that were predicted."""
    outcomes: int
    """Rows whose outcome is known."""
    metrics: Mapping[str, Estimate]
    """Metrics with 95 % intervals; empty if there are too few outcomes, or all are equal."""


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Predictions with their outcomes."""

    part: Part
    """Version that is measured, and the period."""
    table: pd.DataFrame
    """Joined rows of all versions, ordered by time: `request_id`, `row`, `version`, `at`, `prediction`, `outcome_at`,
    the features, and the target."""
    predictions: int
    """Rows that the version predicted in the period."""
    outcomes: int
    """Rows of the version whose outcome is known."""
    refused: Refused
    """Outcomes that are not joined to the prediction of a version, by reason; each outcome once for a reason."""
    lag: tuple[timedelta, timedelta] | None
    """Median and 95th percentile of the time from prediction to outcome; None if no outcome has a time."""
    days: Sequence[Day]
    """Outcomes of each day with predictions of the version, in order."""
    whole: Mapping[str, Estimate]
    """Metrics of all joined rows of the version; empty if there are too few, or all outcomes are equal."""
    expected: Mapping[str, tuple[float, float]]
    """Interval that the training measured, by metric."""
    missing: Sequence[str]
    """Columns that a training of the project reads and the rows lack; empty if they are a dataset for it."""
    notes: Sequence[str]
    """Sentences about what was not read or not computed, and why."""

    @property
    def coverage(self) -> float:
        """Share of the version's predictions whose outcome is known, 0 to 1."""
        return self.outcomes / self.predictions if self.predictions else 0.0

    @property
    def worse(self) -> Sequence[str]:
        """Names of the metrics that are certainly worse than what the training measured."""
        return [name for name in self.expected if name in self.whole and self._is_worse(name)]

    def _is_worse(self, name: str) -> bool:
        found, (low, high) = self.whole[name], self.expected[name]
        return found.low > high if name in ERRORS else found.high < low


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

    The rows of all versions are joined, and those of the part's version are measured, also where it was the shadow.

    Args:
        store: store of the prediction log.
        part: version to measure, and period.
        outcomes: outcomes of any predictions.
        project: project of the model, which names task, features, target and labels.
        model: classifier, for the ROC-AUC; None: the metrics of the logged predictions alone are computed.
        expected: interval that the training measured, by metric.

    Raises:
        LogError: the log cannot be read, or has no predictions as single values.
        StoreError: the store did not respond.
    """
    refused, unreadable = deepcopy(outcomes.refused), Unreadable()
    usable = _usable(outcomes, project, refused)
    wanted, labelled = set(usable["request_id"]), bool(project.target.labels)
    found, predicted, notes = _predictions(store, part, wanted, unreadable, labelled=labelled)
    merged = usable.merge(found, on=KEY, how="left")
    _refuse(refused, "unknown request", merged.loc[merged["at"].isna().to_numpy(dtype=bool)])
    merged = merged.dropna(subset=["at"])
    early = _seconds(merged) < -SKEW.total_seconds()  # False where the time of the outcome is unknown
    _refuse(refused, "before the prediction", merged.loc[early])
    merged = merged.loc[~early]
    unclear = _is_unclear(merged["prediction"], project)
    _refuse(refused, "prediction that is not logged as one value", merged.loc[unclear])
    merged = merged.loc[~unclear].astype({"version": "int64", "is_first": bool})
    seconds = _seconds(merged)
    lag = np.maximum(seconds[~np.isnan(seconds)], 0)
    lags: list[float] = np.quantile(lag, [0.5, 0.95]).tolist() if len(lag) else []
    measured = merged.loc[(merged["version"] == part.version).to_numpy(dtype=bool)]
    absent = [name for name in project.features if len(found) and f"{INPUT}{name}" not in merged]
    if absent and labelled:
        model = None
        notes.append(
            f"{RANKED[project.task]} is not computed, because the log does not have {', '.join(absent)} (`redact`)"
        )
    scored = _scored(measured, project, model)
    left_out = RANKED[project.task] if labelled and model is None else None  # it needs the model's probabilities
    day = measured["at"].dt.strftime("%Y-%m-%d")
    days = [
        Day(
            day=str(one),
            predictions=count,
            outcomes=int((day == one).sum()),
            metrics=_metrics(scored.only((day == one).to_numpy(dtype=bool)), left_out),
        )
        for one, count in sorted(predicted.items())
    ]
    table = _table(merged.loc[merged["is_first"]].drop(columns="is_first"), project)
    needed = {*project.features, *(column.name for column in project.further), project.weight, project.split.by}
    return Joined(
        part=part,
        table=table,
        predictions=sum(predicted.values()),
        outcomes=len(measured),
        refused=refused,
        lag=(timedelta(seconds=lags[0]), timedelta(seconds=lags[1])) if lags else None,
        days=days,
        whole=_metrics(scored, left_out),
        expected=expected,
        missing=sorted(needed - {"", *table.columns}),
        notes=[*outcomes.notes, *unreadable.notes, *notes],
    )


def _usable(outcomes: Outcomes, project: Project[Any], refused: Refused) -> pd.DataFrame:
    """Return the outcomes whose label is one of the project's, or a finite number in a regression."""
    labels = outcomes.table["label"]
    table = outcomes.table if project.task == "regression" else outcomes.table.set_column(2, "label", as_text(labels))
    frame: pd.DataFrame = table.rename_columns([*KEY, "label", "outcome_at"]).to_pandas()
    if project.task == "regression":
        frame["label"] = pd.to_numeric(frame["label"], errors="coerce").astype(float)
        known, reason = np.isfinite(frame["label"]), "label that is no finite number"
    else:
        known = frame["label"].isin(project.target.labels)
        reason = f"label other than {' and '.join(project.target.labels)}"
    _refuse(refused, reason, frame[~known])
    return frame[known]


def _seconds(merged: pd.DataFrame) -> NDArray[np.float64]:
    """Return the seconds from each prediction to its outcome; nan if the time of the outcome is unknown."""
    return (merged["outcome_at"] - merged["at"]).dt.total_seconds().to_numpy(float)


def _is_unclear(predictions: "pd.Series[Any]", project: Project[Any]) -> "pd.Series[bool]":
    """Return True for each prediction that is neither one of the labels nor, in a regression, a number."""
    if project.target.labels:
        return ~predictions.isin(project.target.labels)
    return pd.to_numeric(predictions, errors="coerce").isna()


def _refuse(refused: Refused, reason: str, rows: pd.DataFrame) -> None:
    once = rows.drop_duplicates(KEY)  # several versions may have predicted one row
    refused.add(reason, len(once), once["request_id"].tolist(), once["row"].tolist())


def _is_read(column: str) -> bool:
    return column in {*LOGGED, "role"} or column.startswith(INPUT)


def _predictions(
    store: Store, part: Part, wanted: set[str], unreadable: Unreadable, *, labelled: bool
) -> tuple[pd.DataFrame, Mapping[str, int], list[str]]:
    """Return the predictions of the requests, the number of rows that the version predicted by day, and notes.

    Each version has a row once; `is_first` marks the row that stands for all versions. Files whose columns differ from
    those of the version's newest file are left out, because their rows are not one table. The predictions are texts if
    they are `labelled`.
    """
    read: list[tuple[LogFile, Table]] = []
    by_day: dict[str, int] = {}
    ids = pd.Index(list(wanted), dtype=object)  # it is hashed once for all files
    every = replace(part, version=None)
    for file, table in log.tables(store, log.files(store, every), _is_read, unreadable):
        rows = table.filter(pc.and_(pc.greater_equal(table["at"], part.start), pc.less(table["at"], part.end)))
        if file.version == part.version:
            days: pd.Series[Any] = rows["at"].to_pandas()
            for day, count in days.dt.strftime("%Y-%m-%d").value_counts().items():
                by_day[str(day)] = by_day.get(str(day), 0) + int(count)
        places = ids.get_indexer(pd.Index(rows["request_id"].to_pylist(), dtype=object))
        found = rows.filter(pa.array(places >= 0))
        number = pa.array([file.version] * len(found), pa.int64())
        read.append((file, found.append_column("version", number)))
    if not read:
        empty = pd.DataFrame(columns=[*LOGGED, "version", "is_first"], dtype=object)
        return empty.astype({"row": "int32", "at": "datetime64[us, UTC]"}), by_day, []
    newest, table = max(reversed(read), key=lambda one: one[0].version == part.version)
    types = _types(table)
    kept, others = list[Table](), list[LogFile]()
    for file, one in read:
        if _types(one) == types:
            kept.append(one)
        else:
            others.append(file)
    notes = [
        f"{count} files of version {version} are not joined, because they have other columns or types than {newest.key}"
        for version, count in sorted(Counter(file.version for file in others).items())
    ]
    whole = pa.concat_tables(kept, promote_options="default")  # the order of the columns may differ
    if "prediction" not in whole.column_names:
        raise LogError(
            f"the prediction log of {part.model} has no column prediction, so outcomes have nothing to be compared "
            "with; remove prediction from prediction_log.redact"
        )
    if labelled:
        place = whole.column_names.index("prediction")
        whole = whole.set_column(place, "prediction", as_text(whole["prediction"]))
    frame: pd.DataFrame = whole.to_pandas()
    # The answer that a client got goes before a shadow's, and the first of two requests with one ID before the other.
    frame["copy"] = frame["role"] == "shadow"
    frame = frame.sort_values(["copy", "at"]).drop_duplicates([*KEY, "version"]).drop(columns=["copy", "role"])
    return frame.assign(is_first=~frame.duplicated(KEY)), by_day, notes


def _types(table: Table) -> dict[str, Any]:
    return dict(zip(table.schema.names, table.schema.types, strict=True))


def _scored(rows: pd.DataFrame, project: Project[Any], model: Classifier | None) -> Predictions:
    """Return truth and logged prediction of each row, with the model's probabilities; zeros without a model."""
    labels = project.target.labels
    if not labels:
        return RegressionPredictions(truth=rows["label"].to_numpy(float), predicted=rows["prediction"].to_numpy(float))
    probabilities = np.zeros((len(rows), len(labels)))
    if model is not None and len(rows):
        features = rows[[f"{INPUT}{name}" for name in project.features]].set_axis(project.features, axis=1)
        known = list(model.classes_)
        places = [known.index(label) for label in labels]
        probabilities = model.predict_proba(reading.in_nanoseconds(project, features))[:, places]
    truth, predicted = (pd.Index(labels).get_indexer(pd.Index(rows[name])) for name in ("label", "prediction"))
    if project.task == "multiclass":
        return MulticlassPredictions(truth=truth, predicted=predicted, probabilities=probabilities)
    return BinaryPredictions(truth=truth == 1, predicted=predicted == 1, probability=probabilities[:, 1])


def _metrics(scored: Predictions, left_out: str | None) -> Mapping[str, Estimate]:
    if len(scored) < LEAST or scored.is_constant:
        return {}
    return {name: one for name, one in metrics.estimate(scored, seed=7).items() if name != left_out}


def _table(merged: pd.DataFrame, project: Project[Any]) -> pd.DataFrame:
    """Return the joined rows in the order of their times, with the names that a training reads.

    A feature or target with the name of a column of the log takes the place of that column.
    """
    named = {name: name.removeprefix(INPUT) for name in merged.columns if name.startswith(INPUT)}
    named["label"] = project.target.name
    taken = [name for name in (*LOGGED, "version", "outcome_at") if name in named.values()]
    rows = merged.sort_values(["at", *KEY])
    return rows.drop(columns=taken).rename(columns=named).reset_index(drop=True)


def as_parquet(joined: Joined) -> bytes:
    """Return the joined rows as a Parquet file, which is a dataset for the training of the project."""
    sink, rows = io.BytesIO(), joined.table
    zoned = [str(name) for name in rows.select_dtypes("datetimetz")]
    # pyarrow reads the deprecated `values` of times with a zone.
    written = pa.Table.from_pandas(
        rows.assign(**{name: rows[name].dt.tz_convert(None) for name in zoned}), preserve_index=False
    )
    for name in zoned:
        place = written.column_names.index(name)
        written = written.set_column(place, name, written[name].cast(pa.timestamp("us", "UTC")))
    parquet.write_table(written.replace_schema_metadata(), sink, compression="zstd")
    return sink.getvalue()
