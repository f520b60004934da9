"""Stages of a version, the aliases and tags that mark them, and the steps from one stage to the next.

MLflow's own stages are deprecated. The alias decides: @challenger is staging and @champion is production. Otherwise a
version with the tag `archived` is archived, and any other is at none. @previous is the champion before the present one.
"""

import shlex
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from contract.tags import NOTEBOOK, VALIDATED_AGAINST, VALIDATION_STATUS

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
ALIAS_AT_VALIDATION = "champion_alias_at_validation"
"""Tag of a version: the version that had the alias @champion during its validation, or `none`. It differs from
`validated_against` if the stack served a version that was never promoted."""
PASSED, REFUSED = "passed", "refused"
RUNNING, BROKEN = "running", "broken"
"""Status of a validation that has not ended or was killed, and of one that failed before it could decide."""
UNPROVEN = "unproven"
"""Status of a version whose tag says that it passed, without a report that proves it. No tag has this value."""
NO_CHAMPION = "none"
"""Value of the two tags about the champion at a validation, if there was no champion."""
UNVALIDATED = {
    REFUSED: "was refused by its validation",
    RUNNING: "is being validated, or its validation was killed",
    BROKEN: "could not be validated",
    UNPROVEN: "has a tag that says it passed its validation, and no report that proves it",
}


class Stage(StrEnum):
    """Stage of a version."""

    NONE = "none"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


MAY_COME_FROM = {
    Stage.NONE: {Stage.STAGING, Stage.ARCHIVED},
    Stage.STAGING: {Stage.NONE, Stage.ARCHIVED},
    Stage.PRODUCTION: {Stage.STAGING},
    Stage.ARCHIVED: {Stage.NONE, Stage.STAGING, Stage.PRODUCTION},
}
# Tag that records the last move to each stage: time, person, commit and reason.
RECORDS = {
    Stage.NONE: "promoted_to_none",
    Stage.STAGING: "promoted_to_staging",
    Stage.PRODUCTION: "promoted_to_production",
    Stage.ARCHIVED: "archived",
}


class RefusedError(Exception):
    """The rules do not allow this step; the message names the rule and says what to do."""


class Step(BaseModel):
    """One idempotent call to the registry: it states the result, not a change."""

    model_config = ConfigDict(frozen=True)

    what: Literal["alias", "unalias", "tag", "untag"]
    """Kind of the call."""
    key: str
    """Name of the alias or key of the tag."""
    version: int = 0
    """Number of the version that the call changes; 0 for `unalias`."""
    value: str = ""
    """Value that `tag` writes; empty for other kinds of call."""

    def __str__(self) -> str:
        match self.what:
            case "alias":
                return f"@{self.key} is version {self.version}"
            case "unalias":
                return f"@{self.key} is deleted"
            case "tag":
                return f"version {self.version} is tagged {self.key}"
            case "untag":
                return f"version {self.version} is no longer tagged {self.key}"


class Standing(BaseModel):
    """State of a registered model and of one of its versions at one moment."""

    model_config = ConfigDict(frozen=True)

    model: str = "MODEL"
    """Name of the registered model."""
    aliases: Mapping[str, int]
    """Version number of each alias of the model."""
    version: int = 0
    """Number of the described version; 0 if only the model is described."""
    tags: Mapping[str, str] = {}
    """Tags of the version."""

    @property
    def champion(self) -> int | None:
        """Number of the version in production; None if there is none."""
        return self.aliases.get(CHAMPION)

    @property
    def stage(self) -> Stage:
        """Stage of the version."""
        if self.champion == self.version:
            return Stage.PRODUCTION
        if self.aliases.get(CHALLENGER) == self.version:
            return Stage.STAGING
        return Stage.ARCHIVED if RECORDS[Stage.ARCHIVED] in self.tags else Stage.NONE


def steps_to(standing: Standing, stage: Stage, record: str) -> tuple[Step, ...]:
    """Return the steps that bring the version to the stage; none if it is already there.

    Args:
        standing: present state of the model and the version.
        stage: target stage of the version.
        record: value of the tag that records the move.

    Raises:
        RefusedError: the rules do not allow the move.
    """
    if standing.stage == stage:
        return ()
    _check(standing, stage)
    return tuple(_steps(standing, stage, record))


