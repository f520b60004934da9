"""Planned resources, read from what Pulumi prints as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Side = Literal["new", "old"]
"""Side of an update: `new` is the stack after it, `old` is the stack as it is deployed now."""
AWS_PROVIDER = "pulumi:providers:aws"


class PlanError(Exception):
    """Reason why a document cannot be estimated, and the command that makes one that can."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Resource with its inputs in the program; a value that is not known before the update is a UUID as text."""

    type: str
    name: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All resources of a stack on one side of an update."""

    region: str | None
    """AWS region of the stack; None if the plan names none."""
    resources: Sequence[Resource]

    @property
    def on_aws(self) -> bool:
        """True if the plan names an AWS region or has a resource of AWS."""
        return self.region is not None or any(resource.type.startswith("aws:") for resource in self.resources)

    def of(self, *types: str) -> list[Resource]:
        """Return the resources of these types."""
        return [resource for resource in self.resources if resource.type in types]


class _Json(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _State(_Json):
    type: str
    urn: str
    inputs: dict[str, Any] = Field(default_factory=dict)
    delete: bool = False


class _Step(_Json):
    op: str
    urn: str
    old: _State | None = Field(None, alias="oldState")
    new: _State | None = Field(None, alias="newState")


class _Preview(_Json):
    config: dict[str, str] = Field(default_factory=dict)
    steps: list[_Step]
    summary: dict[str, int] = Field(default_factory=dict, alias="changeSummary")


class _Deployment(_Json):
    resources: list[_State] = Field(default_factory=list[_State])


class _Export(_Json):
    deployment: _Deployment


def parse(document: object, side: Side = "new") -> Plan:
    """Return the plan in the parsed output of `pulumi preview --json --show-sames` or of `pulumi stack export`.

    An export has one side only, whatever `side` is. PlanError for any other document, and for a preview that leaves
    out resources that do not change.
    """
    tree = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    region = None
    if "steps" in tree:
        preview = _validated(_Preview, tree)
        _complete(preview)
        states, region = dict(_states(preview, side)), preview.config.get("aws:region")
    elif "deployment" in tree:
        resources = _validated(_Export, tree).deployment.resources
        states = {state.urn: state for state in resources if not state.delete}
    else:
        raise PlanError(f"it is neither a preview nor an exported state; {MAKE_ONE}")
    planned = [
        Resource(type=state.type, name=state.urn.rpartition("::")[2], inputs=state.inputs) for state in states.values()
    ]
    return Plan(region=region or _region(planned), resources=planned)


Document = TypeVar("Document", bound=_Json)
MAKE_ONE = "make one with `pulumi preview --json --show-sames > FILE.json`"


def _validated(model: type[Document], document: object) -> Document:
    try:
        return model.model_validate(document)
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PlanError(f"{place} differs from what Pulumi prints ({first['msg']}); {MAKE_ONE}") from None


def _complete(preview: _Preview) -> None:
    left_out = preview.summary.get("same", 0) - sum(step.op == "same" for step in preview.steps)
    if left_out > 0:
        raise PlanError(f"the preview leaves out what does not change ({left_out}); {MAKE_ONE}")


def _states(preview: _Preview, side: Side) -> Iterator[tuple[str, _State]]:
    """Yield URN and state for each step that has a state on this side; all steps of a replacement have the same URN."""
    for step in preview.steps:
        if state := step.new if side == "new" else step.old:
            yield step.urn, state


def _region(planned: Sequence[Resource]) -> str | None:
    named = [resource.inputs.get("region") for resource in planned if resource.type == AWS_PROVIDER]
    return next((region for region in named if isinstance(region, str)), None)
