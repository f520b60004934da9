"""Find the differences between a stack and its cluster in the output of `pulumi preview --refresh --json`.

The preview has two steps for each resource. The step `refresh` has the state that the last update recorded. In the step
after it, the old state is what the refresh read from the cluster, and the new state is what the program declares now.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias, TypeGuard, cast

Json: TypeAlias = Any
Object: TypeAlias = Mapping[str, Json]
SECRET, ANOTHER = "[secret]", "[another secret]"
"""Texts in place of secret values: the engine writes the first, and this module writes the second for the cluster's."""
UNKNOWN, NOT_YET = "04da6b54-80e4-46f7-96ec-b56ff0331ba9", "[known after the update]"
"""Texts in place of a value that a preview cannot know: the engine writes the first, this module the second."""
PRESENT = "present"
"""Text in place of a value if the whole object is missing on one side."""
IDENTITIES = ("name", "mountPath", "containerPort", "port", "key", "topologyKey")
"""Keys that may identify the elements of a list; the first one that all have, with different values, is used."""
BY_HAND = "kubectl"
"""Start of kubectl's names as a field manager. An update of an object removes fields that only kubectl added."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One field whose value in the cluster differs from the stack's; None means no value."""

    object: str
    """Kind, namespace and name of the object."""
    field: str
    """Path of the field in the object; empty for the whole object."""
    stack: Json
    """Value of the field that the last update recorded."""
    cluster: Json
    """Value of the field in the cluster now."""
    changed_by: str
    """Program that set the cluster's value last; empty if it is unknown, for example for a removed field."""
    changed_at: str
    """Time in UTC at which the cluster's value was set last, such as 2026-11-30T09:14:05Z; empty if it is unknown."""
    after_up: Json
    """Value of the field after `pulumi up --refresh`."""


@dataclass(frozen=True)
class _Element:
    """Part of a path: an element of a list, and its label in the path."""

    label: str
    value: object


_Path: TypeAlias = tuple["str | _Element", ...]


@dataclass(frozen=True, kw_only=True)
class _Found:
    path: _Path
    stack: Json
    cluster: Json
    planned: Json


def differences(preview: Object) -> list[Difference]:
    """Return the differences in the objects of the cluster, sorted by object and field.

    A field that only the cluster has is included if it was added there: an element of a list that the stack declares,
    such as a variable of a container, or anything that kubectl set. Fields that the program ignores are left out. The
    preview hides the values of a Secret, so a value that only the stack file changed is included too.
    """
    steps: dict[str, list[Object]] = {}
    for step in preview.get("steps", []):
        steps.setdefault(step["urn"], []).append(step)
    found = [
        difference
        for urn, several in steps.items()
        if urn.split("::")[2].rpartition("$")[2].startswith("kubernetes:")
        for difference in _of_object(several)
    ]
    return sorted(found, key=attrgetter("object", "field"))


def _of_object(steps: Sequence[Object]) -> Iterator[Difference]:
    recorded = next((step["oldState"] for step in steps if step["op"] == "refresh"), None)
    plan = next((step for step in steps if step["op"] != "refresh"), None)
    if recorded is None or plan is None:
        return
    inputs, title = recorded["inputs"], _title(recorded)
    if "oldState" not in plan:
        yield Difference(
            object=title, field="", stack=PRESENT, cluster=None, changed_by="", changed_at="", after_up=PRESENT
        )
        return
    live, planned = plan["oldState"]["outputs"], plan.get("newState", {}).get("inputs", {})
    metadata: Object = live.get("metadata", {})
    managers: list[Object] = [
        each for each in metadata.get("managedFields", []) if each.get("manager") != live.get("__fieldManager")
    ]
    if inputs.get("kind") == "Secret":
        changed: Object = plan.get("detailedDiff") or {}
        for field in changed:
            yield Difference(
                object=title, field=field, stack=SECRET, cluster=ANOTHER, changed_by="", changed_at="", after_up=SECRET
            )
        return
    updated = plan["op"] != "same"
    found = {_text(each.path): each for each in _compared((), inputs, live, planned) if updated or each.stack is None}
    for manager in managers:
        if manager.get("manager", "").startswith(BY_HAND) and "subresource" not in manager:
            for added in _added((), manager.get("fieldsV1", {}), live, inputs):
                found.setdefault(_text(added.path), added)
    for field in found.keys() - set(plan.get("newState", plan["oldState"]).get("ignoreChanges", [])):
        each = found[field]
        owners = [one for one in managers if _owns(one, each.path)]
        owner: Object = max(owners, key=lambda one: one.get("time", "")) if owners else {}
        by: str = owner.get("manager", "")
        stays = each.stack is None and not (updated and by.startswith(BY_HAND))
        yield Difference(
            object=title,
            field=field,
            stack=each.stack,
            cluster=each.cluster,
            changed_by=by,
            changed_at=owner.get("time", ""),
            after_up=each.cluster if stays else NOT_YET if each.planned == UNKNOWN else each.planned,
        )


