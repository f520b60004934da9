"""Steps of an update, read from what `pulumi preview --json --show-sames` prints."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from change_report import values
from change_report.stores import STORES
from change_report.values import Field
from model_preview.facts import Frozen
from model_preview.redact import plain
from runs.drift import SECRET, Json, Object, is_map

RELEASED = (
    "mlops:index:ModelEndpoint$kubernetes:apps/v1:Deployment",
    "mlops:index:BatchJob$kubernetes:batch/v1:CronJob",
)
"""Types in the URNs of objects with a version: the Deployments of an endpoint, and the CronJob of a batch."""
VERSION_LABEL = "app.kubernetes.io/version"
"""Label of these objects with the number of the model's version."""
_NOTHING: Object = {}


class Op(StrEnum):
    """Effect of an update on a resource, the gravest first."""

    DELETE = "delete"
    REPLACE = "replace"
    UPDATE = "update"
    CREATE = "create"

    @property
    def done(self) -> str:
        """Past participle, such as `created`."""
        return f"{self.value}d"


class Change(Frozen):
    """Resource that the update changes."""

    op: Op
    type: str
    name: str
    where: str = ""
    """Namespace of a Kubernetes object; empty for others."""
    fields: tuple[Field, ...] = ()
    """Fields that an update or a replacement changes."""
    because: tuple[str, ...] = ()
    """Fields that force the replacement."""
    unknown: int = 0
    """Number of values that are known only after the update."""
    store: str = ""
    """Kind of data store, such as `bucket`, if the update deletes its data; empty otherwise."""

    @property
    def title(self) -> str:
        """Kind and name, such as `Deployment ml-serving/churn-predictor`."""
        name = f"{self.where}/{self.name}" if self.where else self.name
        return plain(f"{self.type.rpartition(':')[2]} {name}")


class Infrastructure(Frozen):
    """Resources that an update changes, those whose data it deletes first, then the gravest changes first."""

    changes: tuple[Change, ...]
    same: int
    """Number of resources that stay as they are."""

    @property
    def counts(self) -> Mapping[Op, int]:
        """Number of resources by the effect on them, without effects that none has."""
        found = {op: sum(each.op is op for each in self.changes) for op in Op}
        return {op: count for op, count in found.items() if count}

    @property
    def losses(self) -> list[Change]:
        """Changes that delete data."""
        return [each for each in self.changes if each.store]

    @property
    def unknown(self) -> int:
        """Number of values that are known only after the update."""
        return sum(each.unknown for each in self.changes)


def infrastructure(document: Object) -> Infrastructure:
    """Return the changes in a parsed preview. Components and providers are left out, because they run nothing."""
    by_urn: dict[str, list[Object]] = {}
    for step in document.get("steps", []):
        if _is_resource(step):
            by_urn.setdefault(step["urn"], []).append(step)
    found = [change for steps in by_urn.values() if (change := _change(steps))]
    order = list(Op)
    found.sort(key=lambda each: (not each.store, order.index(each.op), each.type, each.where, each.name))
    return Infrastructure(changes=tuple(found), same=len(by_urn) - len(found))


def versions(document: Object) -> dict[str, tuple[str, str]]:
    """Return the present and the next version of each Deployment and CronJob that the preview changes; else empty."""
    found: dict[str, tuple[str, str]] = {}
    for step in document.get("steps", []):
        kinds, name = step["urn"].split("::")[2:4]
        if kinds.endswith(RELEASED):
            old, new = found.get(name, ("", ""))
            found[name] = (old or _version(step.get("oldState")), new or _version(step.get("newState")))
    return {name: sides for name, sides in found.items() if sides[0] != sides[1]}


def _version(state: Object | None) -> str:
    labels: Object = _metadata(state or _NOTHING).get("labels") or _NOTHING
    return labels.get(VERSION_LABEL, "")


def _state(steps: Sequence[Object], side: str) -> Object:
    return next((step[side] for step in steps if step.get(side)), _NOTHING)


def _inputs(state: Object) -> Object:
    return state.get("inputs") or _NOTHING


def _metadata(state: Object) -> Object:
    found: Json = _inputs(state).get("metadata")
    return found if is_map(found) else _NOTHING


def _is_resource(step: Object) -> bool:
    state: Object = step.get("newState") or step.get("oldState") or {}
    return state.get("custom", False) and not state["type"].startswith("pulumi:providers:")


def _change(steps: Sequence[Object]) -> Change | None:
    """Return the change of one resource; a replacement has up to three steps."""
    op = _op({step["op"] for step in steps})
    if op is None:
        return None
    old, new = _state(steps, "oldState"), _state(steps, "newState")
    state = new or old
    kind: str = state["type"]
    both = op in {Op.UPDATE, Op.REPLACE}
    gone = op in {Op.DELETE, Op.REPLACE} and not old.get("retainOnDelete")
    metadata = _metadata(state) if kind.startswith("kubernetes:") else _NOTHING
    return Change(
        op=op,
        type=kind,
        name=metadata.get("name") or state["urn"].rpartition("::")[2],
        where=metadata.get("namespace", ""),
        fields=tuple(_fields(kind, steps, old, new)) if both else (),
        because=tuple(dict.fromkeys(plain(key) for step in steps for key in step.get("replaceReasons") or ())),
        unknown=values.unknown(_inputs(new)),
        store=STORES.get(kind, "") if gone else "",
    )


def _op(ops: set[str]) -> Op | None:
    if ops & {"replace", "create-replacement", "delete-replaced", "import-replacement"}:
        return Op.REPLACE
    named = [op for op in Op if op in ops]
    return named[0] if named else Op.CREATE if "import" in ops else None


def _fields(kind: str, steps: Sequence[Object], old: Object, new: Object) -> Iterator[Field]:
    """Yield what differs in the inputs, and then what only the engine knows: secrets, and changes from outside."""
    before, after = _inputs(old), _inputs(new)
    if kind == "kubernetes:core/v1:Secret":
        before, after = _without_data(before), _without_data(after)
    found = list(values.differences(before, after))
    yield from found
    details: list[str] = [path for step in steps for path in step.get("detailedDiff") or step.get("diffReasons") or ()]
    for path in dict.fromkeys(details):
        is_secret = SECRET in [values.at(inputs, path) for inputs in (before, after)]
        if is_secret or not found:
            text = SECRET if is_secret else values.NOT_SHOWN
            yield Field(path=plain(path), old=text, new=text)


def _without_data(inputs: Object) -> Object:
    """Return the inputs of a Kubernetes Secret with each value hidden, also where the program did not mark it."""
    keys = [key for key in ("data", "stringData") if is_map(inputs.get(key))]
    data: dict[str, Json] = {key: dict.fromkeys(inputs[key], SECRET) for key in keys}
    return {**inputs, **data}
