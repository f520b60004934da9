"""A typed client of one model, as one Python file that needs httpx alone."""

import keyword
import re
from collections.abc import Mapping, Sequence

from client.columns import Column, Kind, Takes

TYPES: Mapping[Kind, str] = {
    "number": "float",
    "integer": "int",
    "boolean": "bool",
    "text": "str",
    "time": "str",
    "bytes": "str",
    "anything": "object",
}
ABOUT: Mapping[Kind, str] = {"time": "ISO 8601", "bytes": "base64"}
PLAIN = re.compile(r"(?!__)[a-z_][a-z0-9_]*")
TAKEN = frozenset(TYPES.values())
FILE = '''\
"""Asks {title}. Made by `client generate`: make it again for another version, and do not edit it."""

from collections.abc import Sequence
from typing import {typing}

import httpx

URL = {url}
"""Where the model answers."""

{predictions}
"""As JSON has it: what the model gives for one row."""


{row}


def connect(url: str = URL) -> httpx.Client:
    """A client that keeps its connections; close it, or use it in a `with`."""
    return httpx.Client(base_url=url, timeout=60, transport=httpx.HTTPTransport(retries=2))


def predict(rows: Sequence[Row], http: httpx.Client) -> list[Prediction]:
    """One prediction for each row, in the order of the rows.

    Raises:
        httpx.HTTPStatusError: the model refused the rows, or has too much to do (429, 503); the text says why.
        httpx.TransportError: it cannot be reached.
    """
    answer = http.post("/invocations", json={{"{form}": list(rows)}})
    if answer.is_error:
        raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
    predictions: list[Prediction] = answer.json()["predictions"]
    return predictions
'''
PREDICTION = 'Prediction: TypeAlias = "float | str | list[Prediction] | dict[str, Prediction] | None"'


def source(takes: Takes, url: str) -> str:
    """The text of the file."""
    typing = {"TypeAlias"}
    if takes.named:
        row = _class(takes.columns) if all(map(_is_plain, takes.columns)) else _functional(takes.columns)
        typing |= {"TypedDict"} | ({"NotRequired"} if not all(column.required for column in takes.columns) else set())
    else:
        row = _tuple(takes.columns)
    return FILE.format(
        title=takes.title,
        typing=", ".join(sorted(typing)),
        url=quoted(url),
        predictions=PREDICTION,
        row=row,
        form="dataframe_records" if takes.named else "instances",
    )


def quoted(text: str) -> str:
    """A Python string, in double quotes where they need no escape."""
    written = repr(text)
    return written if '"' in text or written[0] == '"' else f'"{written[1:-1]}"'


def _class(columns: Sequence[Column]) -> str:
    fields = [f"    {column.name}: {_type(column)}{_comment(column)}" for column in columns]
    return "\n".join(["class Row(TypedDict):", '    """One row; None where a value is missing."""', "", *fields])


def _functional(columns: Sequence[Column]) -> str:
    """The same for names that are no names of Python."""
    fields = [f"        {quoted(column.name)}: {_type(column)},{_comment(column)}" for column in columns]
    about = '"""One row; None where a value is missing."""'
    return "\n".join(["Row = TypedDict(", '    "Row",', "    {", *fields, "    },", ")", about])


def _tuple(columns: Sequence[Column]) -> str:
    fields = [f"    {_type(column)}," for column in columns]
    about = '"""The values of one row, in the order that the model was fitted with."""'
    return "\n".join(["Row: TypeAlias = tuple[", *fields, "]", about])


def _is_plain(column: Column) -> bool:
    return PLAIN.fullmatch(column.name) is not None and not keyword.iskeyword(column.name) and column.name not in TAKEN


def _type(column: Column) -> str:
    kind = TYPES[column.kind] + (" | None" if column.nullable and column.kind != "anything" else "")
    return kind if column.required else f"NotRequired[{kind}]"


def _comment(column: Column) -> str:
    return f"  # {ABOUT[column.kind]}" if column.kind in ABOUT else ""
