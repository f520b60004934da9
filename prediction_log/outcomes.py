"""Reads what really happened: the outcome of each predicted row, by the ID of its request."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from prediction_log import store
from prediction_log.arrow import Column, Table, csv, pa, parquet, pc
from prediction_log.store import LogError

KEY = ["request_id", "row"]
TYPES = {"request_id": pa.string(), "row": pa.int32(), "label": None, "at": pa.timestamp("us", "UTC")}
"""Columns of the outcomes and their types; a label has its own."""
PARQUET, CSV = (".parquet", ".pq"), (".csv",)
LISTED = 5
"""Number of examples that are kept of each kind of outcome that is not joined."""


@dataclass(kw_only=True)
class Refused:
    """Outcomes that are not joined, by reason."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    examples: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, reason: str, count: int, ids: Sequence[str], rows: Sequence[int]) -> None:
        """Count outcomes under the reason, and keep the first keys as examples."""
        if count:
            self.counts[reason] = self.counts.get(reason, 0) + count
            kept = self.examples.setdefault(reason, [])
            kept += [f"{one} row {row}" for one, row in zip(ids, rows, strict=True)][: LISTED - len(kept)]


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Outcomes with the columns `request_id`, `row`, `label` and `at`; each key once."""

    table: Table
    refused: Refused = field(default_factory=Refused)
    """Repeated outcomes: those with the same label are counted once, keys with two labels are left out."""
    notes: Sequence[str] = ()
    """Sentences about files that hold no outcomes."""

    @property
    def binary(self) -> bool:
        """Return whether the labels are 0 and 1, or truth values."""
        return set(pc.unique(self.table["label"]).to_pylist()) <= {0, 1}


def read(uri: str, target: str = "label") -> Outcomes:
    """Read the outcomes at the URI: a file, or all files of a folder or prefix.

    A file is Parquet if its name ends in .parquet or .pq, and CSV if it ends in .csv; other files of a folder are no
    outcomes. The columns are `request_id`, `row` (index of the row in its request; 0 without this column), `label` (or
    the name of the target), and `at` (time at which the label was known; may be absent). Rows without a label are left
    out. A file of a folder that holds no outcomes is named in the notes.

    Raises:
        LogError: the address is wrong, the only file holds no outcomes, or the files do not fit together.
        StoreError: the store did not respond.
    """
    folder, _, name = uri.rpartition("/")
    alone = uri.endswith((*PARQUET, *CSV))
    files = store.at((folder or ("/" if uri.startswith("/") else ".")) if alone else uri)
    tables: list[Table] = []
    notes: list[str] = []
    try:
        for key in [name] if alone else files.keys(""):
            if key.endswith((*PARQUET, *CSV)):
                try:
                    tables.append(_table(f"{files.uri}/{key}", files.read(key), target))
                except LogError as error:
                    if alone:
                        raise
                    notes.append(f"left out: {error}")
        table = pa.concat_tables(tables or [_empty()], promote_options="permissive")
    except FileNotFoundError as error:
        raise LogError(f"{uri} cannot be read: there is no such file; correct the address of the outcomes") from error
    except pa.ArrowException as error:
        raise LogError(f"the files of {uri} do not fit together: {_reason(error)}; use one type of label") from error
    if not tables:
        notes.append(f"{uri} has no outcomes; write CSV or Parquet with request_id, row, label and at")
    return _unique(table, notes)


def as_text(column: Column) -> Column:
    """Return predictions or labels as text: truth values as 0 and 1, a list of probabilities as the largest's place."""
    if pa.types.is_boolean(column.type):
        return column.cast(pa.int8()).cast(pa.string())
    if pa.types.is_list(column.type):
        best = [max(range(len(values)), key=values.__getitem__) if values else None for values in column.to_pylist()]
        return pa.array([None if place is None else str(place) for place in best], pa.string())
    if pa.types.is_floating(column.type) and pc.all(pc.equal(column, pc.round(column))).as_py():
        return column.cast(pa.int64()).cast(pa.string())
    return column.cast(pa.string())


def _unique(table: Table, notes: Sequence[str]) -> Outcomes:
    """Return each key once, without those that have two labels."""
    numbered = table.append_column("place", pa.array(range(len(table)), pa.int64()))
    keys = numbered.group_by(KEY).aggregate([("place", "min"), ("place", "count"), ("label", "count_distinct")])
    more = pc.subtract(keys["place_count"], keys["label_count_distinct"])
    refused = Refused()
    for reason, count in (
        ("repeated with the same label (counted once)", more),
        (
            "repeated with another label",
            pc.if_else(pc.greater(keys["label_count_distinct"], 1), keys["label_count_distinct"], 0),
        ),
    ):
        some = keys.filter(pc.greater(count, 0)).slice(0, LISTED)
        refused.add(reason, pc.sum(count).as_py() or 0, some["request_id"].to_pylist(), some["row"].to_pylist())
    places = keys.filter(pc.equal(keys["label_count_distinct"], 1))["place_min"].combine_chunks()
    return Outcomes(table=table.take(places.sort()), refused=refused, notes=notes)


def _empty() -> Table:
    return pa.table({name: pa.array([], kind or pa.string()) for name, kind in TYPES.items()})


def _table(name: str, body: bytes, target: str) -> Table:
    try:
        if name.endswith(PARQUET):
            table = parquet.ParquetFile(io.BytesIO(body)).read()  # read_table can abort the process at its end
        else:
            typed = csv.ConvertOptions(column_types={"request_id": pa.string()})
            table = csv.read_csv(io.BytesIO(body), convert_options=typed)
    except pa.ArrowException as error:
        raise LogError(
            f"{name} is no table ({_reason(error)}); write CSV, or Parquet in a file that ends in .parquet"
        ) from error
    label = "label" if "label" in table.column_names else target
    if missing := [column for column in ("request_id", label) if column not in table.column_names]:
        raise LogError(
            f"{name} has no column {' and no column '.join(missing)}; its columns are {', '.join(table.column_names)}; "
            "write request_id, row, label and, if you know it, at"
        )
    columns = {"label": table[label]} | {
        one: table[one] for one in ("request_id", "row", "at") if one in table.column_names
    }
    columns.setdefault("row", pa.array([0] * len(table), pa.int32()))
    columns.setdefault("at", pa.nulls(len(table)))
    for column, kind in TYPES.items():
        try:
            columns[column] = columns[column].cast(kind) if kind else columns[column]
        except pa.ArrowException as error:
            raise LogError(
                f"{name} has a wrong value in the column {column} ({_reason(error)}); `row` is a whole number, and "
                "`at` a time such as 2026-12-01T09:30:00Z"
            ) from error
    return pa.table({column: columns[column] for column in TYPES}).filter(pc.is_valid(columns["label"]))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
