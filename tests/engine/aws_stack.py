"""Helpers for AWS stacks: changes to the stack file, and the requests to recording plugins as resources."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from policy.rules import Resource
from tests.projects import Project, Run

PASSWORD = "not-for-eyes-0123456789"


def change(project: Project, stack: str, changes: Mapping[str, object]) -> None:
    """Write values at dotted paths below `mlops:` into the stack file."""
    file: Path = project.folder / f"Pulumi.{stack}.yaml"
    tree: dict[str, Any] = yaml.safe_load(file.read_text())
    for path, value in changes.items():
        *parents, last = f"mlops:{path}".split(".")
        place: dict[str, Any] = tree["config"]
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = value
    file.write_text(yaml.safe_dump(tree))


def declared(run: Run) -> list[Resource]:
    """Return the resources that the plugins created or updated, with secrets in plain text."""
    return [
        Resource(kind=kind_of(request.about), name=name_of(request.about), properties=_plain(request.inputs))
        for request in run.requests
        if request.method in {"create", "update"}
    ]


def requested(run: Run, method: str) -> list[str]:
    """Return the URNs of one method's requests in their order."""
    return [request.about for request in run.requests if request.method == method and not request.preview]


def kind_of(urn: str) -> str:
    """Return the type in a URN, without the types of the parents."""
    return urn.split("::")[2].rpartition("$")[2]


def name_of(urn: str) -> str:
    """Return the resource's name in a URN."""
    return urn.rpartition("::")[2]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        tree = cast("dict[str, Any]", value)
        return _plain(tree["secret"]) if set(tree) == {"secret"} else {key: _plain(tree[key]) for key in tree}
    return [_plain(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value
