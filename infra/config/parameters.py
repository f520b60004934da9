"""Check of the parameters of training jobs against the model projects, before any resource is changed.

`schema/parameters.json` has the parameters of every project of the standard image (`make schema` writes it). A job with
its own `image` or `command` is checked only if `parameter_schema` names a JSON Schema.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import cast

import yaml

from contract import script
from contract.parameter_schema import Schema, accepts, takes, words
from contract.untyped import mapping
from infra.config import task_rules
from infra.config.problems import Problem, shown
from infra.config.rules import Rule

ROOT = Path(__file__).parents[2]
STANDARD = "schema/parameters.json"
"""Path of the schema for the standard training image, from the root of the repository."""
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
"""Number in any form that YAML and Pulumi accept for a decimal number."""
CANONICAL = re.compile(r"-?(0|[1-9]\d*)(\.\d*[1-9])?", re.ASCII)


def problems(training: object, file: Path) -> Iterator[Problem]:
    """Yield the problems of the parameters of `mlops:training`.

    Args:
        training: value of `mlops:training` that Pulumi passes on; its other keys may be wrong.
        file: stack file, which shows the text of each value. It need not exist.
    """
    written = _written(file)
    for name, job in mapping(training).items():
        schema, fault = _schema(name, mapping(job))
        if fault:
            yield fault
        for path, parameter, value in _values(mapping(job)):
            place = f"training.{name}.{path}"
            node = written.get(place)
            if schema and (problem := _problem(schema, place, parameter, value)):
                yield problem
            elif node is not None and _is_misread(node, value, is_declared=schema is not None):
                yield Problem(
                    path=place, found=f"is {node}, which YAML reads as {shown(value)}", rule=_as_written(node)
                )
        if all(map(mapping(job).get, ("image", "command"))) and not any(map(mapping(job).get, ("project", "sweep"))):
            yield from _reserved(f"training.{name}.parameters", mapping(mapping(job).get("parameters")))
        standard = schema if not mapping(job).get("parameter_schema") else None
        yield from task_rules.problems(standard, f"training.{name}", mapping(job))
        given = mapping(mapping(job).get("parameters"))
        yield from _missing(schema or {}, f"training.{name}.parameters", given)


def _schema(name: str, job: Mapping[str, object]) -> tuple[Schema | None, Problem | None]:
    """Return the schema of the job's parameters, or the problem with its choice; neither if there is no schema."""
    if named := job.get("parameter_schema"):
        try:
            return cast("Schema", json.loads((ROOT / str(named)).read_text()) | {}), None
        except (OSError, ValueError, TypeError) as error:
            return None, Problem(
                path=f"training.{name}.parameter_schema",
                found=f"is {shown(named)}, and cannot be read ({str(error)[:100]})",
                rule=Rule(
                    must="must be the path of a JSON Schema, from the root of the repository",
                    because="the job's parameters are checked with it",
                    instead="write it as in schema/mine.json, or leave the key out",
                ),
            )
    if job.get("image") or job.get("command"):
        return None, None
    known: dict[str, Schema] = json.loads((ROOT / STANDARD).read_text())
    project = str(job.get("project") or name)
    if (key := project.replace("-", "_")) in known:
        return known[key], None
    close = get_close_matches(key, known, 1)
    return None, Problem(
        path=f"training.{name}.project" if job.get("project") else f"training.{name}",
        found=f"is {shown(project)}" if job.get("project") else "names no project, so its own name counts as one",
        rule=Rule(
            must=f"must be a project of the training image: {', '.join(sorted(known))}",
            because="with another name, the Job would fail at once",
            instead=(f"did you mean project: {close[0]}?" if close else "write one of them under project")
            + "; after you add a project, run make schema",
        ),
    )


def _values(job: Mapping[str, object]) -> Iterator[tuple[str, str, object]]:
    """Yield path, name and value of each parameter, and of each in a sweep."""
    yield from ((f"parameters.{key}", key, value) for key, value in mapping(job.get("parameters")).items())
    sweep = mapping(job.get("sweep"))
    for key, values in mapping(sweep.get("grid")).items():
        yield from ((f"sweep.grid.{key}.{place}", key, value) for place, value in enumerate(_list(values)))
    for place, point in enumerate(_list(sweep.get("points"))):
        yield from ((f"sweep.points.{place}.{key}", key, value) for key, value in mapping(point).items())


