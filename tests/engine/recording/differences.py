"""Differences between two trees of inputs, in the engine's format."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from pulumi.runtime.proto import provider_pb2

from tests.engine.recording.values import Json, Path, Secret, is_list, is_map

Kind = Literal["add", "delete", "update"]
KINDS: Final = {
    ("add", False): provider_pb2.PropertyDiff.ADD, ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE, ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE, ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}  # fmt: skip
PLAIN_KEY = re.compile(r"[A-Za-z_$][\w$]*")


@dataclass(frozen=True)
class Difference:
    """Changed path; `kind` describes the step from the old tree to the new one."""

    path: Path
    kind: Kind


def differences(old: Json, new: Json, at: Path = ()) -> Iterator[Difference]:
    """Yield every innermost difference. A secret equals its plain value; None counts as absent."""
    old, new = _bare(old), _bare(new)
    if is_map(old) and is_map(new):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key), new.get(key), (*at, key))
    elif is_list(old) and is_list(new):
        for index in range(max(len(old), len(new))):
            yield from differences(_item(old, index), _item(new, index), (*at, index))
    elif old != new or type(old) is not type(new):
        yield Difference(at, "add" if old is None else "delete" if new is None else "update")


def _bare(value: Json) -> Json:
    while isinstance(value, Secret):
        value = value.value
    return value


def _item(items: list[Json], index: int) -> Json:
    return items[index] if index < len(items) else None


def property_path(path: Path) -> str:
    """Return a path in the engine's format: `spec.containers[0].image`, `metadata.labels["app.kubernetes.io/name"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            escaped = part.replace('"', '\\"')
            text += f'["{escaped}"]'
    return text


def diff_response(
    changes: list[Difference], replaced: set[Path], *, delete_first: bool = False
) -> provider_pb2.DiffResponse:
    """Return the response for `changes`; changes at `replaced` replace the resource."""
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if changes else provider_pb2.DiffResponse.DIFF_NONE,
        diffs=sorted({str(change.path[0]) for change in changes}),
        replaces=sorted(property_path(path) for path in replaced),
        deleteBeforeReplace=delete_first,
        hasDetailedDiff=True,
        detailedDiff={
            property_path(change.path): provider_pb2.PropertyDiff(
                kind=KINDS[change.kind, change.path in replaced], inputDiff=True
            )
            for change in changes
        },
    )
