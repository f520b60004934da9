"""Changes version, digest and challenger of one endpoint in a stack file, and no other character of it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode

from contract.untyped import mapping
from pull_requests.errors import StackFileError

ENDPOINTS = "mlops:endpoints"
UNUSUAL = "another entry shares its text by an anchor, or its form is unusual"
_ORDER = ("version", "digest", "percent", "key", "experiment")
_VERSION = re.compile(r"(?:[!&]\S+\s+)*(['\"]?)(\d+)\1")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Entry of an endpoint under `mlops:endpoints`."""

    endpoint: str
    model: str
    """Registered model; the endpoint's name if the entry has no `model`."""
    version: int
    digest: str | None = None
    """Digest as it stands in the file; None if the entry has none."""
    reasons: tuple[str, ...] = ()
    """Keys with a reason that was written for this version alone: `override`, `allow_breaking_signature`."""


class Challenger(BaseModel):
    """Entry `challenger` of an endpoint."""

    model_config = ConfigDict(frozen=True)

    version: int
    percent: int
    """Share of the callers that the challenger answers, 1 to 50."""
    key: str
    """Request header with the caller."""
    experiment: str
    """Name of the experiment."""
    digest: str | None = None
    """Digest of the version as it stands in the file; None if the entry has none."""


def digest(text: str) -> str:
    """Return the digest as a stack file has it, `sha256:` and 64 hexadecimal digits.

    Raises:
        StackFileError: the text is not a digest.
    """
    found = _DIGEST.fullmatch(text)
    if not found:
        raise StackFileError(
            f"{text[:80]!r} is not a digest; write sha256: and 64 hexadecimal digits, as the tag model_digest of the "
            "version has them"
        )
    return f"sha256:{found[1].lower()}"


class _Written(BaseModel):
    """Keys of an endpoint that this module reads."""

    version: int
    model: str | None = None
    digest: str | None = None
    override: object = None
    allow_breaking_signature: object = None


Json = dict[str, object]


