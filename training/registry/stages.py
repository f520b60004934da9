"""Where a version stands, as words, aliases and tags; which steps lead from one word to the next.

MLflow's own stages are deprecated. The alias is the truth: @challenger is staging, @champion is production; a tag
`archived` is archived; anything else is none. @previous is the champion that the present one replaced.
"""

import shlex
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from contract.tags import VALIDATED_AGAINST, VALIDATION_STATUS

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
ALIAS_AT_VALIDATION = "champion_alias_at_validation"
"""The version that had the alias @champion then, or `none`: another one than the champion where a stack serves a
version that nobody promoted."""
PASSED, REFUSED = "passed", "refused"
RUNNING, BROKEN = "running", "broken"
"""A validation that has not answered yet, or was killed; and one that could not."""
NO_CHAMPION = "none"
UNVALIDATED = {
    REFUSED: "was refused by its validation",
    RUNNING: "is being validated, or its validation was killed",
    BROKEN: "could not be validated",
}


class Stage(StrEnum):
    """How far a version has come."""

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
# What the registry keeps of the last time that a version came to the word: who, when, at which commit, why.
RECORDS = {
    Stage.NONE: "promoted_to_none",
    Stage.STAGING: "promoted_to_staging",
    Stage.PRODUCTION: "promoted_to_production",
    Stage.ARCHIVED: "archived",
}


class RefusedError(Exception):
    """The rules do not allow this step; the message says which rule, and the way out."""


class Step(BaseModel):
    """One call to the registry. It names what shall be, not a change: made twice, it is as if made once."""

    model_config = ConfigDict(frozen=True)

    what: Literal["alias", "unalias", "tag", "untag"]
    key: str
    version: int = 0
    value: str = ""

    def __str__(self) -> str:
        match self.what:
            case "alias":
                return f"@{self.key} is version {self.version}"
            case "unalias":
                return f"@{self.key} is gone"
            case "tag":
                return f"version {self.version} is tagged {self.key}"
            case "untag":
                return f"version {self.version} is no longer tagged {self.key}"


class Standing(BaseModel):
    """A registered model, and one version of it, as the registry shows them at one moment."""

    model_config = ConfigDict(frozen=True)

    model: str = "MODEL"
    """Name of the registered model."""
    aliases: Mapping[str, int]
    version: int = 0
    """The version in question; 0 where none is."""
    tags: Mapping[str, str] = {}
    """Those of that version."""

    @property
    def champion(self) -> int | None:
        """The version in production."""
        return self.aliases.get(CHAMPION)

    @property
    def stage(self) -> Stage:
        """The word for where the version stands."""
        if self.champion == self.version:
            return Stage.PRODUCTION
        if self.aliases.get(CHALLENGER) == self.version:
            return Stage.STAGING
        return Stage.ARCHIVED if RECORDS[Stage.ARCHIVED] in self.tags else Stage.NONE


def steps_to(standing: Standing, stage: Stage, record: str) -> tuple[Step, ...]:
    """The calls that bring the version to the stage; none when it is there.

    Args:
        standing: what the registry holds now.
        stage: where it shall stand.
        record: who, when, at which commit and why, as the registry shall keep it.

    Raises:
        RefusedError: the rules do not allow it.
    """
    if standing.stage == stage:
        return ()
    _check(standing, stage)
    return tuple(_steps(standing, stage, record))


def steps_back(standing: Standing, record: str) -> tuple[Step, ...]:
    """The calls that make @previous the champion again and archive the present one.

    Raises:
        RefusedError: there is no @previous.
    """
    back = standing.aliases.get(PREVIOUS)
    if back is None:
        raise RefusedError(
            "there is no @previous to go back to: either there was one champion only, or the last rollback used it up; "
            "promote the version that you want"
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
        ways = " or ".join(sorted(MAY_COME_FROM[stage]))
        raise RefusedError(
            f"version {version} stands at {here}, and only from {ways} does a version come to {stage}; "
            + ("promote it to staging first" if stage is Stage.PRODUCTION else "archive it, or promote another one")
        )
    if stage not in (Stage.STAGING, Stage.PRODUCTION):
        return
    validate = f"mlops validate {shlex.quote(standing.model)} {version}"
    status = tags.get(VALIDATION_STATUS, "")
    if status != PASSED:
        raise RefusedError(
            f"version {version} {UNVALIDATED.get(status, 'was not validated')}, and {stage} takes only what passed; "
            f"run `{validate}`" + (", or train a better one" if status == REFUSED else "")
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
        # The way back first: from here on a rollback finds its version, whatever happens to this process.
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
