import itertools
import json
import os
import subprocess
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from mlflow.tracking import MlflowClient

from contract.stages import RefusedError, Stage
from tests.registry import Registry
from training.registry import claim as claims
from training.registry import client as versions
from training.registry import promote
from training.registry.claim import BusyError, Claim, Holder
from training.registry.promote import Request

pytestmark = pytest.mark.long

KEPT = ("promoted_to_none", "promoted_to_staging", "promoted_to_production", "archived")
NAMES = (f"promoted-{number}-{os.getpid()}" for number in itertools.count())


class Killed(BaseException):
    """Stands for the end of the process between two calls; no later code may run."""


class Dying:
    """Client that makes a number of writing calls, then raises Killed."""

    def __init__(self, client: versions.Client, calls: int) -> None:
        self._client = client
        self._left = calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name.startswith(("set_", "delete_")) or self._left < 0:
            return self._counted(method)
        return method

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise Killed
            return method(*arguments, **named)

        return call


class Made:
    """Registered model with three versions that passed their validation without a champion."""

    def __init__(self, registry: Registry, source: str = "s3://bucket/model") -> None:
        self.uri = registry.uri
        self.name = next(NAMES)
        self.client = versions.connect(registry.uri)
        client = MlflowClient(registry.uri)
        client.create_registered_model(self.name)
        for _ in range(3):
            made = client.create_model_version(self.name, source)
            self.passes(int(made.version), against="none")

    def passes(self, version: int, *, against: object) -> None:
        self.client.set_model_version_tag(self.name, str(version), "validation_status", "passed")
        self.client.set_model_version_tag(self.name, str(version), "validated_against", str(against))

    def asks(self, version: int | None, stage: str = "none", by: str = "ada") -> Request:
        return Request(model=self.name, version=version, stage=Stage(stage), by=by, commit="3f2a9c1", why="better")

    def promote(self, version: int | None, stage: str = "none", **told: Any) -> list[str]:
        return promote.promote(self.client, self.asks(version, stage), **told)

    def reach_production(self, version: int) -> None:
        self.passes(version, against=self.aliases.get("champion", "none"))
        self.promote(version, "staging")
        self.promote(version, "production")

    def restart(self, aliases: dict[str, int]) -> None:
        """Set the aliases, delete the records of promotions, and mark @previous as archived."""
        client = self.client
        for alias in ("champion", "challenger", "previous"):
            if alias in aliases:
                client.set_registered_model_alias(self.name, alias, str(aliases[alias]))
            else:
                client.delete_registered_model_alias(self.name, alias)
        for number in (1, 2):
            for key in KEPT:
                client.delete_model_version_tag(self.name, str(number), key)
        if "previous" in aliases:
            client.set_model_version_tag(self.name, str(aliases["previous"]), "archived", "{}")

    @property
    def aliases(self) -> dict[str, int]:
        return {alias: int(n) for alias, n in self.client.get_registered_model(self.name).aliases.items()}

    def word(self, version: int) -> Stage:
        return versions.standing(self.client, self.name, version).stage

    def tags(self, version: int) -> dict[str, str]:
        return dict(self.client.get_model_version(self.name, str(version)).tags)

    @property
    def claims(self) -> list[Claim]:
        return claims.standing(self.client, self.name)

    @property
    def state(self) -> object:
        """Return all that a promotion changes, except times."""
        return self.aliases, [
            {key: json.loads(value) | {"at": ""} for key, value in self.tags(number).items() if key in KEPT}
            for number in (1, 2)
        ]


@pytest.fixture
def model(registry: Registry) -> Made:
    return Made(registry)


