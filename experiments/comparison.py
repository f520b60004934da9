"""Builds the report from the files of a log, which are read once."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from experiments import sequences
from experiments.report import Arm, Comparison, Joined, Keys, Metric, Ratio, Report, Shadow
from experiments.sequences import Sample
from experiments.tallies import Predictions, Sums, Values, as_floats
from prediction_log import log
from prediction_log.arrow import Column, Table, pa, pc
from prediction_log.log import LogFile, Part, Unreadable
from prediction_log.outcomes import Outcomes, as_text
from prediction_log.store import LogError, Store

CHAMPION, CHALLENGER, SHADOW = "champion", "challenger", "shadow"
MANY_KEYS = 5
"""Number of keys with the same inputs from which they count as repeated."""
EXAMPLES = 3
"""Number of repeated inputs that are named."""
MOST_ROWS = 200_000
"""Number of rows of the log in memory after which they are added up."""
MOST_SLICES = 20
"""Largest number of values of a column by which the metric is sliced."""
MetricName = Literal["accuracy", "Brier score", "absolute error"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Part of the log to compare, and how to compare it."""

    part: Part
    """Part of the log with the predictions."""
    experiment: str = ""
    """Name of the experiment; empty: the last one in the log."""
    percent: float | None = None
    """Declared share of the challenger, in percent; None if it is unknown."""
    prediction: str = ""
    """Name of the predicted value, if the model predicts several."""
    slices: Sequence[str] = ()
    """Columns of the signature by whose values the metric is sliced."""


class ShareUnknownError(LogError):
    """The log has a challenger, and its declared share of the units is not known."""


def compare(question: Question, store: Store, outcomes: Outcomes | None = None) -> Report:
    """Read the log in the store and return the report.

    Raises:
        LogError: the log cannot be read or has no predictions, or the outcomes do not fit the question.
        ShareUnknownError: there is a challenger, and `question.percent` is None.
        StoreError: the store did not respond.
    """
    part = question.part
    files = log.files(store, part)
    if not files:
        by = f" by endpoint {part.endpoint}" if part.endpoint else ""
        raise LogError(
            f"{store.uri} has no predictions of {part.model}{by} from {part.start:%Y-%m-%d %H:%M} to "
            f"{part.end:%Y-%m-%d %H:%M} UTC; check the name, --log and --since, and that the endpoint has a "
            "`prediction_log`"
        )
    experiment = question.experiment or _last_experiment(store, files)
    reading = _Reading(question, experiment, outcomes)
    waiting: defaultdict[int, list[Table]] = defaultdict(list)  # of one hour; small files are expensive one by one
    hour: datetime | None = None
    for file, table in log.tables(store, files, _is_read, reading.unreadable):
        if file.hour != hour or sum(map(len, chain(*waiting.values()))) > MOST_ROWS:
            reading.add(waiting)
            waiting.clear()
        if file.hour != hour:
            reading.end_of_hour()
            hour = file.hour
        waiting[file.version].append(table)
    reading.add(waiting)
    reading.end_of_hour()
    return reading.report()


def _is_read(column: str) -> bool:
    return column not in {"request", "answer"}


def _last_experiment(store: Store, files: Sequence[LogFile]) -> str:
    """Return the name of the last experiment in the files; empty if there is none."""
    for _, table in log.tables(store, files[::-1], {"experiment"}.__contains__, Unreadable()):
        if names := pc.drop_null(table["experiment"]):
            return names[-1].as_py()
    return ""


@dataclass
class _Traffic:
    """Figures of one role."""

    versions: set[int] = field(default_factory=set[int])
    requests: int = 0
    rows: int = 0
    latency: Values = field(default_factory=Values)
    predictions: Predictions = field(default_factory=Predictions)