@dataclass(frozen=True)
class StackFile:
    """Text of a stack file, and its name for messages."""

    name: str
    text: str

    def config(self) -> Json:
        """Return the mapping `config` of the file, as JSON. Anchors and aliases share nothing in it.

        Raises:
            StackFileError: the file is not a stack file.
        """
        try:
            content = yaml.safe_load(self.text)
        except yaml.YAMLError as error:
            raise StackFileError(f"{self.name} is not YAML: {error}; correct it first") from error
        config = cast("Json", content).get("config") if isinstance(content, dict) else None
        if not isinstance(config, dict):
            raise StackFileError(f"{self.name} is not a stack file: it has no mapping `config`; see docs/stack-file.md")
        return cast("Json", json.loads(json.dumps(config, default=str)))

    def endpoints(self) -> Mapping[str, Entry]:
        """Return the endpoints of the file by name; an endpoint without a valid version is left out.

        Raises:
            StackFileError: the file is not a stack file.
        """
        written = self.config().get(ENDPOINTS)
        if not isinstance(written, dict | None):
            raise StackFileError(f"{self.name}: {ENDPOINTS} is not a mapping; write one endpoint on each line below it")
        found = (_parsed(name, content) for name, content in cast("Json", written or {}).items())
        return {entry.endpoint: entry for entry in found if entry}

    def entry(self, endpoint: str) -> Entry:
        """Return the entry of an endpoint.

        Raises:
            StackFileError: the file has no such endpoint.
        """
        known = self.endpoints()
        if endpoint not in known:
            names = ", ".join(sorted(known)) or "none; write the first one into the file"
            raise StackFileError(f"{self.name} has no endpoint {endpoint}; endpoints with a version: {names}")
        return known[endpoint]

    def written(self, endpoint: str) -> Json:
        """Return all keys of an endpoint, as JSON.

        Raises:
            StackFileError: the file has no such endpoint.
        """
        self.entry(endpoint)
        return cast("Json", cast("Json", self.config()[ENDPOINTS])[endpoint])

    def challenger(self, endpoint: str) -> Challenger | None:
        """Return the challenger of an endpoint; None if it has none.

        Raises:
            StackFileError: the file has no such endpoint, or its challenger is not one.
        """
        written = self.written(endpoint).get("challenger")
        try:
            return None if written is None else Challenger.model_validate(written)
        except ValidationError as error:
            raise StackFileError(
                f"{self.name}: challenger of {endpoint} lacks a valid version, percent, key or experiment; write all "
                "four (docs/two-versions.md)"
            ) from error

    def needs_digest(self, entry: Entry) -> bool:
        """Return whether a new version of the endpoint must state its digest: the present one does, or `mlops:gate`."""
        gate = self.config().get("mlops:gate")
        required = isinstance(gate, dict) and cast("Json", gate).get("digest") == "required"
        return required or entry.digest is not None

    def release(self, endpoint: str, version: int, stated: str | None) -> "StackFile":
        """Return the file with another version of the endpoint, and with its digest.

        A challenger with this version is promoted, so its entry is removed.

        Args:
            endpoint: name of the endpoint.
            version: number of the new version.
            stated: digest of the new version, as `digest` returns it; None: the new entry has no digest.

        Raises:
            StackFileError: the file has no such endpoint, or its form cannot be changed safely.
        """
        before = self.entry(endpoint)
        changed = _with_version(self, endpoint, version)
        if stated is not None:
            changed = _with_digest(changed, endpoint, stated)
        elif before.digest is not None:
            changed = _without(changed, endpoint, "digest")
        wanted = self.config()
        entry = cast("Json", cast("Json", wanted[ENDPOINTS])[endpoint])
        entry["version"] = str(version) if isinstance(entry["version"], str) else version
        entry.pop("digest", None)
        if stated is not None:
            entry["digest"] = stated
        if mapping(entry.get("challenger")).get("version") == version:
            changed = _without(changed, endpoint, "challenger")
            del entry["challenger"]
        if changed.config() != wanted:
            raise _unsafe(self, endpoint, UNUSUAL)
        return changed

    def challenge(self, endpoint: str, challenger: Challenger | None) -> "StackFile":
        """Return the file with this challenger of the endpoint; None: without one.

        Of a challenger that the file has already, only `percent` is changed.

        Raises:
            StackFileError: the file has no such endpoint, or its form cannot be changed safely.
        """
        before = self.challenger(endpoint)
        wanted = self.config()
        entry = cast("Json", cast("Json", wanted[ENDPOINTS])[endpoint])
        if challenger is None:
            changed = _without(self, endpoint, "challenger") if "challenger" in entry else self
            entry.pop("challenger", None)
        elif before is None:
            written = {key: value for key in _ORDER if (value := challenger.model_dump()[key]) is not None}
            line = ", ".join(f"{key}: {_scalar(value)}" for key, value in written.items())
            bare = _without(self, endpoint, "challenger") if "challenger" in entry else self
            changed = _added(bare, endpoint, "challenger", f"{{{line}}}")
            entry["challenger"] = written
        else:
            changed = _with_percent(self, endpoint, challenger.percent)
            cast("Json", entry["challenger"])["percent"] = challenger.percent
        if changed.config() != wanted:
            raise _unsafe(self, endpoint, UNUSUAL)
        return changed


def _parsed(endpoint: str, content: object) -> Entry | None:
    try:
        written = _Written.model_validate(content)
    except ValidationError:
        return None
    return Entry(
        endpoint=endpoint,
        model=written.model or endpoint,
        version=written.version,
        digest=written.digest,
        reasons=tuple(key for key in ("override", "allow_breaking_signature") if getattr(written, key)),
    )


def _with_version(file: StackFile, endpoint: str, version: int) -> StackFile:
    found = _find(_node(file, endpoint), "version")
    start, end = _span(found[1]) if found else (0, 0)
    number = _VERSION.fullmatch(file.text[start:end])
    if not number:
        raise _unsafe(file, endpoint, "its version is not a number on a line of its own entry")
    return _replaced(file, start + number.start(2), start + number.end(2), str(version))


def _scalar(value: object) -> str:
    """Return the value as YAML, quoted if it is a text that YAML would read as something else, or has a colon."""
    is_plain = isinstance(value, int) or (yaml.safe_load(str(value)) == value and ":" not in str(value))
    return str(value) if is_plain else json.dumps(value)


