"""Reads what really happened: the outcome of each predicted row, by the ID of its request."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from experiments import log
from experiments.log import LogError, Table, pa, parquet, pc

arrow_csv = cast("Any", import_module("pyarrow.csv"))
NEEDED = ("request_id", "label")
TYPES = {"request_id": pa.string(), "row": pa.int32(), "label": None, "at": pa.timestamp("us", "UTC")}
"""Columns of the outcomes and their types; a label has its own."""


@dataclass(frozen=True)
class Outcomes:
    """Outcomes with the columns `request_id`, `row`, `label` and, if the file has it, `at`; each key once."""

    table: Table
    repeated: int
    """Rows that repeat the key of an earlier row, and were left out."""

    @property
    def binary(self) -> bool:
        """Return whether the labels are 0 and 1, or truth values."""
        labels: Iterable[object] = pc.unique(self.table["label"]).to_pylist()
        return set(labels) <= {0, 1}


def read(uri: str) -> Outcomes:
    """Read the outcomes at the URI: a file, or all files of a folder or of a prefix that ends in a slash.

    A file is Parquet if its name ends in .parquet, and CSV otherwise. The columns are `request_id`, `row` (index of the
    row in its request; 0 without this column), `label`, and `at` (time at which the label was known; may be absent).
    Rows without a label are left out.

    Raises:
        LogError: a file is missing, or is no such table.
        StoreError: the store did not respond.
    """
    tables = [_table(name, body) for name, body in log.contents(uri)]
    if not tables:
        raise LogError(f"{uri} has no file; write --outcomes with a file of request_id, row, label and at")
    try:
        table: Table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise LogError(f"the files of {uri} do not fit together: {_reason(error)}; use one type of label") from error
    first = table.append_column("place", pa.array(range(len(table)), pa.int64()))
    places = first.group_by(["request_id", "row"]).aggregate([("place", "min")])["place_min"]
    once = table.take(places.combine_chunks().sort())
    return Outcomes(once, len(table) - len(once))


def _table(name: str, body: bytes) -> Table:
    try:
        if name.endswith((".parquet", ".pq")):
            table: Table = parquet.read_table(io.BytesIO(body))
        else:
            typed = arrow_csv.ConvertOptions(column_types={"request_id": pa.string()})
            table = arrow_csv.read_csv(io.BytesIO(body), convert_options=typed)
    except pa.ArrowException as error:
        raise LogError(
            f"{name} is no table ({_reason(error)}); write CSV, or Parquet in a file that ends in .parquet"
        ) from error
    if missing := [column for column in NEEDED if column not in table.column_names]:
        raise LogError(
            f"{name} has no column {' and no column '.join(missing)}; its columns are {', '.join(table.column_names)}; "
            "write request_id, row, label and, if you know it, at"
        )
    if "row" not in table.column_names:
        table = table.append_column("row", pa.array([0] * len(table), pa.int32()))
    kept = [column for column in TYPES if column in table.column_names]
    table = table.select(kept).filter(pc.is_valid(table["label"]))
    for place, column in enumerate(kept):
        if kind := TYPES[column]:
            try:
                table = table.set_column(place, column, table[column].cast(kind))
            except pa.ArrowException as error:
                raise LogError(
                    f"{name} has a wrong value in the column {column} ({_reason(error)}); `row` is a whole number, and "
                    "`at` a time such as 2026-12-01T09:30:00Z"
                ) from error
    return table


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
