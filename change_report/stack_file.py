"""Stack files before and after a change: the keys that differ, and the versions that change."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import Field, StringConstraints, ValidationError

from change_report.values import Field as ChangedKey
from change_report.values import differences
from model_preview import images
from model_preview.facts import Change, Frozen, Reference
from model_preview.verdict import Gate, is_same_digest

ENDPOINTS, BATCHES = "mlops:endpoints", "mlops:batch"
ARMS = ("challenger", "shadow")
GATE = "mlops:gate"
FOUNDATION = "mlops:foundation"
Config = Mapping[str, Any]
"""Keys of a stack file below `config`, such as `mlops:endpoints`, with their values."""


_Reason = Annotated[str, StringConstraints(strip_whitespace=True)]


class StackFileError(ValueError):
    """A stack file cannot be read. The message says where and why, on one line."""


class Endpoint(Frozen):
    """Entry of an endpoint or batch, as far as it decides which version runs; or of a challenger or shadow."""

    version: Annotated[int, Field(strict=True, ge=1)]
    model: str = ""
    """Name of the registered model; empty if it is the endpoint's name."""
    digest: str = ""
    override: _Reason = ""
    allow_breaking_signature: _Reason = ""


@dataclass(frozen=True)
class _Released:
    """Version that goes through the gate."""

    owner: str
    """Name of the endpoint or batch."""
    role: str
    """Role, as in Change."""
    entry: Endpoint | None
    """Entry with the reasons of the user; None for a challenger or shadow, which has none."""
    reference: Reference


class _Gate(Frozen):
    mode: Literal["warn", "fail"] | None = None


def read(text: str, where: str) -> Config:
    """Return the configuration in a stack file's text; `where` names the file in errors.

    Raises:
        StackFileError: the text is not a stack file.
    """
    try:
        tree: object = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise StackFileError(f"{where} is not YAML ({reason}); correct it") from error
    config: object = cast("Config", tree).get("config") if isinstance(tree, dict) else "none"
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise StackFileError(f"{where} has no mapping `config`, so it is not a stack file; write config: and the keys")
    return {str(key): value for key, value in cast("dict[object, Any]", config).items()}


def changed_keys(base: Config, now: Config) -> tuple[ChangedKey, ...]:
    """Return the keys that differ between two stack files; secrets are not shown."""
    return tuple(differences(base, now))


def releases(base: Config, now: Config, *, strict: bool = False) -> dict[str, Change]:
    """Return the change of each endpoint, challenger, shadow or batch that is new, removed, or gets another version.

    An entry that has another form counts as a missing one. A new challenger or shadow is compared with the version that
    its endpoint serves, as the gate does.

    Raises:
        StackFileError: an entry of the new file has another form, and `strict` is true.
    """
    before, after = dict(_released(base)), dict(_released(now, strict=strict))
    found: dict[str, Change] = {}
    for name in {**after, **before}:
        old, new = before.get(name), after.get(name)
        if _differs(old and old.reference, new and new.reference):
            beside = after[new.owner] if new and new.role in ARMS else old
            found[name] = Change(
                endpoint=name,
                old=beside and beside.reference,
                new=new and new.reference,
                role=new.role if new else "",
            )
    return found


def gate(base: Config, now: Config, name: str) -> Gate:
    """Return the settings of the gate for one change of `releases`, as far as stack files have them."""
    after, before = dict(_released(now)).get(name), dict(_released(base)).get(name)
    own, former = after and after.entry, before and before.entry
    try:
        set_ = _Gate.model_validate(now.get(GATE) or {})
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join([GATE, *map(str, first["loc"])])
        raise StackFileError(f"{place} is not valid ({first['msg']}); see docs/stack-file.md") from None
    return Gate(
        protected=is_protected(now),
        mode=set_.mode,
        allow_breaking_signature=own.allow_breaking_signature if own else "",
        override=own.override if own else "",
        served_override=former.override if former else "",
    ).model_copy(update=images.of_stack_file(now, after.owner if after else name))


def is_protected(config: Config) -> bool:
    """Return whether a part of an AWS foundation is protected, as each is unless the file says otherwise."""
    foundation = _section(config, FOUNDATION)
    if foundation.get("kind") != "aws":
        return False
    cluster = _section(foundation, "cluster")
    parts = [_section(foundation, "artifacts"), _section(foundation, "database")]
    if cluster.get("kind", "new") == "new":
        parts.append(cluster)
    return any(part.get("protected", True) for part in parts)


def _section(config: Config, key: str) -> Config:
    section: Any = config.get(key)
    return cast("Config", section) if isinstance(section, dict) else {}


def _differs(old: Reference | None, new: Reference | None) -> bool:
    """Return whether another version is served. Another digest of the same version is another version."""
    if old is None or new is None:
        return old is not new
    return (old.model, old.version) != (new.model, new.version) or not is_same_digest(old.digest, new.digest)


def _released(config: Config, *, strict: bool = False) -> Iterator[tuple[str, _Released]]:
    """Yield all versions that go through the gate, by the names that `infra.config.stack.Settings.releases` has."""
    for section, role in ((ENDPOINTS, ""), (BATCHES, "batch")):
        entries: Any = config.get(section) or {}
        if not isinstance(entries, dict):
            entries = {"": entries}
        for key, content in cast("dict[Any, Any]", entries).items():
            name, place = str(key), ".".join(filter(None, (section, str(key))))
            if (entry := _entry(content, place, strict=strict)) is None:
                continue
            model = entry.model or name
            yield name, _Released(name, role, entry, _reference(model, entry))
            for arm in ARMS if section == ENDPOINTS else ():
                other = content.get(arm) and _entry(content[arm], f"{place}.{arm}", strict=strict)
                if other:
                    yield f"{name}-{arm}", _Released(name, arm, None, _reference(model, other))


def _reference(model: str, entry: Endpoint) -> Reference:
    return Reference(model=model, version=entry.version, digest=entry.digest)


def _entry(content: object, place: str, *, strict: bool) -> Endpoint | None:
    try:
        return Endpoint.model_validate(content)
    except ValidationError as problems:
        if not strict:
            return None
        first = problems.errors()[0]
        where = ".".join([place, *map(str, first["loc"])])
        raise StackFileError(f"{where} is not valid ({first['msg']}); write it as in version: 7") from None
