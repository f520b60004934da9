"""Bodies for POST /invocations: valid ones in every form, and invalid ones of many kinds."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from model_server.predict.signature import Signature
from model_server.predict.types import Kind

NUMBERS = (0, 1, -1, 0.5, -2.25, 3.0, 1e-7, 123456.789, 1e300, 2**40, 7)
WHOLE = (0, 1, -1, 7, 42, -300, 2**31 - 1)
VALUES: dict[Kind, Sequence[Any]] = {
    "double": (*NUMBERS, None),
    "float": (0, 1.5, -2.25, 1e10, 0.1, None),
    "long": (*WHOLE, 2**40),
    "integer": WHOLE,
    "boolean": (True, False),
    "string": ("a", "b", "Month-to-month", "", "ü", "7", "nan"),
}
STRANGE: Sequence[Any] = (
    None, True, "x", "1", "", 1.5, -0.0, 1e308, 2**53 + 1, 2**63, 2**64, 10**30, 1e-320, [], [1, 2], {}, {"a": 1},
    float("nan"), float("inf"), "2024-01-01", 3.0,
)  # fmt: skip


@dataclass(frozen=True)
class Payload:
    """A request body and its content type."""

    body: bytes
    content_type: str = "application/json"


def payloads(signature: Signature, count: int, seed: int) -> Iterator[Payload]:
    """Yield `count` bodies, about half of them valid. The same seed gives the same bodies."""
    rng = random.Random(seed)
    for _ in range(count):
        names, rows = signature.names, _rows(signature, rng)
        if rng.random() < 0.5:
            _spoil(names, rows, rng)
        body = rng.choice((_split, _split, _records, _instances, _inputs, _lists, _bare, _csv))(names, rows, rng)
        if isinstance(body, str):
            yield Payload(body.encode(), "text/csv")
            continue
        if rng.random() < 0.2:
            body |= rng.choice(
                ({"params": {}}, {"params": None}, {"params": {"k": 1}}, {"params": 5}, {"more": 1}, {"inputs": [1]})
            )
        text = json.dumps(body, ensure_ascii=rng.random() < 0.5)
        yield Payload(_break(text, rng).encode() if rng.random() < 0.1 else text.encode())


def _rows(signature: Signature, rng: random.Random) -> list[list[Any]]:
    good = rng.choice((1, 1, 2, 5))
    return [[rng.choice(VALUES[column.kind]) for column in signature.columns] for _ in range(good)]


def _spoil(names: list[str], rows: list[list[Any]], rng: random.Random) -> None:
    at = rng.randrange(len(names))
    match rng.randrange(7):
        case 0:  # a column is called otherwise
            names[at] = "other"
        case 1:  # another order
            order = rng.sample(range(len(names)), len(names))
            names[:] = [names[place] for place in order]
            rows[:] = [[row[place] for place in order] for row in rows]
        case 2:  # a row is too short
            rng.choice(rows).pop()
        case 3:
            rows.clear()
        case 4:  # a column too many
            names.append("more")
            for row in rows:
                row.append(1)
        case 5:
            for row in rows:
                row[at] = rng.choice(STRANGE)
        case _:
            rng.choice(rows)[at] = rng.choice(STRANGE)


def _split(names: list[str], rows: list[list[Any]], rng: random.Random) -> dict[str, Any]:
    split: dict[str, Any] = {"columns": names, "data": rows}
    if rng.random() < 0.3:
        split["index"] = rng.choice(([*range(len(rows))], [5] * len(rows), [1], ["a"] * len(rows), None))
    if rng.random() < 0.05:
        split.pop("columns")
    return {"dataframe_split": split}


def _dicts(names: list[str], rows: list[list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=False)) for row in rows]


def _records(names: list[str], rows: list[list[Any]], _: random.Random) -> dict[str, Any]:
    return {"dataframe_records": _dicts(names, rows)}


def _instances(names: list[str], rows: list[list[Any]], _: random.Random) -> dict[str, Any]:
    return {"instances": _dicts(names, rows)}


def _inputs(names: list[str], rows: list[list[Any]], _: random.Random) -> dict[str, Any]:
    return {"inputs": _dicts(names, rows)}


def _lists(names: list[str], rows: list[list[Any]], _: random.Random) -> dict[str, Any]:
    return {"inputs": {name: [row[at] for row in rows if at < len(row)] for at, name in enumerate(names)}}


def _bare(_: list[str], rows: list[list[Any]], rng: random.Random) -> dict[str, Any]:
    return {rng.choice(("instances", "inputs")): rows}


def _csv(names: list[str], rows: list[list[Any]], _: random.Random) -> str:
    lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
    return "\n".join([",".join(names), *lines, ""])


def _break(text: str, rng: random.Random) -> str:
    changes: Sequence[Callable[[str], str]] = (
        lambda whole: whole[: rng.randrange(len(whole))],
        lambda whole: whole + "x",
        lambda whole: f"[{whole}]",
        lambda whole: whole.replace(":", "", 1),
        lambda whole: whole.replace("1", "01", 1),
        lambda whole: f" \n{whole}\n",
        lambda whole: "\ufeff" + whole,
        lambda whole: whole[:-1] + ', "params": {}, "params": {}}',
        lambda whole: whole.replace('"a"', r'"\ud800"', 1),
    )
    return rng.choice(changes)(text)