def _with_percent(file: StackFile, endpoint: str, percent: int) -> StackFile:
    found = _find(_node(file, endpoint), "challenger")
    inner = _find(found[1], "percent") if found and isinstance(found[1], MappingNode) else None
    start, end = _span(inner[1]) if inner else (0, 0)
    number = _VERSION.fullmatch(file.text[start:end])
    if not number:
        raise _unsafe(file, endpoint, "the percent of its challenger is not a number in its own entry")
    return _replaced(file, start + number.start(2), start + number.end(2), str(percent))


def _with_digest(file: StackFile, endpoint: str, stated: str) -> StackFile:
    if found := _find(_node(file, endpoint), "digest"):
        return _replaced(file, *_span(found[1]), json.dumps(stated))
    return _added(file, endpoint, "digest", json.dumps(stated))


def _added(file: StackFile, endpoint: str, key: str, value: str) -> StackFile:
    """Return the file with one more key of the endpoint, below its digest or version."""
    node = _node(file, endpoint)
    found = _find(node, "digest") or _find(node, "version")
    if not found:
        raise _unsafe(file, endpoint, "it has no version")
    place = _span(found[1])[1]
    if node.flow_style:
        return _replaced(file, place, place, f", {key}: {value}")
    place = _next_line(file.text, place)
    newline = "\r\n" if file.text[:place].endswith("\r\n") else "\n"
    break_before = "" if file.text[:place].endswith("\n") else newline
    return _replaced(file, place, place, f"{break_before}{' ' * found[0].start_mark.column}{key}: {value}{newline}")


def _without(file: StackFile, endpoint: str, key: str) -> StackFile:
    node = _node(file, endpoint)
    found = _find(node, key)
    if not found:
        raise _unsafe(file, endpoint, f"its {key} is not in its own entry")
    start, end = _span(found[0])[0], _end(found[1])
    if not node.flow_style:
        start, end = file.text.rfind("\n", 0, start) + 1, _next_line(file.text, end)
    elif before := re.search(r",\s*$", file.text[:start]):
        start = before.start()
    elif after := re.match(r"\s*,\s*", file.text[end:]):
        end += after.end()
    return _replaced(file, start, end, "")


def _end(node: Node) -> int:
    """Return the place after the last character of a value; PyYAML's mark of a block is at the next key."""
    if isinstance(node, MappingNode) and not node.flow_style and node.value:
        return _end(cast("Sequence[tuple[Node, Node]]", node.value)[-1][1])
    return _span(node)[1]


def _node(file: StackFile, endpoint: str) -> MappingNode:
    """Return the node of an endpoint's entry, which stands where its key stands and not behind an alias."""
    node = yaml.compose(file.text, Loader=yaml.SafeLoader)
    for key in ("config", ENDPOINTS, endpoint):
        found = _find(node, key) if isinstance(node, MappingNode) else None
        if not found or _span(found[1])[0] < _span(found[0])[0]:
            raise _unsafe(file, endpoint, f"{key} is written as an alias, or twice")
        node = found[1]
    if not isinstance(node, MappingNode):
        raise _unsafe(file, endpoint, "it is not a mapping")
    return node


def _find(node: MappingNode, key: str) -> tuple[ScalarNode, Node] | None:
    """Return key and value of the one pair with this key; None if there is no such pair, or more than one."""
    pairs = cast("Sequence[tuple[Node, Node]]", node.value)
    found = [(name, value) for name, value in pairs if isinstance(name, ScalarNode) and name.value == key]
    return found[0] if len(found) == 1 else None


def _span(node: Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index


def _next_line(text: str, place: int) -> int:
    found = text.find("\n", place)
    return len(text) if found < 0 else found + 1


def _replaced(file: StackFile, start: int, end: int, by: str) -> StackFile:
    return StackFile(file.name, file.text[:start] + by + file.text[end:])


def _unsafe(file: StackFile, endpoint: str, why: str) -> StackFileError:
    return StackFileError(f"{file.name}: {endpoint} cannot be changed, because {why}; change it by hand")
