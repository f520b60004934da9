"""Values of parameters as they are written on a command line."""

import math
from collections.abc import Mapping, Sequence

from runs.errors import RefusedError

Value = str | float | bool

TRUTH = {"true": True, "false": False}


def pairs(words: Sequence[str]) -> Mapping[str, str]:
    """Return the values of `NAME=value` words by name. RefusedError for another word, or a name that comes twice."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise RefusedError(f"{word} is no value of a parameter; write NAME=value, as in N_ESTIMATORS=300")
        if name in found:
            raise RefusedError(f"{name} is given twice, {found[name]} and {value}; give it once")
        found[name] = value
    return found


def parse(name: str, text: str, declared: Value) -> Value:
    """The value in the type of the one that the stack file declares. RefusedError if it is none of that type."""
    match declared:
        case bool():
            value, kind = TRUTH.get(text.lower()), "true or false"
        case int() | float():
            value, kind = _number(text), "a number"
        case _:
            return text
    if value is None:
        raise RefusedError(f"{name}={text}: must be {kind}, because the stack file says {declared}; write {kind}")
    return value


def _number(text: str) -> float | None:
    """Whole where it is written so: of a declared 1.0 Pulumi keeps no more than 1, so both are fine for both."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return None
