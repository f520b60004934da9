"""Findings about the Pulumi engine and the state of the stack."""

from importlib.metadata import version
from pathlib import Path

import pytest

from doctor.engine import Engine, backend, engine, plugins, secrets, state
from doctor.findings import Finding, Level
from doctor.stack_file import read
from tests.doctor.pulumi_double import Pulumi, pulumi
from tests.doctor.stacks import stack
from tests.projects import CHECKOUT

__all__ = ["pulumi"]


def all_findings(pulumi: Pulumi) -> list[Finding]:
    prod, made = stack(pulumi.folder, {}), pulumi.engine
    return [*engine(made), *plugins(made, prod), *backend(made), *state(made, prod), *secrets(prod)]


def test_a_stack_that_can_be_deployed_has_no_fault_and_the_engine_only_reads(pulumi: Pulumi) -> None:
    assert {each.level for each in all_findings(pulumi)} == {Level.OK}
    asked = set((pulumi.folder / "bin" / "asked").read_text().splitlines())
    assert asked == {"version", "plugin ls", "whoami", "stack ls"}


@pytest.mark.parametrize(
    ("words", "answer", "level", "what", "mend"),
    [
        ("version", "v3.100.0", Level.WARNING, "the engine is 3.100.0, and the Python SDK", "run curl -fsSL"),
        (
            "whoami",
            'error: read ".pulumi/meta.yaml": no such host',
            Level.PROBLEM,
            'the state backend does not respond: read ".pulumi/meta.yaml": no such host',
            "run pulumi login URL",
        ),
        (
            "stack ls",
            [{"name": "dev"}],
            Level.PROBLEM,
            "the backend has no stack prod; it has dev",
            'run pulumi stack init prod --secrets-provider="awskms://alias/pulumi?region=eu-west-1"',
        ),
        (
            "stack ls",
            [{"name": "acme/mlops/prod", "updateInProgress": True}],
            Level.WARNING,
            "an update of prod is in progress, or was killed",
            "run pulumi cancel --stack prod",
        ),
    ],
)
def test_a_fault_of_the_engine_has_one_line_with_the_command_that_mends_it(
    pulumi: Pulumi, *, words: str, answer: object, level: Level, what: str, mend: str
) -> None:
    pulumi.answers[words] = answer
    (found,) = [each for each in all_findings(pulumi) if each.level is not Level.OK]
    assert (found.level, what in found.what, mend in found.mend) == (level, True, True), found


def test_a_plugin_that_the_engine_may_not_download_has_to_be_installed(pulumi: Pulumi) -> None:
    pulumi.answers["plugin ls"] = [{"name": "kubernetes", "version": version("pulumi-kubernetes")}]
    assert {each.level for each in all_findings(pulumi)} == {Level.OK}
    pulumi.environment["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
    (found,) = [each for each in all_findings(pulumi) if each.level is not Level.OK]
    assert found.mend == f"run pulumi plugin install resource aws {version('pulumi-aws')}"


def test_an_engine_that_is_not_installed_is_a_problem(tmp_path: Path) -> None:
    (found,) = engine(Engine(folder=tmp_path, environment={"PATH": str(tmp_path)}))
    assert (found.level, found.what) == (Level.PROBLEM, "pulumi is not on PATH")


def test_a_secret_that_the_file_lacks_has_its_command(tmp_path: Path) -> None:
    (found,) = secrets(stack(tmp_path, {"database_password": {"secure": "v1:x"}}))
    assert found.level is Level.OK
    (found,) = secrets(read("prod", CHECKOUT))
    assert found.level is Level.PROBLEM
    assert found.mend == (
        'run pulumi config set --stack prod --secret mlops:database_password "$(openssl rand -hex 24)"'
    )
