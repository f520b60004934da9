"""Check of a file against the columns that a model takes. All errors are found before a request is sent."""

import csv
import difflib
import io
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from client.columns import Column, ModelSchema, Read, plain, reader
from client.endpoint import Form, Row
from client.errors import InputError
from client.tables import Table

SHOWN = 5
"""Largest number of problems that are listed."""
WRONG = (ValueError, TypeError, OverflowError)
"""Errors that a reader of cells raises for a value of the wrong type."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Table whose columns fit a model."""

    table: Table
    model: ModelSchema
    sent: Sequence[Column]
    """Columns that are sent."""
    places: Sequence[int]
    """Index in a row of each column that is sent."""

    @property
    def form(self) -> Form:
        """Text of a request before and after its rows."""
        if not self.model.named:
            return Form(before='{"instances":[', after="]}")
        columns = json.dumps([column.name for column in self.sent])
        return Form(before=f'{{"dataframe_split":{{"columns":{columns},"data":[', after="]}}")

    def requests(self) -> Iterator[Row]:
        """Yield each row as JSON."""
        readers = self._readers()
        for number, cells in self.table.rows():
            values = [read(cells[place]) for read, place in readers]
            yield Row(place=f"{self.table.counted} {number}", text=json.dumps(values, default=plain))

    def count(self) -> int:
        """Check all values and return the number of rows.

        Raises:
            InputError: values have the wrong type; the first problems are listed, one on a line.
        """
        readers, rows = self._readers(), 0
        problems, shown = 0, list[str]()
        for number, cells in self.table.rows():
            rows += 1
            try:
                for read, place in readers:
                    read(cells[place])
            except WRONG:
                found = list(self._problems(number, cells, readers))
                problems += len(found)
                shown = [*shown, *found][:SHOWN]
        if problems:
            more = [f"... and {problems - SHOWN:,} more"] if problems > SHOWN else []
            raise InputError("\n".join([*shown, *more, "nothing was sent"]))
        if not rows:
            raise InputError(f"{self.table.path} has a header but no rows; write at least one row")
        return rows

    def _readers(self) -> Sequence[tuple[Read, int]]:
        types = self.table.types
        return [
            (reader(column, text=types is None, stored=types[place] if types else None), place)
            for column, place in zip(self.sent, self.places, strict=True)
        ]

    def _problems(self, number: int, cells: Sequence[object], readers: Sequence[tuple[Read, int]]) -> Iterator[str]:
        for (read, place), column in zip(readers, self.sent, strict=True):
            try:
                read(cells[place])
            except WRONG:
                name = column.name if self.model.named else self.table.names[place]
                found = "is empty" if cells[place] in ("", None) else f"is {_shortened(cells[place])}"
                yield (
                    f"{self.table.path}: {self.table.counted} {number}, column {name} {found}: {column.must} "
                    f"(required by {self.model.title})"
                )


def fit(table: Table, model: ModelSchema, keep: Sequence[str]) -> Fit:
    """Return the table with the model's columns. Each column must be one that the model takes or one to keep.

    Raises:
        InputError: columns are missing or unknown; all of them are listed.
    """
    present = list(table.names)
    keep = [name if name in present else name.strip() for name in keep if name.strip() or name in present]
    kept = [name for name in present if name in keep]
    if not model.named:
        places = [place for place, name in enumerate(present) if name not in kept]
        if len(places) != len(model.columns):
            raise InputError(
                f"{table.path} has {len(places)} columns, and {model.title} takes {len(model.columns)}, matched by "
                "their order; remove the surplus columns, or name those that are not sent in --keep NAME,..."
            )
        return Fit(table=table, model=model, sent=model.columns, places=places)
    sent = [column for column in model.columns if column.name in present]
    known = {column.name for column in model.columns}
    surplus = [name for name in present if name not in known and name not in kept]
    missing = [column.name for column in model.columns if column.required and column.name not in present]
    problems = [
        f"{table.path} has no column {name} to keep; it has {_shown(present)}" for name in keep if name not in present
    ]
    if missing:
        problems.append(f"{table.path} has no column {_listed(missing, surplus)}, which {model.title} needs; add it")
    if surplus:
        problems.append(
            f"{table.path} has a column {_shown(surplus)} that {model.title} does not take; remove it, or copy it "
            f"to the result without sending it: {_keeping([*kept, *surplus])}"
        )
    if problems:
        raise InputError("\n".join([*problems, "nothing was sent"]))
    return Fit(table=table, model=model, sent=sent, places=[present.index(column.name) for column in sent])


def names_in(keep: str) -> Sequence[str]:
    """Return the names in one line of CSV. InputError if it is not one."""
    if not keep:
        return []
    try:
        ((*names,),) = csv.reader([keep], strict=True)
    except (csv.Error, ValueError) as error:
        raise InputError(
            f"--keep {keep} is not a line of CSV ({error}); write commas between names, put a name with a comma or a "
            "double quote in double quotes, and double its own double quotes"
        ) from None
    return names


def _keeping(names: Sequence[str]) -> str:
    """Return the option that keeps the columns, quoted for CSV and for the shell."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return f"--keep={shlex.quote(line.getvalue())}"


def _shown(names: Sequence[str]) -> str:
    """Return the names with commas between them; a name that could be misread is in quotes."""
    plain_ones = [name == name.strip() and name.isprintable() and "," not in name and bool(name) for name in names]
    return ", ".join(name if is_plain else repr(name) for name, is_plain in zip(names, plain_ones, strict=True))


def _listed(missing: Sequence[str], surplus: Sequence[str]) -> str:
    """Return the missing columns, each with the surplus column that it resembles."""
    lower: Mapping[str, str] = {name.lower().strip(): name for name in surplus}
    words: list[str] = []
    for name in missing:
        near = difflib.get_close_matches(name.lower(), list(lower), 1)
        words.append(f"{name} (is it {lower[near[0]]!r}?)" if near else name)
    return ", ".join(words)


def _shortened(cell: object) -> str:
    return json.dumps(cell, ensure_ascii=False, default=plain)[:80]
