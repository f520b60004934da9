"""Moves a version of a model forward, or the champion back: `python -m training.promote MODEL VERSION STAGE`.

    none -> staging (@challenger) -> production (@champion) -> archived

Staging takes a version that passed its validation, production one that passed it against the present champion. The
champion that was is @previous, and `python -m training.promote MODEL --rollback` makes it the champion again. Killed
at any point, the next promotion of the model finishes what was begun. Exit code 0: it stands there. 2: there is no such
model, version or stage. 3: the rules refuse it. 1: anything else; run it again.
"""

import argparse
import getpass
import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from training import claim as claims
from training import copies, ending, revision, stages, versions
from training.claim import Claim, Deadline
from training.ending import BadInputError, FailedError
from training.stages import CHAMPION, PREVIOUS, Stage, Step
from training.versions import Client

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns the exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    return ending.run(lambda: _run(asked))


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


def _run(asked: argparse.Namespace) -> str:
    request = _request(asked)
    ending.answer_soon()
    client = versions.connect(asked.tracking_uri)
    versions.standing(client, request.model, request.version)
    if asked.copy_to:
        return _run_elsewhere(client, request, asked)
    return _promoted(client, request, dry_run=asked.dry_run)


def _run_elsewhere(client: Client, request: Request, asked: argparse.Namespace) -> str:
    if request.version is None:
        raise BadInputError(
            "--copy-to and --rollback do not go together: a rollback moves no version to another registry"
        )
    if asked.copy_to == asked.tracking_uri:
        raise BadInputError(f"--copy-to {asked.copy_to} is the registry that has the version; give the other one")
    if asked.dry_run:
        return f"{request.model} version {request.version} would be copied to {asked.copy_to}, to {request.stage} there"
    number = copies.copy(client, asked.tracking_uri, asked.copy_to, request.model, request.version)
    print(f"{request.model} version {request.version} is version {number} at {asked.copy_to}")
    return _promoted(versions.connect(asked.copy_to), replace(request, version=number), dry_run=False)


def _promoted(client: Client, request: Request, *, dry_run: bool) -> str:
    if dry_run:
        for other in claims.standing(client, request.model):
            print(f"pending: {other}")
        lines = [str(step) for step in plan(client, request)]
    else:
        lines = promote(client, request)
    for line in lines:
        print(line)
    if dry_run:
        return f"{request.model}: {request} would take {len(lines)} steps; nothing was done"
    return _conclusion(client, request)


def _conclusion(client: Client, request: Request) -> str:
    now = versions.standing(client, request.model, request.version)
    champion = f"@{CHAMPION} is version {now.champion}" if now.champion else f"there is no @{CHAMPION}"
    back = now.aliases.get(PREVIOUS)
    way_back = f"; `make rollback MODEL={shlex.quote(request.model)}` makes version {back} the champion" if back else ""
    if request.version is None:
        return f"{request.model}: {champion} again"
    return f"{request.model} version {request.version} stands at {now.stage}; {champion}{way_back}"


def _request(asked: argparse.Namespace) -> Request:
    if asked.rollback == (asked.version is not None):
        raise BadInputError(
            "give VERSION and STAGE, or roll back; "
            "write make promote MODEL=churn-predictor VERSION=7 STAGE=staging, or make rollback MODEL=churn-predictor"
        )
    if asked.version is not None and asked.stage is None:
        raise BadInputError(f"give a STAGE after the version: {', '.join(Stage)}")
    if len(asked.why) > LONGEST:
        raise BadInputError(f"--why has {len(asked.why)} characters; write at most {LONGEST}")
    return Request(
        model=asked.model,
        version=asked.version,
        stage=asked.stage or Stage.NONE,
        by=asked.by[:60],
        commit=asked.commit or revision.head(),
        why=asked.why,
    )


def _parser() -> argparse.ArgumentParser:
    parser = ending.parser("promote", "Move a version of a model to a stage, or the champion back to the previous one.")
    parser.add_argument("model", metavar="MODEL", help="name in the registry, for example churn-predictor")
    parser.add_argument("version", metavar="VERSION", nargs="?", type=ending.number, help="the version's number")
    parser.add_argument("stage", metavar="STAGE", nargs="?", type=_stage, help=" -> ".join(Stage))
    parser.add_argument("--rollback", action="store_true", help="make @previous the champion again")
    parser.add_argument("--copy-to", metavar="URI", help="copy the version to this MLflow, and promote it there")
    parser.add_argument("--why", default="", help="the reason, for the record")
    parser.add_argument(
        "--by", default=_who(), help="who promotes, for the record; the user of this machine unless told"
    )
    parser.add_argument("--commit", help="commit for the record; that of the checkout unless told")
    parser.add_argument("--dry-run", action="store_true", help="print the steps and make none")
    return parser


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"  # a container's user has no name


def _stage(text: str) -> Stage:
    try:
        return Stage(text.lower())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no stage: write {', '.join(Stage)}") from None


if __name__ == "__main__":
    sys.exit(main())
