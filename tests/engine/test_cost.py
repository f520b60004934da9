"""Prices of a plan that the real engine printed."""

import json
from typing import Any

import pytest

from cli import main
from contract.exit_codes import ExitCode
from cost.delta import Delta
from cost.plan import PlanError, parse
from cost.report import delta_of_document, of_document
from tests.cost.plans import HOURS_NAT, TODAY
from tests.projects import STACK, Engine

pytestmark = pytest.mark.engine

# Without an SDK, which takes seconds to import.
PROGRAM = """
    import pulumi
    pulumi.CustomResource("aws:ec2/natGateway:NatGateway", "first", {"subnetId": "subnet-1"})
    pulumi.CustomResource("aws:kms/key:Key", "data", {"description": "data"})
    database = {"instanceClass": "db.t4g.small", "allocatedStorage": 20, "multiAz": False, "username": "mlflow"}
    pulumi.CustomResource("aws:rds/instance:Instance", "database", database)
"""
LARGER = PROGRAM.replace("db.t4g.small", "db.m7g.large").replace('"username": "mlflow"', '"username": "other"')
DATABASES = 730 * 0.032 + 20 * 0.115, 730 * 0.168 + 20 * 0.115


def test_a_preview_of_the_engine_is_priced_on_both_sides(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = engine.project(tmp_path_factory.mktemp("cost"), PROGRAM)
    project.configure("aws:region", "us-east-1")
    made = project.up()
    assert made.succeeded, made.output
    project.write(LARGER.replace('"first"', '"second"'))

    preview: Any = json.loads(project.pulumi("preview", "--json", "--show-sames"))
    assert of_document(preview, today=TODAY).floor_usd == pytest.approx(HOURS_NAT + 1 + DATABASES[1])
    delta = delta_of_document(preview, today=TODAY)
    expected = {"first": -HOURS_NAT, "second": HOURS_NAT, "database": DATABASES[1] - DATABASES[0]}
    assert changes(delta) == pytest.approx(expected)

    state: Any = json.loads(project.pulumi("stack", "export"))
    assert changes(delta_of_document(preview, {**state}, today=TODAY)) == changes(delta)

    with pytest.raises(PlanError, match="leaves out what does not change"):
        parse(json.loads(project.pulumi("preview", "--json")))


def test_the_command_previews_a_stack_and_refuses_it_for_the_budget_of_its_file(
    engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = engine.project(tmp_path_factory.mktemp("budget"), PROGRAM)
    project.configure("aws:region", "us-east-1")
    monkeypatch.chdir(project.folder)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    project.pulumi("config", "set", "--path", "mlops:budget.month_usd", "99.5")
    assert main.run(["cost", "--stack", STACK]) == ExitCode.DONE
    project.pulumi("config", "set", "--path", "mlops:budget.month_usd", "50.5")
    assert main.run(["cost", "--stack", STACK]) == ExitCode.REFUSED
    assert "month_usd of the budget is $50.50, but a month may cost $59.51" in capsys.readouterr().err


def changes(delta: Delta) -> dict[str, float]:
    """Name -> difference of a month without load."""
    return {each.name: round(each.floor_usd, 6) for each in delta.changes}
