"""`python -m model_preview`, as a person or a workflow calls it."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import run
from model_preview import __main__ as command
from model_preview import packages
from tests.model_preview.conftest import MODEL, Lab

ROOT = Path(__file__).parents[2]
NOWHERE = ["--tracking-uri", "http://127.0.0.1:1"]


def test_a_change_without_a_release_sends_no_request(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_what_mends_a_release_that_could_not_be_verified_is_a_command_that_exists(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command.main(["churn", "7", "8", *NOWHERE, "--json"])
    (reason,) = json.loads(capsys.readouterr().out)["verdict"]["reasons"]
    assert run([*shlex.split(reason["mend"])[1:], "--help"]) == 0


def test_the_packages_of_the_image_are_those_without_the_excluded_ones() -> None:
    excluded = packages.listed((ROOT / "model_server/excluded.in").read_text())
    found = packages.serving_image(ROOT / "requirements.lock")
    assert found
    assert not found.keys() & set(excluded)


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0", "soon"])
def test_a_time_limit_is_a_number_above_zero(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["churn", "7", "8", *NOWHERE, "--seconds", seconds])
    assert ended.value.code == 2
    assert "argument --seconds" in capsys.readouterr().err


def test_a_lock_file_that_is_no_text_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lock").write_bytes(b"\xff\xfe")
    with pytest.raises(SystemExit) as ended:
        command.main(["churn", "7", "8", *NOWHERE, "--lock", str(tmp_path / "lock")])
    assert ended.value.code == 2
    assert f"{tmp_path}/lock cannot be read" in capsys.readouterr().err
