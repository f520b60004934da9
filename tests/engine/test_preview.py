"""`mlops preview` over the real engine: what it reads, what it refuses, and that no secret leaves it."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from change_report import steps
from cli import main
from contract.exit_codes import ExitCode
from tests.change_report.examples import good
from tests.command import mlops
from tests.engine.aws_stack import change
from tests.projects import CHECKOUT, STACK, Engine, Project
from tests.stacks import LOCAL, SECRETS

__all__ = ["mlops"]
pytestmark = pytest.mark.engine

SECRET = "hunter-2-0123456789"
# Without an SDK, which takes seconds to import. The program writes its report about models as infra/ does.
PROGRAM = """
    import os, pathlib, pulumi
    config = pulumi.Config("mlops")
    pulumi.CustomResource("aws:ec2/natGateway:NatGateway", "nat", {"subnetId": "subnet-1"})
    pulumi.CustomResource("aws:s3/bucket:Bucket", "artifacts", {"bucket": config.get("bucket") or "first"})
    database = {"instanceClass": config.get("class") or "db.t4g.small", "allocatedStorage": 20, "multiAz": False,
                "password": config.require_secret("password")}
    pulumi.CustomResource("aws:rds/instance:Instance", "database", database)
    pulumi.log.warn("the key `class` is old")
    if report := os.environ.get("MLOPS_MODEL_REPORT"):
        pathlib.Path(report).write_text(pathlib.Path("models.json").read_text())
"""
BROKEN_RULE = """
    import pulumi
    rule = {"securityGroupId": "sg-1", "ipProtocol": "tcp", "cidrIpv4": "0.0.0.0/0"}
    pulumi.CustomResource("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "world", rule)
"""


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that lets `mlops` run in a project."""

    def enter(project: Project) -> None:
        monkeypatch.chdir(project.folder)
        for name, value in project.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("COLUMNS", "100")

    return enter


def commit(folder: Path) -> None:
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    (folder / ".gitignore").write_text("state\n")
    for words in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["add", "--all"],
        ["commit", "--quiet", "-m", "base"],
    ):
        subprocess.run([*git, *words], cwd=folder, check=True, capture_output=True)


def test_a_change_is_reported_from_what_the_engine_prints(
    engine: Engine, tmp_path: Path, patched: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    project = engine.project(tmp_path / "project", PROGRAM)
    (project.folder / "models.json").write_text('{"previews": []}')
    project.configure("aws:region", "us-east-1")
    project.configure("mlops:password", SECRET, secret=True)
    made = project.up()
    assert made.succeeded, made.output
    commit(project.folder)
    project.configure("mlops:bucket", "second")
    project.configure("mlops:class", "db.m7g.large")
    project.configure("mlops:password", f"new-{SECRET}", secret=True)
    (project.folder / "models.json").write_text(json.dumps({"previews": [good().model_dump(mode="json")]}))
    patched(project)

    words = ["preview", "--stack", STACK, "--base", "main"]
    assert main.run([*words, "--json"]) == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert told["line"].startswith("test passes, with 2 warnings: 1 release, 1 replaced, 1 updated, deletes the data")
    bucket, database = told["infrastructure"]["changes"]
    assert (bucket["name"], bucket["op"], bucket["because"], bucket["store"]) == (
        "artifacts", "replace", ["bucket"], "bucket",
    )  # fmt: skip
    assert database["fields"] == [
        {"path": "instanceClass", "old": "db.t4g.small", "new": "db.m7g.large"},
        {"path": "password", "old": "[secret]", "new": "[secret]"},
    ]
    assert [each["path"] for each in told["base"]["keys"]] == ["mlops:password", "mlops:bucket", "mlops:class"]
    assert told["notes"][0].startswith("churn-predictor: the preview changes version 7 to version 8, but the diff does")
    assert told["warnings"] == ["the key `class` is old"]
    assert told["cost"]["delta"]["floor_usd"] == pytest.approx(730 * (0.168 - 0.032))

    project.pulumi("config", "set", "--path", "mlops:budget.month_usd", "100.5")
    assert main.run([*words, "--out", "report.md"]) == ExitCode.REFUSED
    terminal = capsys.readouterr().out
    comment = (project.folder / "report.md").read_text()
    assert "month_usd of the budget is $100.50, but a month may cost $157.79" in " ".join(terminal.split())
    for text in (json.dumps(told), terminal, comment):
        assert SECRET not in text


def test_a_violated_policy_of_the_projects_pack_refuses_the_change(
    engine: Engine, tmp_path: Path, patched: Any, mlops: Any
) -> None:
    python = str(CHECKOUT / "lab" / "policy-python")
    project = engine.project(tmp_path / "project", BROKEN_RULE, PULUMI_PYTHON_CMD=python)
    shutil.copytree(CHECKOUT / "policy", project.folder / "policy")
    patched(project)
    code, said = mlops("preview", "--stack", STACK, "--json")
    told = json.loads(said[: said.rindex("}") + 1])
    assert (code, told["outcome"], told["packs"], told["errors"]) == (ExitCode.REFUSED, "refused", ["mlops"], [])
    (found,) = told["violations"]
    assert (found["policy"], found["resource"], found["sentence"], found["mandatory"]) == (
        "no-ingress-rule-for-the-world", "SecurityGroupIngressRule world", "is open to 0.0.0.0/0", True,
    )  # fmt: skip


def test_a_program_that_fails_and_a_stack_that_does_not_exist_end_with_their_codes(
    engine: Engine, tmp_path: Path, patched: Any, mlops: Any
) -> None:
    project = engine.project(tmp_path / "project", "import pulumi\nraise pulumi.RunError('a key is missing')\n")
    patched(project)
    code, said = mlops("preview", "--stack", STACK)
    assert (code, said.splitlines()[-1]) == (ExitCode.FAILED, "mlops: a key is missing")
    code, said = mlops("preview", "--stack", "prodd")
    assert (code, said.splitlines()[-1]) == (
        ExitCode.BAD_INPUT, "mlops: Pulumi has no stack prodd; `pulumi stack ls` lists those that exist",
    )  # fmt: skip
    project.pulumi("stack", "unselect")
    code, said = mlops("preview")
    assert (code, "write --stack NAME" in said) == (ExitCode.BAD_INPUT, True)


def test_the_repositorys_own_program_is_understood(engine: Engine, tmp_path: Path, patched: Any, mlops: Any) -> None:
    project = engine.our_program(tmp_path / "project", LOCAL, SECRETS)
    made = project.up()
    assert made.succeeded, made.output
    change(project, STACK, {"endpoints": {"churn-two": {"version": 3}}, "foundation.storage_gib": 9})
    project.configure("mlops:artifact_store_secret_key", SECRET, secret=True)
    document = json.loads(project.pulumi("preview", "--json", "--show-sames"))
    assert steps.versions(document) == {"churn-predictor": ("1", ""), "churn-two": ("", "3")}
    patched(project)
    _, said = mlops("preview", "--stack", STACK, "--json")
    told = json.loads(said[: said.rindex("}") + 1])
    found = {(each["op"], each["where"], each["name"]) for each in told["infrastructure"]["changes"]}
    assert {("delete", "ml-serving", "churn-predictor"), ("create", "ml-serving", "churn-two")} <= found
    assert not [secret for secret in (*SECRETS.values(), SECRET) if secret in said]
