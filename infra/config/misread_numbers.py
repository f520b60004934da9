"""Numbers in the stack file that do not read as they are written: YAML makes 8 of 08 and of 010, and 10 of 1_0.

Pulumi hands over what YAML made of them, so only the file itself shows how they stand there.
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
    """The numbers of a stack file that a person would take for others; `values` is what Pulumi read of the file."""
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
                    because="whoever reads the file would take it for another number than the one that counts",
                    instead=f"write {json.dumps(value)} if that is meant, or the right number; a text stands in quotes",
                ),
            )


def _readings(written: str) -> Sequence[float]:
    """Every number that the digits may be; where Pulumi has yet another, it has read another file."""
    digits, found = written.replace("_", ""), list[float]()
    for read in (int, float, partial(int, base=8), partial(int, base=0)):
        with suppress(ValueError):
            found.append(read(digits))
    return found


def _entries(node: object) -> Mapping[str, yaml.Node]:
    """The values of a mapping by their keys; empty for anything else."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    pairs = cast("Sequence[tuple[yaml.Node, yaml.Node]]", node.value)
    return {key.value: value for key, value in pairs if isinstance(key, yaml.ScalarNode)}


def _plain_scalars(node: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value that stands in the file without quotes, as it is written, by its path."""
    if isinstance(node, yaml.ScalarNode) and node.style is None:
        yield path, node.value
    places: Mapping[str, yaml.Node] = _entries(node)
    if isinstance(node, yaml.SequenceNode):
        places = {str(place): each for place, each in enumerate(cast("Sequence[yaml.Node]", node.value))}
    for key, each in places.items():
        yield from _plain_scalars(each, f"{path}.{key}" if path else key)


def _at(values: object, path: str) -> object:
    """The value at the path, whose keys may hold dots; None where there is none."""
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
