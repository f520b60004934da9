"""Counts and samples of a log that is read once, in bounded memory."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from experiments.report import Latency, Spread
from prediction_log.arrow import Column, Table, pa, pc
from prediction_log.outcomes import as_text

KEPT = 50_000
"""Largest number of values that a sample keeps."""
CLASSES = 1000
"""Largest number of classes that are counted; the others are counted together."""
PENDING = 500_000
"""Number of rows after which partial sums are added up."""
Floats = npt.NDArray[np.float64]


class Values:
    """Uniform sample of numbers, with their mean. Each number is kept with the same probability."""

    def __init__(self) -> None:
        self.count, self.total = 0, 0.0
        self._kept: Floats = np.empty(0)
        self._rate = 1.0
        self._random = np.random.default_rng(0)

    def add(self, values: Floats) -> None:
        """Add numbers; those that are not finite are left out."""
        finite = values[np.isfinite(values)]
        self.count += len(finite)
        self.total += float(finite.sum())
        self._kept = np.concatenate([self._kept, finite[self._random.random(len(finite)) < self._rate]])
        while len(self._kept) > KEPT:
            self._kept = self._kept[self._random.random(len(self._kept)) < 0.5]
            self._rate /= 2

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Return these quantiles; zeros if there is no value."""
        return [float(value) for value in np.quantile(self._kept, shares)] if len(self._kept) else [0.0] * len(shares)

    def spread(self) -> Spread | None:
        """Return the distribution; None if there is no value."""
        if not self.count:
            return None
        p5, p50, p95 = self.quantiles([0.05, 0.5, 0.95])
        return Spread(mean=self.total / self.count, p5=p5, p50=p50, p95=p95)

    def latency(self) -> Latency:
        """Return the quantiles of values in milliseconds."""
        p50, p95, p99 = self.quantiles([0.5, 0.95, 0.99])
        return Latency(p50=p50, p95=p95, p99=p99)

    def largest(self) -> float:
        """Return the 95th percentile of the absolute values."""
        return float(np.quantile(np.abs(self._kept), 0.95)) if len(self._kept) else 0.0


class Predictions:
    """Distribution of an arm's predictions: numbers, or classes."""

    def __init__(self) -> None:
        self.numbers = Values()
        self._classes = Counter[str]()

    def add(self, column: Column) -> None:
        """Add a column of predictions."""
        column = pc.drop_null(column)
        if pa.types.is_floating(column.type):
            self.numbers.add(as_floats(column))
            return
        for entry in pc.value_counts(as_text(column)).to_pylist():
            name = entry["values"] if entry["values"] in self._classes or len(self._classes) < CLASSES else "other"
            self._classes[name] += entry["counts"]

    def shares(self) -> Mapping[str, float]:
        """Return the share of each class, the most frequent first."""
        total = sum(self._classes.values())
        return {name: count / total for name, count in self._classes.most_common()}


class Sums:
    """Sums over groups of rows: a streaming `group by`."""

    def __init__(self, keys: Sequence[str], sums: Sequence[str], least: Sequence[str] = ()) -> None:
        """Name the columns that make a group, those that are added, and those whose least value is kept."""
        self._keys, self._rules = list(keys), [*((name, "sum") for name in sums), *((name, "min") for name in least)]
        self._parts: list[Table] = []
        self._pending = 0

    def add(self, table: Table) -> None:
        """Add rows, of which only the columns of this sum are used."""
        part = self._reduced(table)
        self._parts.append(part)
        self._pending += len(part)
        if self._pending > PENDING:
            self._parts = [self.table()]
            self._pending = 0

    def table(self) -> Table | None:
        """Return one row for each group; None if nothing was added."""
        return self._reduced(pa.concat_tables(self._parts)) if self._parts else None

    def _reduced(self, table: Table) -> Table:
        grouped = table.group_by(self._keys).aggregate(self._rules)
        names = {f"{name}_{rule}": name for name, rule in self._rules}
        return grouped.rename_columns([names.get(name, name) for name in grouped.column_names])


def as_floats(column: Column) -> Floats:
    """Return a column without nulls as an array of float64."""
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
