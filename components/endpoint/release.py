"""Release of a model version: the annotation of an endpoint's Deployment, and the history in the stack's state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from contract import names


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files of a version, as the registry named them when the version was released."""

    source: str = ""
    """URI of the folder with the files; empty if it is not known yet, as in a preview without MLflow."""
    digest: str = ""
    """SHA-256 of the files (contract/digest.py); empty if the registry has none."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """Version of a model that an endpoint serves, with its files."""

    model: str
    """Name of the registered model."""
    version: int
    """Number of the version in the registry."""
    source: str = ""
    """URI of the folder with the version's files; empty for a release of a program that did not keep it."""
    digest: str = ""
    """SHA-256 of the files; empty if the registry had none."""
    override: str = ""
    """User's reason why the version went live in spite of the gate; empty if it passed."""
    at: str = ""
    """Time of the release in UTC (ISO 8601); empty in the annotation, which must not change while the release stays."""

    @property
    def files(self) -> Files:
        """Files of the version."""
        return Files(source=self.source, digest=self.digest)

    def has(self, model: str, version: int, digest: str) -> bool:
        """Return whether the release is of this version; an empty digest stands for any files."""
        stated = digest.removeprefix("sha256:")
        return (self.model, self.version) == (model, version) and stated in {"", self.digest}


def text(release: Release) -> str:
    """Return the value of the annotation; fields without a value are left out."""
    return json.dumps(_values(release))


def served(annotations: Mapping[str, str] | None) -> Release | None:
    """Return the release that the annotations of an endpoint's Deployment name; None if they name none."""
    known = (annotations or {}).get(names.RELEASE)
    return Release(**json.loads(known)) if known else None


def appended(history: Sequence[Release], release: Release | None, now: str) -> list[dict[str, Any]]:
    """Return the history with the release at its end, as JSON values; a release that is the last stays the last."""
    if release and release.source and not (history and replace(history[-1], at="") == release):
        history = [*history, replace(release, at=now)]
    return [_values(one) for one in history]


def parsed(history: Sequence[Mapping[str, Any]]) -> tuple[Release, ...]:
    """Return the releases of a history in the state, whose numbers are floats."""
    return tuple(replace(Release(**one), version=int(one["version"])) for one in history)


def _values(release: Release) -> dict[str, Any]:
    return {key: value for key, value in asdict(release).items() if value}
