"""Release of a model version: the annotation of an endpoint's Deployment, and the history in the stack's state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from contract import names

KEPT = 100
"""Largest number of releases in the history of an endpoint; the state is written after each step of an update."""
STANDARD = "standard"
"""Image of a release whose pods run `mlops:images.serving`, whichever image that is at the time."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files of a version, as the registry named them when the version was released."""

    source: str = ""
    """URI of the folder with the files; empty if it is not known yet, as in a preview without MLflow."""
    digest: str = ""
    """SHA-256 of the files (contract/digest.py); empty if the registry has none."""
    image: str = ""
    """Image of the pods, or STANDARD, if the endpoint's key `image` is `auto`; empty otherwise."""

    def container_image(self, standard: str) -> str:
        """Return the image of the pods: the one for the version's own packages, else the given one."""
        return standard if self.image in {"", STANDARD} else self.image

    def release(self, model: str, version: int, override: str) -> Release:
        """Return the release of the version that has these files."""
        return Release(
            model=model, version=version, source=self.source, digest=self.digest, override=override, image=self.image
        )


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
    image: str = ""
    """Image of the pods, or STANDARD, if the endpoint's key `image` was `auto`; empty otherwise."""
    at: str = ""
    """Time of the release in UTC (ISO 8601); empty in the annotation, which must not change while the release stays."""

    @property
    def files(self) -> Files:
        """Files of the version."""
        return Files(source=self.source, digest=self.digest, image=self.image)

    def has(self, model: str, version: int, digest: str) -> bool:
        """Return whether the release is of this version; an empty digest means any files."""
        stated = digest.removeprefix("sha256:")
        return (self.model, self.version) == (model, version) and stated in {"", self.digest}


def text(release: Release) -> str:
    """Return the value of the annotation; fields without a value are left out."""
    return json.dumps(_values(release))


def served(annotations: Mapping[str, str] | None) -> Release | None:
    """Return the release that the annotations of an endpoint's Deployment name; None if they name none.

    A refresh brings annotations from the cluster into the state, so the text may be anything.
    """
    try:
        return _release(json.loads((annotations or {}).get(names.RELEASE, "")))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def appended(history: Sequence[Release], release: Release | None, now: str) -> list[dict[str, Any]]:
    """Return the last KEPT releases of the history with the release at its end, as JSON values.

    A release that is the last already is not added again.
    """
    if release and release.source and not (history and replace(history[-1], at="") == release):
        history = [*history, replace(release, at=now)]
    return [_values(one) for one in history[-KEPT:]]


def parsed(history: Sequence[Mapping[str, Any]]) -> tuple[Release, ...]:
    """Return the releases of a history in the state, whose numbers are floats."""
    return tuple(_release(one) for one in history)


def _release(values: Mapping[str, Any]) -> Release:
    """Return the release with these values; fields of a newer program are left out."""
    texts: dict[str, Any] = {key: values[key] for key in _TEXTS if key in values}
    if not all(isinstance(each, str) for each in texts.values()):
        raise TypeError(f"each of {', '.join(texts)} must be text")
    return Release(version=int(values["version"]), **texts)


_TEXTS = tuple(field.name for field in fields(Release) if field.name != "version")


def _values(release: Release) -> dict[str, Any]:
    return {key: value for key, value in asdict(release).items() if value}
