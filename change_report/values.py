"""Differences between two values, such as the inputs of a resource or the keys of a stack file, as short text."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from model_preview.facts import Frozen
from model_preview.redact import HIDDEN, plain, redact_values
from runs.drift import IDENTITIES, SECRET, UNKNOWN, Json, Object, is_map

LONGEST = 60
"""Largest number of characters of a value that are kept."""
LATER = "[known after the update]"
NOT_SHOWN = "[not shown]"
_CUT = "…"
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Field(Frozen):
    """Field that a change adds, removes or changes; a value is short text on one line without secrets."""

    path: str
    old: str | None
    """Value before the change; None if the field does not exist then."""
    new: str | None
    """Value after the change; None if the field does not exist then."""


def differences(old: Json, new: Json, path: str = "") -> Iterator[Field]:
    """Yield the fields that differ; a field that only one side has is yielded whole.

    An element of a list has its name in the path, or else its number. Text that is a JSON object on both sides, such as
    an IAM policy, is compared as an object.
    """
    if isinstance(old, str) and isinstance(new, str):
        before, after = _parsed(old), _parsed(new)
        old, new = (before, after) if is_map(before) and is_map(after) else (old, new)
    if is_map(old) and is_map(new) and not _is_encrypted(old) and not _is_encrypted(new):
        for key in {**new, **old}:
            yield from differences(old.get(key), new.get(key), _joined(path, key))
    elif isinstance(old, list) and isinstance(new, list):
        before, after = cast("list[Json]", old), cast("list[Json]", new)
        key = _identity(before, after)
        was, now = _labelled(before, key), _labelled(after, key)
        for label in {**now, **was}:
            yield from differences(was.get(label), now.get(label), f"{path}[{label}]")
    elif old != new:
        yield _field(path, old, new)


def unknown(value: Json) -> int:
    """Return how many values in the value are known only after the update."""
    if isinstance(value, str):
        return int(UNKNOWN in value)
    return sum(map(unknown, _below(value)))


def at(value: Json, path: str) -> Json:
    """Return what is at a path as Pulumi writes it, such as `spec.containers[0].env["a.b"]`; None if nothing is."""
    for quoted, number, name in re.findall(r'\["([^"]*)"\]|\[(\d+)\]|([^.\[\]]+)', path):
        if is_map(value):
            value = value.get(quoted or name)
        elif isinstance(value, list) and number and int(number) < len(cast("list[Json]", value)):
            value = cast("list[Json]", value)[int(number)]
        else:
            return None
    return value


def _below(value: Json) -> Sequence[Json]:
    if is_map(value):
        return list(value.values())
    return cast("list[Json]", value) if isinstance(value, list) else ()


def _parsed(text: str) -> Json:
    try:
        return json.loads(text) if text.startswith("{") else text
    except ValueError:
        return text


def _is_encrypted(value: Object) -> bool:
    """Return whether the value is a secret of a stack file."""
    return set(value) == {"secure"}


def _joined(path: str, key: str) -> str:
    part = f'["{key}"]' if "." in key else key
    return f"{path}{part}" if not path or part.startswith("[") else f"{path}.{part}"


def _identity(*lists: Sequence[Json]) -> str:
    """Return the key whose values tell the elements of each list apart; empty if there is none."""
    for key in IDENTITIES:
        if all(
            all(is_map(each) and key in each for each in one) and len({str(each[key]) for each in one}) == len(one)
            for one in lists
        ):
            return key
    return ""


def _labelled(elements: Sequence[Json], identity: str) -> Mapping[str, Json]:
    return {str(each[identity] if identity else number): each for number, each in enumerate(elements)}


def _field(path: str, old: Json, new: Json) -> Field:
    names = re.findall(r"[^.\[\]]+", path)
    before, after = (None if value is None else _text(_clean(value, names)) for value in (old, new))
    return Field(path=plain(path), old=_short(before, after), new=_short(after, before))


def _clean(value: Json, names: Sequence[str]) -> Json:
    """Return the value without secrets; `names` are those in its path.

    Providers mark secrets. A program may not do so, and therefore text with the name of a secret is hidden too.
    """
    if is_map(value):
        if _is_encrypted(value):
            return SECRET
        own = [value["name"]] if isinstance(value.get("name"), str) else []  # of a variable
        return {key: each if key == "name" else _clean(each, [*own, key]) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each, names) for each in cast("list[Json]", value)]
    if not isinstance(value, str) or value == SECRET:
        return value
    if UNKNOWN in value:
        return LATER
    parts = {_CAMEL.sub("_", name): "" for name in names}
    return HIDDEN if HIDDEN in redact_values(parts).values() else value


def _text(value: Json) -> str:
    return plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _short(text: str | None, other: str | None) -> str | None:
    """Return the part of a long text around the place where it begins to differ from the other text."""
    if text is None or len(text) <= LONGEST:
        return text
    same = next((at for at, pair in enumerate(zip(text, other or "", strict=False)) if len(set(pair)) == 2), 0)
    start = max(0, min(same - LONGEST // 2, len(text) - LONGEST + 1))
    end = start + LONGEST - 1 if start == 0 or len(text) - start >= LONGEST else len(text)
    return f"{_CUT if start else ''}{text[start:end]}{_CUT if end < len(text) else ''}"
