"""Whether a file fits a model: everything that is wrong with it is found before anything is sent."""

import csv
import difflib
import io
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from client.columns import Column, Read, Takes, plain, reader
from client.endpoint import Form, Row
from client.errors import InputError
from client.tables import Table

SHOWN = 5
"""Problems that are told one by one."""
WRONG = (ValueError, TypeError, OverflowError)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A table beside what the model takes: the columns that are sent, and at which place of a row each stands."""

    table: Table
    takes: Takes
    sent: Sequence[Column]
    places: Sequence[int]

    @property
    def form(self) -> Form:
        """What is around the rows of a request."""
        if not self.takes.named:
            return Form(before='{"instances":[', after="]}")
        columns = json.dumps([column.name for column in self.sent])
        return Form(before=f'{{"dataframe_split":{{"columns":{columns},"data":[', after="]}}")

    def requests(self) -> Iterator[Row]:
        """Each row as it is sent."""
        readers = self._readers()
        for number, cells in self.table.rows():
            values = [read(cells[place]) for read, place in readers]
            yield Row(place=f"{self.table.counted} {number}", text=json.dumps(values, default=plain))

    def count(self) -> int:
        """How many rows there are.

        Raises:
            InputError: some do not fit; with the first of them, one a line.
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
            raise InputError(f"{self.table.path} has a header and no rows; there is nothing to predict")
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
                name = column.name if self.takes.named else self.table.names[place]
                found = "is empty" if cells[place] in ("", None) else f"is {_short(cells[place])}"
                yield (
                    f"{self.table.path}: {self.table.counted} {number}, column {name} {found}: {column.must} "
                    f"(that is what {self.takes.title} takes)"
                )


def fit(table: Table, takes: Takes, keep: Sequence[str]) -> Fit:
    """The table and the model, if the table's columns are those of the model and those to keep.

    Raises:
        InputError: with every column that is missing or too much.
    """
    there = list(table.names)
    keep = [name if name in there else name.strip() for name in keep if name.strip() or name in there]
    kept = [name for name in there if name in keep]
    if not takes.named:
        places = [place for place, name in enumerate(there) if name not in kept]
        if len(places) != len(takes.columns):
            raise InputError(
                f"{table.path} has {len(places)} columns, and {takes.title} takes {len(takes.columns)}, known by their "
                "order alone; take out those that are too many, or keep them unsent with --keep NAME,..."
            )
        return Fit(table=table, takes=takes, sent=takes.columns, places=places)
    sent = [column for column in takes.columns if column.name in there]
    known = {column.name for column in takes.columns}
    surplus = [name for name in there if name not in known and name not in kept]
    missing = [column.name for column in takes.columns if column.required and column.name not in there]
    problems = [
        f"{table.path} has no column {name} to keep; it has {_shown(there)}" for name in keep if name not in there
    ]
    if missing:
        problems.append(f"{table.path} has no column {_listed(missing, surplus)}, which {takes.title} needs; add it")
    if surplus:
        problems.append(
            f"{table.path} has a column {_shown(surplus)} that {takes.title} does not take; take it out, or keep it "
            f"beside the predictions, unsent, with {_keeping([*kept, *surplus])}"
        )
    if problems:
        raise InputError("\n".join([*problems, "nothing was sent"]))
    return Fit(table=table, takes=takes, sent=sent, places=[there.index(column.name) for column in sent])


def names_in(keep: str) -> Sequence[str]:
    """The names of a line of CSV; InputError for what is none."""
    if not keep:
        return []
    try:
        ((*names,),) = csv.reader([keep], strict=True)
    except (csv.Error, ValueError) as error:
        raise InputError(
            f"--keep {keep} is no line of CSV ({error}); write commas between names, and a name that holds a comma or "
            "a double quote in double quotes, with its own double quotes doubled"
        ) from None
    return names


def _keeping(names: Sequence[str]) -> str:
    """Return the option that keeps the columns, quoted for CSV and for the shell."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return f"--keep={shlex.quote(line.getvalue())}"


def _shown(names: Sequence[str]) -> str:
    """The names with commas between them; one that would be misread is in quotes."""
    plain_ones = [name == name.strip() and name.isprintable() and "," not in name and bool(name) for name in names]
    return ", ".join(name if is_plain else repr(name) for name, is_plain in zip(names, plain_ones, strict=True))


def _listed(missing: Sequence[str], surplus: Sequence[str]) -> str:
    """Each with the column of the file that may be meant."""
    lower: Mapping[str, str] = {name.lower().strip(): name for name in surplus}
    words: list[str] = []
    for name in missing:
        near = difflib.get_close_matches(name.lower(), list(lower), 1)
        words.append(f"{name} (is it {lower[near[0]]!r}?)" if near else name)
    return ", ".join(words)


def _short(cell: object) -> str:
    return json.dumps(cell, ensure_ascii=False, default=plain)[:80]
