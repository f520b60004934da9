"""`python -m model_preview`, as a person or a workflow calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_preview import __main__ as command
from tests.model_preview.conftest import MODEL, Lab

ROOT = Path(__file__).parents[2]
NOWHERE = ["--tracking-uri", "http://127.0.0.1:1"]


def test_a_change_without_a_release_asks_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["churn", "7", "7", *NOWHERE]) == 0
    assert command.main(["churn", "7", "none", *NOWHERE]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "churn: version 7 -> 7 passes: the version stays the same",
        "churn: removing version 7 passes: no version is served afterwards",
    ]


@pytest.mark.parametrize(("stack", "code"), [([], 0), (["--protected"], 1)])
def test_an_mlflow_that_does_not_answer_fails_a_protected_stack_alone(
    stack: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["churn", "7", "8", *NOWHERE, *stack]) == code
    assert "could not be verified because MLflow at" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("version", ["latest", "0", "-1", "1.5", "@champion"])
def test_a_version_is_a_number(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["churn", "7", version])
    assert ended.value.code == 2
    assert capsys.readouterr().err


@pytest.mark.long
def test_the_command_shows_the_release_in_three_views(lab: Lab) -> None:
    words = [sys.executable, "-m", "model_preview", "churn", "1", "2", "--model", MODEL, "--tracking-uri", lab.uri]
    environment = {**os.environ, "COLUMNS": "80"}
    terminal, comment, data = (
        subprocess.run(
            [*words, "--seconds", "60", "--protected", *view],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for view in ([], ["--markdown"], ["--json"])
    )
    assert terminal.splitlines()[0] == "churn: version 1 -> 2 passes"
    assert max(map(len, terminal.splitlines())) <= 80
    assert "| roc&#95;auc &#42; |" in comment
    assert json.loads(data)["diff"]["measured"]["against"] == 1


@pytest.mark.long
def test_a_refusal_is_exit_code_3(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["churn", "1", "99", "--model", MODEL, "--tracking-uri", lab.uri, "--seconds", "60", "--json"]
    assert command.main(asked) == 3
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert verdict["line"].endswith(f"is refused because {MODEL} has no version 99 (versions that exist: 1, 2)")
