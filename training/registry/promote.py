"""Promotes a version of a model, or rolls the champion back, for `mlops promote` and `mlops rollback`.

    none -> staging (@challenger) -> production (@champion) -> archived

A version reaches staging if it passed its validation, and production if a report proves that it passed against the
present champion. The former champion gets the alias @previous, and a rollback makes it the champion again. If a
promotion is killed, the next promotion of the model finishes it.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from contract import stages
from contract.stages import PASSED, Stage, Step
from contract.tags import VALIDATION_STATUS
from training.ending import FailedError
from training.registry import claim as claims
from training.registry import client as versions
from training.registry.claim import Claim, Deadline
from training.registry.client import Client

LONGEST = 300
"""Maximum number of characters of a reason. A tag repeats it, and MLflow's column in Postgres holds 5,000."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A promotion of a version, or a rollback of the champion if no version is given."""

    model: str
    """Name of the registered model."""
    version: int | None = None
    """Number of the version to promote; None for a rollback."""
    stage: Stage = Stage.NONE
    """Target stage of the version."""
    by: str
    """Person who makes the request."""
    commit: str
    """Git commit of the checkout that the request comes from."""
    why: str
    """Reason, as text."""
    proven: Mapping[str, str] | None = None
    """Tags about the validation as its report proves them; None to believe the version's own tags."""

    def __str__(self) -> str:
        return f"version {self.version} to {self.stage}" if self.version else "the champion back to @previous"

    @property
    def record(self) -> str:
        """JSON text that the registry keeps in the tag of the new stage: time, person, commit and reason."""
        kept = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "by": self.by, "commit": self.commit}
        why = "; ".join(filter(None, ["" if self.version else "rollback", self.why]))
        return json.dumps(kept | {"why": why}, ensure_ascii=False)


def promote(client: Client, request: Request, holder: claims.Holder | None = None) -> list[str]:
    """Carry out the request and return one line for each change; no lines if nothing had to change.

    Raises:
        BusyError: another promotion of the model is running.
        RefusedError: the rules do not allow the request; nothing was changed.
        FailedError: the promotion stopped halfway; the next one finishes it.
    """
    claim = Claim(asked=str(request), by=request.by, holder=holder or claims.this_process())
    deadline = Deadline(claims.HOLD)
    versions.standing(client, request.model, request.version)  # raises if it does not exist
    abandoned = claims.acquire(client, request.model, claim)
    done: list[str] = []
    try:
        for other in abandoned:
            done += [
                f"finished the promotion that {other.by} began on {other.at:%Y-%m-%d %H:%M} UTC: {other.asked}"
            ] * bool(other.steps)
            done += _carry_out(client, request.model, other, deadline)
        # An abandoned rollback that was just finished is this request; a second one would go back one version too far.
        finished = any(other.steps and other.asked == claim.asked for other in abandoned)
        steps = () if finished else plan(client, request)
    except BaseException:
        with suppress(Exception):
            claims.drop(client, request.model, claim)
        raise
    decided = claim.model_copy(update={"steps": steps})
    if steps:
        claims.write(client, request.model, decided)
    return done + _carry_out(client, request.model, decided, deadline)


def plan(client: Client, request: Request) -> tuple[Step, ...]:
    """Return the steps that carry out the request in the present state of the registry."""
    now = versions.standing(client, request.model, request.version)
    if request.version is None:
        return stages.steps_back(now, request.record)
    if request.proven is not None and now.tags.get(VALIDATION_STATUS) == PASSED:
        now = now.model_copy(update={"tags": {**now.tags, **request.proven}})
    return stages.steps_to(now, request.stage, request.record)


def _carry_out(client: Client, model: str, claim: Claim, deadline: Deadline) -> list[str]:
    """Make all steps of the claim, then delete the claim."""
    for step in claim.steps:
        if deadline.is_over:
            raise FailedError(
                f"the request to move {claim.asked} is half done after {claims.HOLD.total_seconds():.0f} s, because "
                "MLflow is too slow; run the same command again to finish it"
            )
        _make(client, model, step)
    claims.drop(client, model, claim)
    return [str(step) for step in claim.steps]


def _make(client: Client, model: str, step: Step) -> None:
    version = str(step.version)
    match step.what:
        case "alias":
            client.set_registered_model_alias(model, step.key, version)
        case "unalias":
            client.delete_registered_model_alias(model, step.key)
        case "tag":
            client.set_model_version_tag(model, version, step.key, step.value)
        case "untag":
            client.delete_model_version_tag(model, version, step.key)
