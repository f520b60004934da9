"""Error messages about a stack file: path, value, rule, reason, and what to write instead."""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Union, get_args, get_origin

import pulumi
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from infra.config.rules import Rule

PREFIX = "mlops:"
LONGEST_VALUE = 60
"""Number of characters of a value that a message shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Message `<file>: mlops:<path> <found>: <must>, because <because>; <instead>`."""

    path: str
    """Path of the key without the prefix `mlops:`, such as `endpoints.churn.version`."""
    found: str
    """Value in the file as a predicate, such as `is 0` or `is missing`."""
    rule: Rule
    """Rule that the value breaks."""

    @property
    def key(self) -> str:
        """Key of Pulumi's configuration that contains the path."""
        return PREFIX + self.path.partition(".")[0]

    def line(self, file: str) -> str:
        """Return the message as one line."""
        must, because, instead = self.rule.must, self.rule.because, self.rule.instead
        return f"{file}: {PREFIX}{self.path} {self.found}: {must}, because {because}; {instead}"


def refusal(found: Iterable[Problem]) -> pulumi.RunError:
    """Return the error that ends the program before it declares any resource; it lists all problems."""
    file = f"Pulumi.{pulumi.get_stack()}.yaml"
    lines = [problem.line(file) for problem in found]
    return pulumi.RunError(
        "\n".join([f"{len(lines)} problem{'s' if len(lines) > 1 else ''} in {file}; nothing was touched", *lines])
    )


def of(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """Return the problems that pydantic has found in a tree of `root`."""
    return [_problem(detail, root) for detail in error.errors(include_url=False)]


def apart_from(known: Iterable[Problem], more: Iterable[Problem]) -> list[Problem]:
    """Return those of `more` whose paths no known problem covers."""
    taken = [f"{problem.path}." for problem in known]
    return [
        problem
        for problem in more
        if not any(f"{problem.path}.".startswith(path) or path.startswith(f"{problem.path}.") for path in taken)
    ]


def unknown_key(key: str, known: Iterable[str]) -> Rule:
    """Return the rule that an unknown key breaks."""
    known = sorted(known)
    close = difflib.get_close_matches(key, known, n=1)
    return Rule(
        must="must be a key that this program reads",
        because="otherwise a misspelt key would have no effect and cause no error",
        instead=f"did you mean {close[0]}?" if close else f"write one of {', '.join(known)}",
    )


def _problem(detail: ErrorDetails, root: type[BaseModel]) -> Problem:
    place = _place(detail["loc"], root)
    context: dict[str, str] = detail.get("ctx", {})
    found = f"is {context.get('found') or shown(detail['input'])}"
    match detail["type"]:
        case "rule":
            rule = Rule(must=context["must"], because=context["because"], instead=context["instead"])
        case "missing":
            found, rule = "is missing", place.rule
        case "union_tag_not_found":
            return Problem(path=f"{place.path}.kind", found="is missing", rule=place.kind)
        case "union_tag_invalid":
            return Problem(path=f"{place.path}.kind", found=f"is {shown(context['tag'])}", rule=place.kind)
        case "extra_forbidden":
            found, rule = "is unknown", unknown_key(str(detail["loc"][-1]), place.keys)
        case _:
            rule = place.rule
    return Problem(path=place.path, found=found, rule=rule)


def shown(value: object) -> str:
    """Return the value as JSON on one line, cut after LONGEST_VALUE characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


@dataclass(frozen=True, slots=True)
class _Place:
    """Location in the tree: its path as the user writes it, and the types of its value."""

    path: str
    field: FieldInfo | None
    alternatives: Sequence[object]

    @property
    def keys(self) -> list[str]:
        return sorted({key for model in _models(self.alternatives) for key in model.model_fields})

    @property
    def kind(self) -> Rule:
        tags = [_tag(model) for model in _models(self.alternatives)]
        return Rule(
            must=f"must be {' or '.join(tags)}",
            because="the kind decides which other keys are allowed",
            instead=f"write kind: {tags[0]} and the keys of that kind",
        )

    @property
    def rule(self) -> Rule:
        own = next((item for item in self.field.metadata if isinstance(item, Rule)), None) if self.field else None
        models = _models(self.alternatives)
        if own:
            return own
        if len(models) > 1:
            return replace(self.kind, must=self.kind.must.replace("must be", "must be a mapping of kind"))
        if get_origin(self.alternatives[0]) is tuple:
            return Rule(
                must="must be a list",
                because="it can have several entries",
                instead="write each entry on its own line, after a dash",
            )
        return Rule(
            must="must be a mapping",
            because=f"it has the keys {', '.join(self.keys)}" if self.keys else "it has one entry for each name",
            instead="write each key on its own line, indented by two spaces",
        )


def _place(location: tuple[int | str, ...], root: type[BaseModel]) -> _Place:
    path, field, alternatives = list[str](), None, [root]
    for part in location:
        models = _models(alternatives)
        if part == "[key]":
            continue
        if len(models) > 1:  # pydantic adds the chosen kind to the location
            alternatives = [model for model in models if _tag(model) == part]
            continue
        path.append(str(part))
        if models:
            field = models[0].model_fields.get(str(part))
            alternatives = _alternatives(field.annotation) if field else models
        else:
            field, alternatives = None, _alternatives(get_args(alternatives[0])[-1])
    return _Place(".".join(path), field, alternatives)


def _alternatives(annotation: object) -> Sequence[object]:
    """Return the types of a union, without Annotated and None."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return [found for member in get_args(annotation) for found in _alternatives(member)]
    return [] if annotation is NoneType else [annotation]


def _models(alternatives: Sequence[object]) -> list[type[BaseModel]]:
    return [found for found in alternatives if isinstance(found, type) and issubclass(found, BaseModel)]


def _tag(model: type[BaseModel]) -> str:
    """Return the `kind` of a member of a tagged union."""
    return str(get_args(model.model_fields["kind"].annotation)[0])