class _Reading:
    """State while the files are read."""

    def __init__(self, question: Question, experiment: str, outcomes: Outcomes | None) -> None:
        self.unreadable = Unreadable()
        self._question, self._experiment, self._outcomes = question, experiment, outcomes
        self._traffic: defaultdict[str, _Traffic] = defaultdict(_Traffic)
        self._units = Sums(["unit", "role"], ["requests"])
        self._inputs = Sums(["inputs", "unit"], ["requests"], least=["request_id"])
        self._values = Sums(["unit", "role"], ["value", "rows"])
        self._sliced = {name: Sums(["unit", "role", "slice"], ["value", "rows"]) for name in question.slices}
        self._metrics: dict[str, MetricName] = {}
        self._labels, self._predicted = set[str](), set[str]()
        self._joined = self._early = self._unassigned = self._without_key = 0
        self._ran = False
        self._others = Counter[str]()
        self._shadow = _Pairs()
        self._first, self._last = question.part.end, question.part.start

    def add(self, tables: Mapping[int, Sequence[Table]]) -> None:
        """Add the tables of each version."""
        for version, parts in tables.items():
            if (whole := _concat(parts)) is not None:
                self._add(version, whole)

    def _add(self, version: int, table: Table) -> None:
        part = self._question.part
        start, end = (pa.scalar(at, pa.timestamp("us", "UTC")) for at in (part.start, part.end))
        table = table.filter(pc.and_(pc.greater_equal(table["at"], start), pc.less(table["at"], end)))
        if not len(table):
            return
        least_most = pc.min_max(table["at"]).as_py()
        self._first, self._last = min(self._first, least_most["min"]), max(self._last, least_most["max"])
        table = table.append_column("predicted", self._prediction(version, table))
        is_first = pc.equal(table["row"], 0)
        table = table.append_column("requests", pc.cast(is_first, pa.int64()))
        for role in pc.unique(table["role"]).to_pylist():
            self._add_role(version, role, table.filter(pc.equal(table["role"], role)))

    def end_of_hour(self) -> None:
        """Join the shadow's rows of the last hour; count its requests without a key if the experiment ran in it."""
        self._shadow.join()
        if self._ran:
            self._unassigned += self._without_key
        self._without_key, self._ran = 0, False

    def _prediction(self, version: int, table: Table) -> Column:
        wanted = f"prediction_{self._question.prediction}" if self._question.prediction else "prediction"
        if wanted in table.column_names:
            return table[wanted]
        known = [name.removeprefix("prediction_") for name in table.column_names if name.startswith("prediction_")]
        raise LogError(
            f"the log of version {version} has no column {wanted}; "
            + (f"write --prediction with one of {', '.join(known)}" if known else "leave --prediction out")
        )

    def _add_role(self, version: int, role: str, table: Table) -> None:
        if role in (CHAMPION, SHADOW):
            self._shadow.add(role, table)
        if role != SHADOW and self._experiment:
            table = self._of_experiment(table)
        if not len(table):
            return
        traffic = self._traffic[role]
        traffic.versions.add(version)
        requests = table.filter(pc.equal(table["row"], 0))
        traffic.requests += len(requests)
        traffic.rows += len(table)
        traffic.latency.add(as_floats(pc.drop_null(requests["latency_ms"])))
        traffic.predictions.add(table["predicted"])
        if role != SHADOW and self._experiment:
            self._units.add(table)
            self._add_inputs(requests)
            self._add_outcomes(role, table)

    def _of_experiment(self, table: Table) -> Table:
        """Return the rows of the experiment that have a unit; count the others."""
        names = table["experiment"]
        for entry in pc.value_counts(pc.drop_null(names)).to_pylist():
            self._others[entry["values"]] += entry["counts"]
        without = table.filter(pc.is_null(table["unit"]))
        self._without_key += pc.sum(without["requests"]).as_py() or 0
        ours = pc.fill_null(pc.equal(names, self._experiment), fill_value=False)
        table = table.filter(pc.and_(ours, pc.is_valid(table["unit"])))
        self._ran |= bool(len(table))
        return table

    def _add_inputs(self, requests: Table) -> None:
        names = [name for name in requests.column_names if name.startswith("input_")]
        if names:
            frame: pd.DataFrame = requests.select(names).to_pandas()
            hashes = pd.util.hash_pandas_object(frame, index=False).to_numpy()
            self._inputs.add(requests.append_column("inputs", pa.array(hashes, pa.uint64())))

    def _add_outcomes(self, role: str, table: Table) -> None:
        if self._outcomes is None:
            return
        columns = ["request_id", "row", "at", "unit", "role", "predicted", *map("input_{}".format, self._slices(table))]
        rows = table.select(columns).filter(pc.is_valid(table["predicted"]))
        rows = rows.rename_columns(["logged" if name == "at" else name for name in columns])
        found = rows.join(self._outcomes.table, ["request_id", "row"], join_type="inner")
        late = pc.fill_null(pc.greater_equal(found["at"], found["logged"]), fill_value=True)
        self._early += len(found) - (pc.sum(late).as_py() or 0)
        found = found.filter(late)
        if not len(found):
            return
        self._joined += len(found)
        found = found.append_column("value", self._value(role, found))
        found = found.append_column("rows", pa.array(np.ones(len(found))))
        self._values.add(found)
        for name, sums in self._sliced.items():
            sums.add(found.append_column("slice", as_text(found[f"input_{name}"].combine_chunks())))

    def _slices(self, table: Table) -> Sequence[str]:
        if missing := [name for name in self._question.slices if f"input_{name}" not in table.column_names]:
            known = [name.removeprefix("input_") for name in table.column_names if name.startswith("input_")]
            raise LogError(f"the log has no input column {missing[0]}; write --by with one of {', '.join(known)}")
        return self._question.slices

    def _value(self, role: str, found: Table) -> Column:
        """Return the metric of each row."""
        predicted, label = found["predicted"].combine_chunks(), found["label"].combine_chunks()
        if not pa.types.is_floating(predicted.type):
            self._metrics[role] = "accuracy"
            ours, theirs = as_text(predicted), as_text(label)
            self._predicted |= set(pc.unique(ours).to_pylist())
            self._labels |= set(pc.unique(theirs).to_pylist())
            return pc.cast(pc.equal(ours, theirs), pa.float64())
        try:
            truth = as_floats(label.cast(pa.int8()) if pa.types.is_boolean(label.type) else label)
        except (pa.ArrowException, ValueError) as error:
            raise LogError(
                f"the model predicts numbers and the outcomes have labels such as {label[0].as_py()!r}; write numbers, "
                "or 0 and 1 for the probability of an event"
            ) from error
        binary = self._outcomes is not None and self._outcomes.binary
        self._metrics[role] = "Brier score" if binary else "absolute error"
        error = as_floats(predicted) - truth
        return pa.array(error**2 if binary else np.abs(error))

    def report(self) -> Report:
        """Return the report of everything that was read."""
        if not self._traffic:
            raise LogError(
                f"the log of {self._question.part.model} has no prediction in this period"
                + (f" that belongs to the experiment {self._experiment}" if self._experiment else "")
                + "; check --since, --until and --experiment"
            )
        frame, in_both = _by_unit(self._units.table())
        arms = tuple(
            _arm(role, self._traffic[role], frame) for role in (CHAMPION, CHALLENGER, SHADOW) if role in self._traffic
        )
        ratio = None
        if CHALLENGER in self._traffic:
            if self._question.percent is None:
                raise ShareUnknownError(
                    "the declared share of the challenger is needed to test the sample ratio; write --percent, as in "
                    "--percent 10, or --stack with a stack file that declares it"
                )
            ratio = _ratio(frame, self._question.percent)
        return Report(
            model=self._question.part.model,
            experiment=self._experiment,
            since=self._first.astimezone(UTC),
            until=self._last.astimezone(UTC),
            arms=arms,
            ratio=ratio,
            keys=self._keys(frame, in_both) if self._experiment else None,
            joined=self._joined_outcomes(),
            metric=self._metric(),
            shadow=self._shadow.summary(),
            notes=tuple(self._notes()),
        )

    def _keys(self, frame: pd.DataFrame, in_both: int) -> Keys:
        table = self._inputs.table()
        repeated: dict[str, int] = {}
        requests = 0
        if table is not None:
            grouped = table.group_by(["inputs"]).aggregate(
                [("unit", "count"), ("requests", "sum"), ("request_id", "min")]
            )
            many = grouped.filter(pc.greater_equal(grouped["unit_count"], MANY_KEYS)).sort_by(
                [("unit_count", "descending")]
            )
            requests = pc.sum(many["requests_sum"]).as_py() or 0
            for entry in many.slice(0, EXAMPLES).to_pylist():
                repeated[entry["request_id_min"]] = entry["unit_count"]
        return Keys(
            unassigned=self._unassigned,
            once=int((frame.requests == 1).sum()),
            units=len(frame) + in_both,
            in_both=in_both,
            repeated_requests=requests,
            repeated=repeated,
        )

    def _joined_outcomes(self) -> Joined | None:
        if self._outcomes is None:
            return None
        known = len(self._outcomes.table)
        return Joined(
            outcomes=known,
            joined=self._joined,
            repeated=sum(self._outcomes.refused.counts.values()),
            unknown=max(0, known - self._joined - self._early),
            early=self._early,
        )

    def _metric(self) -> Metric | None:
        table = self._values.table()
        if table is None or set(self._metrics) != {CHAMPION, CHALLENGER}:
            return None
        if len(names := set(self._metrics.values())) > 1:
            raise LogError(
                f"the champion is measured by {self._metrics[CHAMPION]} and the challenger by "
                f"{self._metrics[CHALLENGER]}, because their predictions have different types; write --outcomes only "
                "for versions that predict the same"
            )
        if self._predicted and not self._predicted & self._labels:
            raise LogError(
                f"no label in the outcomes is one that the models predict: labels are {_some(self._labels)}, "
                f"predictions {_some(self._predicted)}; write the labels as the models do"
            )
        overall, samples = _comparison("", _unit_values(table), sequences.ALPHA)
        slices: list[Comparison] = []
        by_value = dict(self._slice_frames())
        for name, frame in by_value.items():
            slices.append(_comparison(name, frame, sequences.ALPHA / len(by_value))[0])
        units, days = None, None
        if samples and not overall.decided and overall.difference:
            units = sequences.units_to_decide(overall.difference, sequences.deviation(*samples))
            now = overall.champion_units + overall.challenger_units
            days = (units - now) / now * max((self._last - self._first) / timedelta(days=1), 1 / 24)
        return Metric(
            name=names.pop(), overall=overall, slices=tuple(slices), units_to_decide=units, days_to_decide=days
        )

    def _slice_frames(self) -> list[tuple[str, pd.DataFrame]]:
        found: list[tuple[str, pd.DataFrame]] = []
        for column, sums in self._sliced.items():
            table = sums.table()
            values: list[str] = sorted(pc.drop_null(pc.unique(table["slice"])).to_pylist()) if table is not None else []
            if len(values) > MOST_SLICES:
                raise LogError(
                    f"the column {column} has {len(values)} values, which is more than {MOST_SLICES}; write --by "
                    "with a column of few values"
                )
            for value in values:
                rows = cast("Any", table).filter(pc.equal(cast("Any", table)["slice"], value))
                found.append((f"{column} = {value}", _unit_values(rows)))
        return found

    def _notes(self) -> list[str]:
        notes = [*self.unreadable.notes, *(self._outcomes.notes if self._outcomes else ())]
        others = [name for name in self._others if name != self._experiment]
        if others:
            notes.append(f"the log has other experiments in this period: {', '.join(sorted(others))}")
        return notes