@pytest.fixture(scope="module")
def dead() -> Holder:
    """Holder for a process of this machine that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return Holder(host=os.uname().nodename, pid=ended.pid)


def test_a_version_goes_from_none_over_staging_to_production_and_can_be_rolled_back(model: Made) -> None:
    model.reach_production(1)
    model.reach_production(2)
    assert model.aliases == {"champion": 2, "previous": 1}
    assert [model.word(number) for number in (1, 2, 3)] == [Stage.ARCHIVED, Stage.PRODUCTION, Stage.NONE]
    assert not model.claims


def test_the_registry_keeps_who_when_at_which_commit_and_why(model: Made) -> None:
    model.promote(1, "staging")
    kept = json.loads(model.tags(1)["promoted_to_staging"])
    assert kept.pop("at").endswith("+00:00")
    assert kept == {"by": "ada", "commit": "3f2a9c1", "why": "better"}


@pytest.mark.parametrize("letter", ['"', "\\", "\N{SNOWMAN}"])
def test_the_longest_reason_fits_into_the_tag_of_a_claim(model: Made, letter: str) -> None:
    model.restart({"champion": 1, "challenger": 2})
    model.passes(2, against=1)
    asked = Request(
        model=model.name, version=2, stage=Stage.PRODUCTION, by=60 * "a", commit=40 * "f", why=promote.LONGEST * letter
    )
    claim = Claim(asked=str(asked), by=asked.by, steps=promote.plan(model.client, asked))
    assert len(claim.model_dump_json()) < 5000  # what Postgres holds


def test_a_promotion_that_is_done_is_done_again_without_a_change(model: Made) -> None:
    model.reach_production(1)
    before = model.tags(1)
    assert model.promote(1, "production") == []
    assert model.tags(1) == before


def test_a_rollback_brings_the_previous_champion_back_once(model: Made) -> None:
    model.reach_production(1)
    model.reach_production(2)
    model.promote(None)
    assert model.aliases == {"champion": 1}
    assert [model.word(1), model.word(2)] == [Stage.PRODUCTION, Stage.ARCHIVED]
    assert json.loads(model.tags(2)["archived"])["why"] == "rollback; better"
    with pytest.raises(RefusedError, match="no @previous to go back to"):
        model.promote(None)


def test_an_archived_champion_can_be_brought_back(model: Made) -> None:
    model.reach_production(1)
    model.promote(1, "archived")
    assert model.aliases == {"previous": 1}
    model.promote(None)
    assert model.aliases == {"champion": 1}


@pytest.mark.parametrize(
    ("status", "against", "stage", "said"),
    [
        (
            None,
            None,
            "staging",
            r"version 3 was not validated, and staging takes only versions that passed; run `mlops validate promoted-",
        ),
        ("refused", "2", "staging", r"was refused by its validation, .* or train a better version"),
        ("running", "2", "staging", r"is being validated, or its validation was killed"),
        (
            "passed",
            "1",
            "production",
            r"was validated when @champion was 1, and @champion is 2 now; run `mlops validate promoted-",
        ),
        ("passed", None, "production", r"was validated when @champion was unknown"),
    ],
)
def test_what_was_not_validated_for_a_step_is_refused(
    model: Made, status: str | None, against: str | None, stage: str, said: str
) -> None:
    model.reach_production(1)
    model.reach_production(2)
    if stage == "production":
        model.promote(3, "staging")
    for key, value in (("validation_status", status), ("validated_against", against)):
        model.client.delete_model_version_tag(model.name, "3", key)
        if value:
            model.client.set_model_version_tag(model.name, "3", key, value)
    before = model.state
    with pytest.raises(RefusedError, match=said):
        model.promote(3, stage)
    assert model.state == before
    assert not model.claims


def test_what_passed_against_a_served_version_goes_on_while_the_alias_is_what_it_was_then(model: Made) -> None:
    model.reach_production(1)
    for number in (2, 3):
        model.passes(number, against=9)  # the stack serves it, and it was never promoted
        model.client.set_model_version_tag(model.name, str(number), "champion_alias_at_validation", "1")
    model.promote(2, "staging")
    model.promote(2, "production")
    model.promote(3, "staging")
    with pytest.raises(RefusedError, match="was validated when @champion was 1, and @champion is 2 now"):
        model.promote(3, "production")


@pytest.mark.parametrize(
    ("start", "stage", "said"),
    [
        ("none", "production", "promote it to staging first"),
        ("production", "staging", "archive it, or promote another version"),
        ("production", "none", "archive it"),
        ("archived", "production", "promote it to staging first"),
    ],
)
def test_no_step_is_skipped(model: Made, start: str, stage: str, said: str) -> None:
    if start == "production":
        model.reach_production(1)
    elif start == "archived":
        model.promote(1, "archived")
    with pytest.raises(RefusedError, match=said):
        model.promote(1, stage)


# What comes before, and what is asked for.
PATHS = {
    "a new champion": ({"champion": 1, "challenger": 2}, 2, "production"),
    "a rollback": ({"champion": 2, "previous": 1}, None, "none"),
    "the champion leaves": ({"champion": 2, "previous": 1}, 2, "archived"),
}


@pytest.mark.parametrize(("aliases", "version", "stage"), PATHS.values(), ids=PATHS)
def test_a_promotion_killed_between_any_two_calls_is_finished_by_the_next(
    model: Made, dead: Holder, aliases: dict[str, int], version: int | None, stage: str
) -> None:
    model.passes(2, against=1)
    model.restart(aliases)
    start = model.state
    model.promote(version, stage)
    whole = model.state

    def survives(calls: int) -> bool:
        model.restart(aliases)
        dying = cast("versions.Client", Dying(model.client, calls))
        try:
            promote.promote(dying, model.asks(version, stage), dead)
        except Killed:
            assert model.claims or model.state == start
            model.promote(version, stage)
            return False
        finally:
            assert model.state == whole
            assert not model.claims
        return True

    assert next(calls for calls in itertools.count() if survives(calls)) > 5


def test_any_later_promotion_finishes_what_a_dead_one_began(model: Made, dead: Holder) -> None:
    model.reach_production(1)
    model.passes(2, against=1)
    model.promote(2, "staging")
    with pytest.raises(Killed):  # after the claim, its steps and the first of them
        promote.promote(cast("versions.Client", Dying(model.client, 3)), model.asks(2, "production"), dead)
    assert model.aliases == {"champion": 1, "challenger": 2, "previous": 1}
    done = model.promote(3, "staging")
    assert done[0].startswith("finished the promotion that ada began on ")
    assert model.aliases == {"champion": 2, "previous": 1, "challenger": 3}
    assert not model.claims


def test_a_promotion_that_goes_on_elsewhere_is_left_alone_until_it_must_be_dead(
    model: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Holder(host="another-machine", pid=1)
    with pytest.raises(Killed):
        promote.promote(cast("versions.Client", Dying(model.client, 2)), model.asks(1, "staging"), elsewhere)
    with pytest.raises(BusyError, match=r"ada began 0 s ago, on another-machine, to move version 1 to staging; try"):
        model.promote(2, "staging")
    assert len(model.claims) == 1
    monkeypatch.setattr(claims, "ABANDONED", timedelta(0))
    model.promote(2, "staging")
    assert model.aliases == {"challenger": 2}
    assert "promoted_to_staging" in model.tags(1)


def test_one_of_two_promotions_at_once_is_done_and_the_other_is_refused(registry: Registry) -> None:
    """Both write their claims before either reads the other's, which is the closest race."""
    model = Made(registry)
    meeting = threading.Barrier(2, timeout=30)

    class Meeting:
        def __init__(self) -> None:
            self.met = False

        def __getattr__(self, name: str) -> Any:
            method = getattr(model.client, name)
            if name != "set_registered_model_tag" or self.met:
                return method

            def claim_and_wait(*arguments: Any) -> None:
                self.met = True
                method(*arguments)
                meeting.wait()

            return claim_and_wait

    told: dict[int, str] = {}

    def run(version: int) -> None:
        try:
            promote.promote(cast("versions.Client", Meeting()), model.asks(version, "staging", by=f"user {version}"))
            told[version] = "done"
        except BusyError as error:
            told[version] = str(error)

    threads = [threading.Thread(target=run, args=(version,)) for version in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [version for version, sentence in told.items() if sentence == "done"]
    assert told[3 - winner].startswith(f"another promotion is running: user {winner} began ")
    assert model.aliases == {"challenger": winner}
    assert not model.claims


def test_a_promotion_that_takes_too_long_stops_before_others_may_finish_it(
    model: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HOLD", timedelta(0))
    with pytest.raises(promote.FailedError, match="run the same command again to finish it"):
        model.promote(1, "staging")
    assert model.aliases == {}
    assert len(model.claims) == 1
