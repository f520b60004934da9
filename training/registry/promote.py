"""Moves a version of a model forward, or the champion back. `mlops promote` and `mlops rollback` call it.

    none -> staging (@challenger) -> production (@champion) -> archived

Staging takes a version that passed its validation, production one that passed it against the present champion. The
champion that was is @previous, and a rollback makes it the champion again. Killed at any point, the next promotion of
the model finishes what was begun.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from training.ending import FailedError
from training.registry import claim as claims
from training.registry import client as versions
from training.registry import stages
from training.registry.claim import Claim, Deadline
from training.registry.client import Client
from training.registry.stages import Stage, Step

LONGEST = 300
"""Characters of a reason. It stands in a tag several times, and Postgres holds 5,000 in that column."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for. Without a version, the rollback of the champion."""

    model: str
    version: int | None = None
    stage: Stage = Stage.NONE
    by: str
    commit: str
    why: str

    def __str__(self) -> str:
        return f"version {self.version} to {self.stage}" if self.version else "the champion back to @previous"

    @property
    def record(self) -> str:
        """What the registry keeps."""
        kept = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "by": self.by, "commit": self.commit}
        why = "; ".join(filter(None, ["" if self.version else "rollback", self.why]))
        return json.dumps(kept | {"why": why}, ensure_ascii=False)


def promote(client: Client, request: Request, holder: claims.Holder | None = None) -> list[str]:
    """The request is carried out, whole. Returns what was done, a line each; nothing when all stood so already.

    Raises:
        BusyError: another promotion of the model goes on.
        RefusedError: the rules do not allow it; nothing was done.
        FailedError: it stopped halfway, and the next promotion finishes it.
    """
    claim = Claim(asked=str(request), by=request.by, holder=holder or claims.this_process())
    deadline = Deadline(claims.HOLD)
    versions.standing(client, request.model, request.version)  # exists
    abandoned = claims.take(client, request.model, claim)
    done: list[str] = []
    try:
        for other in abandoned:
            done += [f"finished what {other.by} began on {other.at:%Y-%m-%d %H:%M} UTC: {other.asked}"] * bool(
                other.steps
            )
            done += _carry_out(client, request.model, other, deadline)
        # A rollback that was begun is the one that is asked for now; done twice, it would be two.
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
    """The steps that the request takes as the registry stands now."""
    now = versions.standing(client, request.model, request.version)
    if request.version is None:
        return stages.steps_back(now, request.record)
    return stages.steps_to(now, request.stage, request.record)


def _carry_out(client: Client, model: str, claim: Claim, deadline: Deadline) -> list[str]:
    """Every step of the claim is made, and the claim is gone."""
    for step in claim.steps:
        if deadline.is_over:
            raise FailedError(
                f"MLflow is too slow: {claim.asked} is half done after {claims.HOLD.total_seconds():.0f} s; "
                "run the same command again and it is finished"
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
