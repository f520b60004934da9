"""The command `mlops doctor`."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from contract.exit_codes import ExitCode
from tests.command import Command
from tests.doctor.conftest import World
from tests.doctor.pulumi_double import Pulumi, pulumi
from tests.doctor.stacks import LOCAL, write

__all__ = ["pulumi"]


@pytest.fixture
def project(world: World, pulumi: Pulumi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A project whose stack runs in the cluster, with fake programs on PATH."""
    write(tmp_path, LOCAL)
    pulumi.write()
    world.write()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("WORLD", str(tmp_path))
    return world


@pytest.mark.usefixtures("project")
def test_a_stack_without_a_problem_ends_with_0_and_a_line_for_each_finding(mlops: Command) -> None:
    code, output = mlops("doctor", "--stack", "prod")
    lines = output.splitlines()
    assert code == ExitCode.DONE, output
    assert lines[-1].startswith("stack prod: ")
    assert lines[-1].endswith(" ok, 0 problem")
    assert {line.split()[0] for line in lines[:-1]} == {"ok"}
    assert (
        "ok           endpoint churn-predictor  version 1 of churn-predictor is in the file, in the cluster" in output
    )


def test_a_problem_ends_with_3_and_is_printed_last_with_its_command(project: World, mlops: Command) -> None:
    project.responses["/health"] = (500, "broken")
    code, output = mlops("doctor", "--stack", "prod")
    assert code == ExitCode.REFUSED
    assert output.splitlines()[-2] == (
        "problem      MLflow                    MLflow responds 500 broken: no run is recorded, and no version is "
        "verified; run kubectl --context mine -n mlops-platform logs deployment/mlflow --tail 50"
    )
    assert output.splitlines()[-1].endswith("1 problem, 1 not checked")


def test_json_has_every_finding_with_its_parts(project: World, mlops: Command) -> None:
    project.responses["/health"] = (500, "broken")
    code, output = mlops("doctor", "--stack", "prod", "--json")
    report = json.loads(output)
    (problem,) = [each for each in report["findings"] if each["level"] == "problem"]
    assert code == ExitCode.REFUSED
    assert report["counts"]["problem"] == 1
    assert (problem["check"], problem["what"]) == ("MLflow", "MLflow responds 500 broken")
    assert problem["mend"].startswith("run kubectl --context mine -n mlops-platform logs")


def test_a_check_that_has_a_defect_ends_with_1(project: World, mlops: Command) -> None:
    project.objects["version"] = {}
    project.write()
    code, output = mlops("doctor", "--stack", "prod")
    assert code == ExitCode.FAILED
    assert "defect       Kubernetes API" in output
    assert "KeyError: 'serverVersion'; report this line" in output


def test_a_missing_permission_is_no_pass(project: World, mlops: Command) -> None:
    project.objects["get nodes"] = 'error: nodes is forbidden: User "me" cannot list resource "nodes"'
    project.write()
    code, output = mlops("doctor", "--stack", "prod")
    assert code == ExitCode.DONE
    assert "not checked  nodes  " in output
    assert "it needs the Kubernetes permission to list nodes" in output
    assert "4 not checked" in output.splitlines()[-1]


def test_a_stack_on_aws_without_credentials_has_that_problem_only_once(
    project: World, mlops: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    write(project.folder, {})
    code, output = mlops("doctor", "--stack", "prod")
    found: list[Any] = [line for line in output.splitlines() if line.startswith("problem")]
    assert code == ExitCode.REFUSED
    assert len(found) == 1
    assert "there are no valid AWS credentials: Unable to locate credentials; run aws sso login" in found[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stack", "pro"], "there is no Pulumi.pro.yaml in "),
        (["--stack", "prod", "--tracking-uri", "mlflow"], "'mlflow' is not an address of MLflow"),
    ],
)
@pytest.mark.usefixtures("project")
def test_wrong_words_are_bad_input(mlops: Command, words: list[str], message: str) -> None:
    code, output = mlops("doctor", *words)
    assert (code, message in output) == (ExitCode.BAD_INPUT, True), output


@pytest.mark.usefixtures("project")
def test_without_a_name_the_selected_stack_is_checked(pulumi: Pulumi, mlops: Command) -> None:
    pulumi.answers["stack"] = "prod"
    pulumi.write()
    assert mlops("doctor")[1].splitlines()[-1].startswith("stack prod: ")
    pulumi.answers["stack"] = "error: no stack selected"
    pulumi.write()
    code, output = mlops("doctor")
    assert code == ExitCode.BAD_INPUT
    assert (
        output
        == "mlops: no stack is selected (no stack selected); write --stack NAME, or run `pulumi stack select NAME`\n"
    )