def _compared(path: _Path, declared: Json, live: Json, planned: Json) -> Iterator[_Found]:
    """Yield the fields whose value in the cluster is not the declared one, and further elements of lists."""
    if is_map(declared):
        for key, value in declared.items():
            yield from _compared((*path, key), value, _get(live, key), _get(planned, key))
    elif _is_maps(declared) and _is_maps(live or []):
        identity = _identity(declared, live or [])
        was, now, then = _labelled(declared, identity), _labelled(live, identity), _labelled(planned, identity)
        for label in [*was, *(label for label in now if label not in was)]:
            element = (*path, _Element(label, now.get(label, was.get(label))))
            if label in was and label in now:
                yield from _compared(element, was[label], now[label], then.get(label))
            else:
                yield _Found(path=element, stack=was.get(label), cluster=now.get(label), planned=then.get(label))
    elif declared not in (SECRET, live) and (declared or live is not None):  # the API server omits empty values
        yield _Found(path=path, stack=declared, cluster=live, planned=planned)


def _added(path: _Path, fields: Object, live: Json, declared: Json) -> Iterator[_Found]:
    """Yield the managed fields that the cluster has and the stack does not declare."""
    identity = _identity(*(each for each in (declared, live) if _is_maps(each)))
    for key, below in fields.items():
        kind, _, name = key.partition(":")
        if kind == "f":
            part, value, own = name, _get(live, name), _get(declared, name)
        elif kind == "k":
            label, value = next(
                (each for each in _labelled(live, identity).items() if _matches(key, each[1])), ("", None)
            )
            part, own = _Element(label, value), _labelled(declared, identity).get(label)
        else:
            continue
        if value is None:
            continue
        if below.keys() - {"."} and (own is not None or (kind == "f" and is_map(value))):
            yield from _added((*path, part), below, value, own)
        elif own is None:
            yield _Found(path=(*path, part), stack=None, cluster=value, planned=None)


def _owns(manager: Object, path: _Path) -> bool:
    """Return True if the manager set the field at the path, or a whole list or mapping that contains it."""
    fields: Object = manager.get("fieldsV1", {})
    for part in path:
        if not fields.keys() - {"."}:
            return True
        if isinstance(part, str):
            keys = [f"f:{part}"]
        else:
            keys = [key for key in fields if key.startswith("k:") and _matches(key, part.value)]
        below = next((fields[key] for key in keys if key in fields), None)
        if below is None:
            return False
        fields = below
    return True


def _matches(key: str, element: object) -> bool:
    """Return True if a key of managed fields, such as k:{"name":"server"}, identifies the element."""
    return is_map(element) and json.loads(key.removeprefix("k:")).items() <= element.items()


def _identity(*lists: Sequence[Object]) -> str:
    for key in IDENTITIES:
        if all(len({str(each.get(key)) for each in one if key in each}) == len(one) for one in lists):
            return key
    return ""


def _labelled(elements: Json, identity: str) -> dict[str, Object]:
    """Return the elements of a list by identity; nothing if the value is not a list of mappings."""
    if not _is_maps(elements):
        return {}
    return {str(each.get(identity, place)): each for place, each in enumerate(elements)}


def _title(state: Object) -> str:
    metadata: Object = state["inputs"].get("metadata", {})
    where = "/".join(
        filter(None, [metadata.get("namespace"), metadata.get("name") or state["urn"].rpartition("::")[2]])
    )
    return f"{state['inputs'].get('kind') or state['type'].rpartition(':')[2]} {where}"


def _text(path: _Path) -> str:
    text = ""
    for part in path:
        if isinstance(part, _Element):
            text += f"[{part.label}]"
        elif part.isidentifier():
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def _get(value: Json, key: str) -> Json:
    return value.get(key) if is_map(value) else None


def is_map(value: object) -> TypeGuard[Object]:
    """Return True if the value is a JSON object."""
    return isinstance(value, dict)


def _is_maps(value: object) -> TypeGuard[Sequence[Object]]:
    return isinstance(value, list) and all(is_map(each) for each in cast("list[Json]", value))