class _Pairs:
    """Predictions of the shadow and of the champion for the same rows, joined hour by hour."""

    def __init__(self) -> None:
        self._now: dict[str, list[Table]] = {CHAMPION: [], SHADOW: []}
        self._before: dict[str, Table | None] = {CHAMPION: None, SHADOW: None}
        self._joined = self._rows = self._equal = 0
        self._shift, self._slower = Values(), Values()
        self._numbers = False

    def add(self, role: str, table: Table) -> None:
        """Add rows of this hour."""
        self._now[role].append(table.select(["request_id", "row", "predicted", "latency_ms"]))
        if role == SHADOW:
            self._rows += len(table)

    def join(self) -> None:
        """Join the rows of this hour and the unmatched ones of the hour before."""
        tables: dict[str, Table | None] = {}
        for role, parts in self._now.items():
            kept = [] if self._before[role] is None else [self._before[role]]
            tables[role] = _concat([*kept, *parts])
            self._before[role] = _concat(parts)
        self._now = {CHAMPION: [], SHADOW: []}
        champion, shadow = tables[CHAMPION], tables[SHADOW]
        if champion is None or shadow is None:
            return
        keys = ["request_id", "row"]
        both = shadow.join(champion, keys, join_type="inner", right_suffix="_champion")
        self._add(both)
        for role in (CHAMPION, SHADOW):
            if (rest := self._before[role]) is not None:
                self._before[role] = rest.join(both.select(keys), keys, join_type="left anti")

    def _add(self, both: Table) -> None:
        valid = pc.and_(pc.is_valid(both["predicted"]), pc.is_valid(both["predicted_champion"]))
        both = both.filter(valid).combine_chunks()
        if not len(both):
            return
        ours, theirs = (both[name].combine_chunks() for name in ("predicted", "predicted_champion"))
        self._joined += len(both)
        self._numbers = pa.types.is_floating(ours.type) and pa.types.is_floating(theirs.type)
        if self._numbers:
            shift = as_floats(ours) - as_floats(theirs)
            self._shift.add(shift)
            self._equal += int((shift == 0).sum())
        else:
            self._equal += pc.sum(pc.equal(as_text(ours), as_text(theirs))).as_py() or 0
        first = both.filter(pc.equal(both["row"], 0))
        self._slower.add(as_floats(first["latency_ms"]) - as_floats(first["latency_ms_champion"]))

    def summary(self) -> Shadow | None:
        """Return the summary; None if no shadow predicted anything."""
        if not self._rows:
            return None
        return Shadow(
            joined=self._joined,
            alone=self._rows - self._joined,
            equal=self._equal / self._joined if self._joined else 0.0,
            shift=self._shift.spread() if self._numbers else None,
            largest=self._shift.largest() if self._numbers else None,
            slower_ms=self._slower.latency(),
        )


