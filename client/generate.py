"""A typed client of one model, as one Python file that needs httpx alone."""

import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

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
"""Asks {title}. Made by `mlops client`: make it again for another version, and do not edit it."""

import os
from collections.abc import Sequence
from typing import {typing}

import httpx

URL = os.environ.get({variable}, {url})
"""Where the model answers: what the environment says, or else {place}."""


{row}


{prediction}


def connect(url: str = URL) -> httpx.Client:
    """A client that keeps its connections; close it, or use it in a `with`."""
    return httpx.Client(base_url=url, timeout=60, transport=httpx.HTTPTransport(retries=2))


def predict(rows: Sequence[Row], http: httpx.Client) -> list[Prediction]:
    """One prediction for each row, in the order of the rows.

    Raises:
        httpx.HTTPStatusError: the model refused the rows, or has too much to do (429, 503); the text says why.
        httpx.TransportError: it cannot be reached at the client's URL.
    """
    answer = http.post("/invocations", json={{"{form}": list(rows)}})
    if answer.is_error:
        raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
    predictions: list[Prediction] = answer.json()["predictions"]
    return predictions
'''
ANYTHING = '''\
Prediction: TypeAlias = "float | str | list[Prediction] | dict[str, Prediction] | None"
"""What the model gives for one row; its signature does not say more."""'''


def source(takes: Takes, url: str, *, variable: str, in_cluster: bool) -> str:
    """The text of the file. The environment's `variable` goes before `url`, which may lead there `in_cluster` alone."""
    row, prediction = _row(takes), _prediction(takes)
    typing = [word for word in ("NotRequired", "TypeAlias", "TypedDict") if word in row + prediction]
    return FILE.format(
        title=takes.title,
        typing=", ".join(typing),
        variable=quoted(variable),
        url=quoted(url),
        place="its address inside the cluster" if in_cluster else "the address it was asked at",
        row=row,
        prediction=prediction,
        form="dataframe_records" if takes.named else "instances",
    )


def _row(takes: Takes) -> str:
    if takes.named:
        return _record("Row", "One row; None where a value is missing.", takes.columns)
    fields = [f"    {_type(column)}," for column in takes.columns]
    about = '"""The values of one row, in the order that the model was fitted with."""'
    return "\n".join(["Row: TypeAlias = tuple[", *fields, "]", about])


def _prediction(takes: Takes) -> str:
    """As the signature has it."""
    if takes.gives is None:
        return ANYTHING
    gives = [replace(column, nullable=False) for column in takes.gives]
    if gives[0].name:
        return _record("Prediction", "What the model gives for one row.", gives)
    kind = f"list[{_type(gives[0])}]" if takes.gives_lists else _type(gives[0])
    return f'Prediction: TypeAlias = {kind}{_comment(gives[0])}\n"""What the model gives for one row."""'


def quoted(text: str) -> str:
    """A Python string, in double quotes where they need no escape."""
    written = repr(text)
    return written if '"' in text or written[0] == '"' else f'"{written[1:-1]}"'


def _record(name: str, about: str, columns: Sequence[Column]) -> str:
    """A TypedDict: a class, unless a column has a name that is none of Python."""
    if all(map(_is_plain, columns)):
        fields = [f"    {column.name}: {_type(column)}{_comment(column)}" for column in columns]
        return "\n".join([f"class {name}(TypedDict):", f'    """{about}"""', "", *fields])
    fields = [f"        {quoted(column.name)}: {_type(column)},{_comment(column)}" for column in columns]
    return "\n".join([f"{name} = TypedDict(", f'    "{name}",', "    {", *fields, "    },", ")", f'"""{about}"""'])


def _is_plain(column: Column) -> bool:
    return PLAIN.fullmatch(column.name) is not None and not keyword.iskeyword(column.name) and column.name not in TAKEN


def _type(column: Column) -> str:
    kind = TYPES[column.kind] + (" | None" if column.nullable and column.kind != "anything" else "")
    return kind if column.required else f"NotRequired[{kind}]"


def _comment(column: Column) -> str:
    return f"  # {ABOUT[column.kind]}" if column.kind in ABOUT else ""
