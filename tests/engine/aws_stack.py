"""What the recording plugins were asked, as the rules of policy/ and people look at it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from policy.rules import Resource
from tests.projects import Project, Run

PASSWORD = "not-for-eyes-0123456789"


def change(project: Project, stack: str, changes: Mapping[str, object]) -> None:
    """Writes values at dotted paths below `mlops:` into the stack file."""
    file: Path = project.folder / f"Pulumi.{stack}.yaml"
    tree: dict[str, Any] = yaml.safe_load(file.read_text())
    for path, value in changes.items():
        *way, last = f"mlops:{path}".split(".")
        place: dict[str, Any] = tree["config"]
        for part in way:
            place = place.setdefault(part, {})
        place[last] = value
    file.write_text(yaml.safe_dump(tree))


def declared(run: Run) -> list[Resource]:
    """Every resource that the plugins were asked to make or to change, secrets in plain text."""
    return [
        Resource(kind=kind_of(request.about), name=name_of(request.about), properties=_plain(request.inputs))
        for request in run.requests
        if request.method in {"create", "update"}
    ]


def asked(run: Run, method: str) -> list[str]:
    """URNs in the order in which the plugins were asked."""
    return [request.about for request in run.requests if request.method == method and not request.preview]


def kind_of(urn: str) -> str:
    """Its type, without those of its parents."""
    return urn.split("::")[2].rpartition("$")[2]


def name_of(urn: str) -> str:
    """What the program calls it."""
    return urn.rpartition("::")[2]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        tree = cast("dict[str, Any]", value)
        return _plain(tree["secret"]) if set(tree) == {"secret"} else {key: _plain(tree[key]) for key in tree}
    return [_plain(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value