def _concat(tables: Sequence[Table]) -> Table | None:
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


def _by_unit(table: Table | None) -> tuple[pd.DataFrame, int]:
    """Return role and requests of each unit that saw one version, and the number of those that saw both."""
    if table is None:
        return pd.DataFrame({"role": [], "requests": []}), 0
    frame: pd.DataFrame = table.to_pandas()
    both = frame.unit.duplicated(keep=False)
    return frame[~both], int(both.sum()) // 2


def _unit_values(table: Table) -> pd.DataFrame:
    """Return role and mean value of each unit that saw one version."""
    frame, _ = _by_unit(table)
    return pd.DataFrame({"role": frame.role, "value": frame.value / frame.rows})


def _arm(role: str, traffic: _Traffic, units: pd.DataFrame) -> Arm:
    return Arm(
        role=role,
        versions=tuple(sorted(traffic.versions)),
        requests=traffic.requests,
        rows=traffic.rows,
        units=int((units.role == role).sum()),
        latency=traffic.latency.latency(),
        numbers=traffic.predictions.numbers.spread(),
        classes=traffic.predictions.shares(),
    )


def _ratio(units: pd.DataFrame, percent: float) -> Ratio:
    champion, challenger = (int((units.role == role).sum()) for role in (CHAMPION, CHALLENGER))
    p = sequences.sample_ratio(champion, challenger, percent / 100)
    return Ratio(champion=champion, challenger=challenger, percent=percent, p=p)


def _comparison(name: str, values: pd.DataFrame, alpha: float) -> tuple[Comparison, tuple[Sample, Sample] | None]:
    """Return the comparison of the arms, and their samples if there is an interval."""
    first, second = (_sample(values.value[values.role == role]) for role in (CHAMPION, CHALLENGER))
    interval = sequences.difference(first, second, alpha)
    found = Comparison(
        slice=name,
        champion=first.mean,
        challenger=second.mean,
        champion_units=first.units,
        challenger_units=second.units,
        difference=second.mean - first.mean,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
    )
    return found, (first, second) if interval else None


def _sample(values: "pd.Series[float]") -> Sample:
    units = len(values)
    return Sample(units, float(values.mean()) if units else 0.0, float(values.var()) if units > 1 else 0.0)


def _some(words: set[str]) -> str:
    return ", ".join(sorted(words)[:5])


def with_responses(report: Report, responses: Mapping[str, Mapping[str, int]]) -> Report:
    """Return the report with the number of responses by status code of each role."""
    arms = tuple(arm.model_copy(update={"errors": dict(responses.get(arm.role, {}))}) for arm in report.arms)
    return report.model_copy(update={"arms": arms})