def steps_of_release(standing: Standing, record: str) -> tuple[Step, ...]:
    """Return the steps that make the version the champion because a stack serves it now; none if it is the champion."""
    return () if standing.champion == standing.version else tuple(_steps(standing, Stage.PRODUCTION, record))


def steps_back(standing: Standing, record: str) -> tuple[Step, ...]:
    """Return the steps that make @previous the champion again and archive the present champion.

    Raises:
        RefusedError: there is no @previous.
    """
    back = standing.aliases.get(PREVIOUS)
    if back is None:
        raise RefusedError(
            "there is no @previous to go back to, because there was only one champion, or the last rollback deleted "
            "the alias; promote the version that you want"
        )
    steps = [Step(what="alias", key=CHAMPION, version=back)]
    if standing.champion not in (None, back):
        steps.append(Step(what="tag", key=RECORDS[Stage.ARCHIVED], version=standing.champion or 0, value=record))
    steps += [
        Step(what="untag", key=RECORDS[Stage.ARCHIVED], version=back),
        Step(what="tag", key=RECORDS[Stage.PRODUCTION], version=back, value=record),
        Step(what="unalias", key=PREVIOUS),
    ]
    if standing.aliases.get(CHALLENGER) == back:
        steps.append(Step(what="unalias", key=CHALLENGER))
    return tuple(steps)


def _check(standing: Standing, stage: Stage) -> None:
    version, here, tags = standing.version, standing.stage, standing.tags
    if here not in MAY_COME_FROM[stage]:
        sources = " or ".join(sorted(MAY_COME_FROM[stage]))
        raise RefusedError(
            f"version {version} is at {here}, and a version reaches {stage} only from {sources}; "
            + ("promote it to staging first" if stage is Stage.PRODUCTION else "archive it, or promote another version")
        )
    if stage not in (Stage.STAGING, Stage.PRODUCTION):
        return
    validate = f"mlops validate {shlex.quote(standing.model)} {version}"
    status = tags.get(VALIDATION_STATUS, "")
    if status != PASSED and NOTEBOOK in tags:
        raise RefusedError(
            f"version {version} was trained in a notebook, and {stage} takes it only after a validation has found the "
            f"Job that reproduced it; train it again in a Job with `mlops train`, then run `{validate}`"
        )
    if status != PASSED:
        raise RefusedError(
            f"version {version} {UNVALIDATED.get(status, 'was not validated')}, and {stage} takes only versions that "
            f"passed; run `{validate}`" + (", or train a better version" if status == REFUSED else "")
        )
    then = tags.get(ALIAS_AT_VALIDATION) or tags.get(VALIDATED_AGAINST, "unknown")
    champion = str(standing.champion or NO_CHAMPION)
    if stage is Stage.PRODUCTION and then != champion:
        raise RefusedError(
            f"version {version} was validated when @champion was {then}, and @champion is {champion} now; "
            f"run `{validate}` again"
        )


def _steps(standing: Standing, stage: Stage, record: str) -> Iterator[Step]:
    version, here, champion = standing.version, standing.stage, standing.champion
    if stage is Stage.STAGING:
        yield Step(what="alias", key=CHALLENGER, version=version)
    if stage is Stage.PRODUCTION:
        # @previous comes first: from here on a rollback finds its version even if this process dies.
        if champion:
            yield Step(what="alias", key=PREVIOUS, version=champion)
        yield Step(what="alias", key=CHAMPION, version=version)
        if champion:
            yield Step(what="tag", key=RECORDS[Stage.ARCHIVED], version=champion, value=record)
    if stage is Stage.ARCHIVED and here is Stage.PRODUCTION:
        yield Step(what="alias", key=PREVIOUS, version=version)
        yield Step(what="unalias", key=CHAMPION)
    if here is Stage.STAGING:
        yield Step(what="unalias", key=CHALLENGER)
    if here is Stage.ARCHIVED:
        yield Step(what="untag", key=RECORDS[Stage.ARCHIVED], version=version)
    yield Step(what="tag", key=RECORDS[stage], version=version, value=record)
