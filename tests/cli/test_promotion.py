"""`mlops promote` and `mlops rollback`: output and exit codes."""

import pytest

from tests.command import Command
from tests.mlflow_server import Server
from tests.registry import Registry
from tests.training.registry.test_promote import Made

pytestmark = pytest.mark.long


@pytest.fixture
def model(registry: Registry) -> Made:
    return Made(registry)


def test_a_version_is_promoted_and_a_rollback_brings_the_former_champion_back(model: Made, mlops: Command) -> None:
    model.reach_production(1)
    model.passes(2, against=1)
    there = ("--tracking-uri", model.uri)
    for stage in ("staging", "Production"):
        code, said = mlops("promote", model.name, 2, stage, "--why", "better", *there)
        assert code == 0, said
    assert said.splitlines()[-1] == (
        f"{model.name} version 2 is at stage production; @champion is version 2; "
        f"`mlops rollback {model.name}` makes version 1 the champion"
    )
    code, said = mlops("rollback", model.name, *there)
    assert (code, said.splitlines()[-1]) == (0, f"{model.name}: @champion is version 1 again")
    assert model.aliases == {"champion": 1}


def test_a_result_that_only_a_tag_states_does_not_reach_production(
    model: Made, registry: Registry, mlops: Command
) -> None:
    server = Server(registry.dataset.parent)
    server.start()
    there = ("--tracking-uri", server.uri)
    try:
        assert mlops("promote", model.name, 1, "staging", *there)[0] == 0
        code, said = mlops("promote", model.name, 1, "production", *there)
    finally:
        server.kill()
    assert code == 3
    assert "has a tag that says it passed its validation, and no report that proves it" in said
    assert f"run `mlops validate {model.name} 1`" in said
    assert model.aliases == {"challenger": 1}


@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_a_dry_run_prints_the_steps_and_takes_none(model: Made, mlops: Command, command: str) -> None:
    model.reach_production(1)
    model.reach_production(2)
    before, words = model.state, [3, "staging"] if command == "promote" else []
    code, said = mlops(command, model.name, *words, "--dry-run", "--tracking-uri", model.uri)
    assert code == 0
    assert ("@challenger is version 3" if words else "@champion is version 1") in said
    assert said.splitlines()[-1].endswith("nothing was changed")
    assert model.state == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([9, "staging"], 2, "has no version 9; versions that exist: 1, 2, 3"),
        ([1, "production"], 3, "promote it to staging first"),
        ([1], 2, "Missing argument 'STAGE'"),
        ([], 2, "Missing argument 'VERSION'"),
        (["latest", "staging"], 2, "Invalid value for 'VERSION'"),
        ([0, "staging"], 2, "Invalid value for 'VERSION'"),
        ([1, "stagin"], 2, "Invalid value for 'STAGE"),
        ([1, "staging", "--why", 301 * "x"], 2, "--why has 301 characters; write at most 300"),
    ],
)
def test_a_promotion_that_cannot_be_carried_out_ends_with_one_line(
    model: Made, mlops: Command, words: list[object], code: int, said: str
) -> None:
    ended, told = mlops("promote", model.name, *words, "--tracking-uri", model.uri)
    assert (ended, told.count("\n")) == (code, 1)
    assert said in told


def test_a_version_is_not_copied_to_the_registry_that_has_it(model: Made, mlops: Command) -> None:
    words = ("promote", model.name, 1, "staging", "--tracking-uri", model.uri, "--copy-to", model.uri)
    code, said = mlops(*words)
    assert (code, said.count("\n")) == (2, 1)
    assert "is the MLflow that has the version already" in said


def test_an_mlflow_that_is_not_there_is_one_line(mlops: Command) -> None:
    code, said = mlops("promote", "churn", 1, "staging", "--tracking-uri", "http://127.0.0.1:9")
    assert (code, said.splitlines()[-1].startswith("mlops: a call to MLflow failed: ")) == (1, True)
    assert "Connection refused" in said
