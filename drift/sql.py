"""Counts of a window as SQL, for an engine that reads a log which is too large for one machine.

The statements are Trino's SQL, which Athena runs. They return what `drift/window.py` counts, so that all numbers of a
look are the same with both engines.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from drift.reference import Column, Numbers
from drift.window import BLOCKS, SAMPLE, WORDS_NAMED, Counts, Window
from prediction_log.arrow import Table, pa

LONGEST = 200_000
"""Largest length of a statement in characters; Athena takes 262,144 bytes."""
MISSING = -1
COUNTED = {name: pa.int64() for name in ("name", "block", "place", "n", "below", "above")}
NEW = {"name": pa.int64(), "word": pa.string(), "n": pa.int64()}
Run = Callable[[str, dict[str, Any]], Table]
"""Function that runs a statement, and returns its result with columns of these names and types of pyarrow."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Table with the predictions of one version."""

    table: str
    """Name of the table, with quotes where it needs them."""
    types: dict[str, Any]
    """Types of pyarrow by column."""
    where: str = "TRUE"
    """Condition that limits the rows to the endpoint, and to partitions with the window."""


def fill(window: Window, source: Source, run: Run) -> None:
    """Count the rows of the window with statements, and keep its sample."""
    shapes, counts = _columns(window, source)
    for statement in _counts(window, source, shapes):
        for name, block, place, rows, below, above in _rows(run(statement, COUNTED)):
            if name < 0:
                window.by_block[block] += rows
                continue
            one = counts[int(name)]
            if place == MISSING:
                one.missing[block] += rows
            else:
                one.bins[block, place] += rows
                one.below += below
                one.above += above
    window.rows = int(window.by_block.sum())
    if statement := _new_words(window, source, shapes):
        for name, word, rows in _rows(run(statement, NEW)):
            one = counts[int(name)]
            one.new[word] = rows
    names = [name for name in source.types if window.is_read(name)]
    sample = run(_sample(window, source, names), {name: source.types[name] for name in names} | {"block": pa.int64()})
    window.keep(sample.drop(["block"]), sample["block"].to_numpy().astype("int64"))


def _columns(window: Window, source: Source) -> tuple[list[tuple[str, Column]], list[Counts]]:
    """Return the columns that are counted: name in the log and reference, and their counts, which are empty yet."""
    reference = window.reference
    window.absent |= {one.name for one in reference.features if f"input_{one.name}" not in source.types}
    found = [(f"input_{one.name}", one) for one in reference.features if one.name not in window.absent]
    counts = [window.columns[one.name] for _, one in found]
    if reference.prediction and window.prediction and "prediction" in source.types:
        return [*found, ("prediction", reference.prediction)], [*counts, window.prediction]
    return found, counts


def _counts(window: Window, source: Source, shapes: Sequence[tuple[str, Column]]) -> Iterator[str]:
    """Yield statements that count the rows of each block and bin; the number -1 as a name counts all rows."""
    everything = _part(window, source, "NULL")
    columns = "-1 AS name, block, 0 AS place, count(*) AS n, 0 AS below, 0 AS above"
    parts = [f"SELECT {columns} FROM ({everything}) GROUP BY block"]
    length = len(parts[0])
    for number, (name, one) in enumerate(shapes):
        beyond = "0 AS below, 0 AS above"
        if isinstance(one, Numbers):
            beyond = f"count_if(value < {_number(one.least)}) AS below, count_if(value > {_number(one.most)}) AS above"
        inner = _part(window, source, _value(name, one, source))
        part = (
            f"SELECT {number} AS name, block, place, count(*) AS n, {beyond} FROM "
            f"(SELECT block, value, {_place(one)} AS place FROM ({inner})) GROUP BY block, place"
        )
        if length + len(part) > LONGEST:
            yield " UNION ALL ".join(parts)
            parts, length = [], 0
        parts.append(part)
        length += len(part)
    yield " UNION ALL ".join(parts)


def _new_words(window: Window, source: Source, shapes: Sequence[tuple[str, Column]]) -> str:
    """Return the statement that counts the words which the reference does not list; empty without such columns."""
    return " UNION ALL ".join(
        f"SELECT * FROM (SELECT {number} AS name, value AS word, count(*) AS n FROM "
        f"({_part(window, source, _value(name, one, source))}) WHERE value NOT IN ({_listed(one.words)}) "
        f"GROUP BY value ORDER BY count(*) DESC, value LIMIT {WORDS_NAMED})"
        for number, (name, one) in enumerate(shapes)
        if not isinstance(one, Numbers)
    )


def _sample(window: Window, source: Source, names: Sequence[str]) -> str:
    """Return the statement for the rows with the smallest hashes, as `Window.keep` takes them."""
    second = 'CAST(CAST(floor(to_unixtime("at")) AS bigint) AS varchar)'
    key = f"md5(to_utf8(concat(request_id, '/', CAST(\"row\" AS varchar), '/', {second})))"
    return (
        f"SELECT {', '.join(map(_quoted, names))}, {_block(window)} AS block FROM {source.table} "
        f"WHERE {_inside(window, source)} ORDER BY {key} LIMIT {SAMPLE}"
    )


def _part(window: Window, source: Source, value: str) -> str:
    return f"SELECT {_block(window)} AS block, {value} AS value FROM {source.table} WHERE {_inside(window, source)}"


def _inside(window: Window, source: Source) -> str:
    return f'{source.where} AND "at" >= {_moment(window.start)} AND "at" < {_moment(window.end)}'


def _block(window: Window) -> str:
    length = (window.end - window.start) // BLOCKS
    borders = [_moment(window.start + number * length) for number in range(1, BLOCKS)]
    return _case('"at"', "<", borders)


def _place(one: Column) -> str:
    """Return the expression for the bin of a value, as numpy's searchsorted or the list of words gives it."""
    if isinstance(one, Numbers):
        return _case("value", "<" if one.open_right else "<=", [_number(edge) for edge in one.edges], "value IS NULL")
    return _case("value", "=", [_text(word) for word in one.words], "value IS NULL")


def _case(value: str, compare: str, borders: Sequence[str], missing: str = "") -> str:
    first = f"WHEN {missing} THEN {MISSING} " if missing else ""
    if not borders:
        return f"CASE {first}ELSE 0 END" if first else "0"
    steps = " ".join(f"WHEN {value} {compare} {border} THEN {place}" for place, border in enumerate(borders))
    return f"CASE {first}{steps} ELSE {len(borders)} END"


def _value(name: str, one: Column, source: Source) -> str:
    quoted = _quoted(name)
    if isinstance(one, Numbers):
        number = f"CAST({quoted} AS double)"
        return f"CASE WHEN is_nan({number}) THEN NULL ELSE {number} END"
    if pa.types.is_boolean(source.types[name]):
        return f"CASE WHEN {quoted} THEN 'True' WHEN NOT {quoted} THEN 'False' END"
    return f"CAST({quoted} AS varchar)"


def _rows(table: Table) -> Iterator[Any]:
    return zip(*(table[name].to_pylist() for name in table.column_names), strict=True)


def _moment(at: datetime) -> str:
    return f"TIMESTAMP '{at:%Y-%m-%d %H:%M:%S.%f}'"


def _number(value: float) -> str:
    return f"DOUBLE '{float(value)!r}'".replace("inf", "Infinity")


def _listed(words: Sequence[str]) -> str:
    return ", ".join(map(_text, words)) or "''"


def _text(word: str) -> str:
    return "'" + word.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