def _problem(schema: Schema, path: str, name: str, value: object) -> Problem | None:
    """Return the problem of one parameter; None if the schema accepts its name and value."""
    known: Mapping[str, Schema] = schema.get("properties", {})
    if name not in known:
        if schema.get("additionalProperties") is not False:
            return None
        close = get_close_matches(name.lower(), {key.lower() for key in known}, 1)
        meant = [key for key in known if close and key.lower() == close[0]]
        listed = ", ".join(known) or "none"
        return Problem(
            path=path,
            found="is unknown",
            rule=Rule(
                must="must be a parameter of the project",
                because="the run would fail at once",
                instead=f"did you mean {meant[0]}? The parameters are {listed}"
                if meant
                else f"the parameters are {listed}",
            ),
        )
    one = known[name]
    if isinstance(value, dict | list) or accepts(one, value, schema.get("$defs", {})):
        return None  # the value of a Secret is unknown here, and another rule refuses lists
    default = shown(one["default"]) if "default" in one else ""
    is_number_as_text = isinstance(value, str) and NUMBER.fullmatch(value) and not takes(one, "string")
    return Problem(
        path=path,
        found=f"is {shown(value)}",
        rule=Rule(
            must=f"must be {words(one)}",
            because=f"it is the {one['description']}" if "description" in one else "the project declares this type",
            instead=(
                "write it without quotes; on a command line: pulumi config set --path --type float"
                if is_number_as_text
                else "write it in quotes"
                if takes(one, "string") and not isinstance(value, str)
                else f"write it as in {name}: {default}"
                if default
                else "write such a value"
            ),
        ),
    )


def _missing(schema: Schema, path: str, given: Mapping[str, object]) -> Iterator[Problem]:
    """Yield a problem for each required parameter without a value."""
    for name in cast("list[str]", schema.get("required", [])):
        if name not in given:
            one = cast("Schema", schema["properties"][name])
            rule = Rule(
                must=f"must be {words(one)}",
                because="the project has no default for it",
                instead=f"add a line for it, as in {name}: ...",
            )
            yield Problem(path=f"{path}.{name}", found="is missing", rule=rule)


def _reserved(path: str, given: Mapping[str, object]) -> Iterator[Problem]:
    """Yield a problem for each parameter of a script whose environment variable has another meaning."""
    for name, value in given.items():
        if script.is_reserved(name) and not isinstance(value, dict):
            yield Problem(
                path=f"{path}.{name}",
                found=f"would be the environment variable {name.upper()} of the script",
                rule=Rule(
                    must="must have another name",
                    because="the platform or the system sets this variable",
                    instead="rename the parameter, or name the model project under project if the image has one",
                ),
            )


def _is_what_is_written(text: str, value: object, *, is_declared: bool) -> bool:
    """Return whether the value is what the text says; without a declared type, a number such as `1.10` may be text."""
    match value:
        case bool():
            return text.lower() == str(value).lower()
        case int() | float():
            if not NUMBER.fullmatch(text) or not (is_declared or CANONICAL.fullmatch(text)):
                return False
            return Decimal(text) == Decimal(str(value))
        case str():
            return text == value
        case _:
            return True


def _is_misread(text: str, value: object, *, is_declared: bool) -> bool:
    """Return whether YAML has read the text as another value; any other difference comes from another file."""
    return not _is_what_is_written(text, value, is_declared=is_declared) and value in _readings(text)


def _readings(text: str) -> list[object]:
    """Return the values that versions of YAML read from a text without quotes."""
    found = list[object]()
    plain = text.replace("_", "")
    for read in (float, int, partial(int, base=0), partial(int, base=8)):
        with suppress(ValueError):
            found.append(read(plain))
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        found.append(f"{moment.replace(tzinfo=None)} +0000 UTC")
    return [*found, *({"yes": [True], "on": [True], "no": [False], "off": [False]}.get(text.lower(), []))]


def _as_written(text: str) -> Rule:
    return Rule(
        must="must be written so that YAML reads the same value",
        because="the model's code would get another value",
        instead=f'write "{text}" in quotes for a text, or a number without leading or trailing zeros',
    )


def _written(file: Path) -> dict[str, str]:
    """Return the texts of the file's values without quotes, by their paths below `mlops:`."""
    try:
        root = yaml.compose(file.read_text())
    except (OSError, yaml.YAMLError):
        return {}
    config = _child(root, "config")
    return dict(_plain(_child(config, "mlops:training"), "training")) if config else {}


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)


def _plain(node: yaml.Node | None, path: str) -> Iterator[tuple[str, str]]:
    """Yield path and text of each value without quotes, below the path."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _plain(value, f"{path}.{key.value}")
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            yield from _plain(value, f"{path}.{place}")
    elif isinstance(node, yaml.ScalarNode) and node.style is None:
        yield path, node.value


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
