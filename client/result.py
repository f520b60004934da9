"""Writer of the result: the rows of the file in their order with predictions, as CSV or Parquet."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
from pyarrow import parquet

from client.columns import Json, Kind, plain, reader
from client.errors import InputError
from client.fit import Fit
from client.journal import Journal, columns
from client.tables import Table

ADDED = ("model_version", "request_id", "request_row")
"""Added columns. `request_id` and `request_row`, from 0, identify the prediction in the server's prediction log."""
Joined: TypeAlias = tuple[Sequence[object], tuple[Sequence[Json], str, str, int]]
"""Cells of a row; and its predictions, model version, request id and row in the request."""
PIECE = 4096
"""Number of rows that are written at once."""
TYPES: Mapping[Kind, pa.DataType] = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_()}


def check_names(table: Table) -> None:
    """Raise InputError if the table has a column with the name of a column of the result."""
    twice = [name for name in table.names if name in ADDED or name == "prediction" or name.startswith("prediction_")]
    if twice:
        raise InputError(
            f"{table.path} has a column {', '.join(twice)}, but the result adds a column of this name; rename it"
        )


def write(fit: Fit, journal: Journal, out: Path) -> None:
    """Write the result; the file appears when it is complete."""
    part = out.with_name(f"{out.name}.new")
    if out.suffix == ".parquet":
        _write_parquet(fit, journal, part)
    else:
        _write_csv(fit, journal, part)
    part.replace(out)


def _write_csv(fit: Fit, journal: Journal, file: Path) -> None:
    shown = columns(journal.layouts)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow([*fit.table.names, *shown, *ADDED])
        for cells, (prediction, *added) in _joined(fit, journal, shown):
            texts = cells if fit.table.types is None else map(_text, cells)
            writer.writerow([*texts, *map(_text, prediction), *added])


def _write_parquet(fit: Fit, journal: Journal, file: Path) -> None:
    shown = columns(journal.layouts)
    of_predictions = _types_of_predictions(journal, shown)
    types = [*_types_of_cells(fit), *of_predictions, pa.string(), pa.string(), pa.int32()]
    schema = pa.schema(list(zip([*fit.table.names, *shown, *ADDED], types, strict=True)))
    converters = [_json if kind == pa.string() else _unchanged for kind in of_predictions]
    typed = _typed(fit)
    with parquet.ParquetWriter(file, schema) as writer:
        for piece in _pieces(_joined(fit, journal, shown)):
            rows = (
                [
                    *typed(cells),
                    *(convert(value) for convert, value in zip(converters, prediction, strict=True)),
                    *added,
                ]
                for cells, (prediction, *added) in piece
            )
            arrays = [pa.array(list(cells), kind) for cells, kind in zip(zip(*rows, strict=True), types, strict=True)]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _joined(fit: Fit, journal: Journal, shown: Sequence[str]) -> Iterator[Joined]:
    predictions = (
        (_spread(prediction, shown), entry.model_version, entry.request_id, place)
        for entry in journal.entries()
        for place, prediction in enumerate(entry.predictions)
    )
    return zip((cells for _, cells in fit.table.rows()), predictions, strict=True)


def _spread(prediction: Json, shown: Sequence[str]) -> Sequence[Json]:
    if shown != ["prediction"] and isinstance(prediction, dict):
        return list(prediction.values())
    return prediction if shown != ["prediction"] and isinstance(prediction, list) else [prediction]


def _text(value: object) -> object:
    """Return a value as a cell of a CSV file."""
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    return json.dumps(value, default=plain).strip('"')


def _json(value: Json) -> Json:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _unchanged(value: Json) -> Json:
    return value


def _types_of_cells(fit: Fit) -> Sequence[pa.DataType]:
    """Return the types of a typed file; for a text file the types that the model takes, else text."""
    sent = {place: TYPES.get(column.kind, pa.string()) for place, column in zip(fit.places, fit.sent, strict=True)}
    return fit.table.types or [sent.get(place, pa.string()) for place in range(len(fit.table.names))]


def _typed(fit: Fit) -> Callable[[Sequence[object]], Sequence[object]]:
    """Return a function that converts a row's cells to the types of `_types_of_cells`."""
    if fit.table.types:
        return list
    reads = {
        place: reader(column, text=True)
        for column, place in zip(fit.sent, fit.places, strict=True)
        if column.kind in TYPES
    }

    def typed(cells: Sequence[object]) -> Sequence[object]:
        return [reads[place](cell) if place in reads else cell for place, cell in enumerate(cells)]

    return typed


def _types_of_predictions(journal: Journal, shown: Sequence[str]) -> Sequence[pa.DataType]:
    """Return for each column of predictions the narrowest type for all values; text if they have different types."""
    seen = [set[str]() for _ in shown]
    for entry in journal.entries():
        for prediction in entry.predictions:
            for kinds, value in zip(seen, _spread(prediction, shown), strict=True):
                kinds.add(type(value).__name__)
    return [_narrowest(kinds - {"NoneType"}) for kinds in seen]


def _narrowest(kinds: set[str]) -> pa.DataType:
    if kinds and kinds <= {"int", "float"}:
        return pa.float64() if "float" in kinds else pa.int64()
    return pa.bool_() if kinds == {"bool"} else pa.string()


def _pieces(rows: Iterator[Joined]) -> Iterator[Sequence[Joined]]:
    while piece := list(islice(rows, PIECE)):
        yield piece
