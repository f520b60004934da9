"""Values of parameters on a command line."""

import math
from collections.abc import Mapping, Sequence

from runs.errors import RefusedError

Value = str | float | bool

TRUTH = {"true": True, "false": False}


def pairs(words: Sequence[str]) -> Mapping[str, str]:
    """Return the values of `NAME=value` words by name. RefusedError for another word or a repeated name."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise RefusedError(f"{word} does not set a parameter; write NAME=value, such as N_ESTIMATORS=300")
        if name in found:
            raise RefusedError(f"{name} is given twice, as {found[name]} and as {value}; write it once")
        found[name] = value
    return found


def parse(name: str, text: str, declared: Value) -> Value:
    """Return the text as a value of the declared value's type. RefusedError if it has another type."""
    match declared:
        case bool():
            value, kind = TRUTH.get(text.lower()), "true or false"
        case int() | float():
            value, kind = _number(text), "a number"
        case _:
            return text
    if value is None:
        raise RefusedError(f"{name}={text}: must be {kind}, because the stack file declares {declared}; write {kind}")
    return value


def _number(text: str) -> float | None:
    """Return an integer if the text is one, else a float.

    Pulumi stores a declared 1.0 as 1, so the declaration does not tell integers and floats apart.
    """
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return None
