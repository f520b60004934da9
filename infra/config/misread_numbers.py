"""Check for numbers that YAML reads in another way than people do: 08 and 010 as 8, 1_0 as 10.

Pulumi passes on the numbers that YAML has read, so this module reads the stack file itself.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import cast

import yaml

from infra.config.problems import PREFIX, Problem
from infra.config.rules import Rule

MISREAD = re.compile(r"[-+]?(0\d[\d_.]*|0[box][\da-f_]+|\d[\d.]*_[\d_.]*)", re.IGNORECASE)
VERSION = re.compile(r"[1-9]\d*")


def misread(text: str, values: Mapping[str, object]) -> Iterator[Problem]:
    """Yield a problem for each number of a stack file that people read as another; `values` is what Pulumi has read."""
    file: object = yaml.compose(text, Loader=yaml.SafeLoader)
    for path, written in _plain_scalars(_entries(file).get("config")):
        if not path.startswith(PREFIX):
            continue
        value = _at(values, path := path.removeprefix(PREFIX))
        is_version = path.endswith(".version") and not VERSION.fullmatch(written)
        if (is_version or MISREAD.fullmatch(written)) and not isinstance(value, bool) and value in _readings(written):
            yield Problem(
                path=path,
                found=f"is written {written}, which YAML reads as {json.dumps(value)}",
                rule=Rule(
                    must="must be written in decimal digits, without a leading 0 and without _"
                    + (", and without a point" if is_version else ""),
                    because="people would read another number than the program does",
                    instead=f"write {json.dumps(value)} if you mean that, or the right number; write a text in quotes",
                ),
            )


def _readings(written: str) -> Sequence[float]:
    """Return every number that YAML may read; if Pulumi has another, it has read another file."""
    digits, found = written.replace("_", ""), list[float]()
    for read in (int, float, partial(int, base=8), partial(int, base=0)):
        with suppress(ValueError):
            found.append(read(digits))
    return found


def _entries(node: object) -> Mapping[str, yaml.Node]:
    """Return the values of a mapping node by key; empty for any other node."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    pairs = cast("Sequence[tuple[yaml.Node, yaml.Node]]", node.value)
    return {key.value: value for key, value in pairs if isinstance(key, yaml.ScalarNode)}


def _plain_scalars(node: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of every value that is written without quotes."""
    if isinstance(node, yaml.ScalarNode) and node.style is None:
        yield path, node.value
    places: Mapping[str, yaml.Node] = _entries(node)
    if isinstance(node, yaml.SequenceNode):
        places = {str(place): each for place, each in enumerate(cast("Sequence[yaml.Node]", node.value))}
    for key, each in places.items():
        yield from _plain_scalars(each, f"{path}.{key}" if path else key)


def _at(values: object, path: str) -> object:
    """Return the value at a path, whose keys may contain dots; None if there is none."""
    if isinstance(values, list):
        values = dict(enumerate(cast("list[object]", values)))
    if not isinstance(values, Mapping):
        return None
    for key, value in cast("Mapping[object, object]", values).items():
        if path == str(key):
            return value
        if path.startswith(f"{key}.") and (found := _at(value, path.removeprefix(f"{key}."))) is not None:
            return found
    return None
