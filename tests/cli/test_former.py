"""Commands of former releases still work: each prints the new command on stderr and runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli import former

ROOT = Path(__file__).parents[2]
TELL = "import json, sys; from cli import former, main; main.start = lambda words: print(json.dumps(words)) or 7; "


def made(folder: Path, *words: str) -> tuple[int, list[str], str]:
    """Return the exit code of a make target, the arguments of the new command, and the text on stderr."""
    (folder / "python").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "{TELL} sys.exit(former.target(sys.argv[3]))" "$@"\n'
    )
    (folder / "python").chmod(0o755)
    (folder / ".venv").mkdir(exist_ok=True)
    # As from a shell, also where make runs the tests.
    shell = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    done = subprocess.run(
        ["make", "-f", ROOT / "Makefile", "-o", ".venv/.ready", *words],
        cwd=folder, env=shell | {"PATH": f"{folder}{os.pathsep}{shell['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["status"], ["lab", "status"]),
        (["train", "NAME=churn", "N_ESTIMATORS=300"], ["train", "churn", "N_ESTIMATORS=300"]),
        (["train", "NAME=churn", "VALIDATE=0", "DRY_RUN=1"], ["train", "churn", "--dry-run", "--no-validate"]),
        (["-k", "train", "NAME=churn", "TEXT=two words; 'and' more"], ["train", "churn", "TEXT=two words; 'and' more"]),
        (["train", "NAME=churn", "PRICE=5$$"], ["train", "churn", "PRICE=5$"]),
        (["train", "N=3"], ["train", "N=3"]),
        (["follow", "RUN=churn-x7k2p", "CONTEXT=prod"], ["follow", "churn-x7k2p", "--context=prod"]),
        (["runs"], ["runs"]),
        (["runs", "NAME=churn", "LAST=3"], ["runs", "--name=churn", "--last=3"]),
        (
            ["predict", "MODEL=m", "FILE=a b.csv", "OUT=p.csv", "KEEP=id", "URL=http://a"],
            ["predict", "m", "a b.csv", "--out=p.csv", "--keep=id", "--url=http://a"],
        ),
        (["client", "MODEL=m"], ["client", "m"]),
        (["validate", "MODEL=m", "VERSION=2"], ["validate", "m", "2"]),
        (
            ["promote", "MODEL=m", "VERSION=2", "STAGE=staging", "WHY=it's"],
            ["promote", "m", "2", "staging", "--why=it's"],
        ),
        (["promote", "MODEL=m", "STAGE=staging"], ["promote", "m"]),
        (["reproduce", "VERSION=2"], ["reproduce"]),
        (["rollback", "MODEL=m"], ["rollback", "m"]),
        (["reproduce", "MODEL=m", "VERSION=2", "DATASET=s3://b/k"], ["reproduce", "m", "2", "--dataset=s3://b/k"]),
        (["models", "MODEL='; touch x"], ["models", "'; touch x"]),
    ],
)
def test_a_target_of_make_names_its_successor_and_calls_it(tmp_path: Path, typed: list[str], words: list[str]) -> None:
    _, called, said = made(tmp_path, *typed)
    assert called == words
    target = next(word for word in typed if "=" not in word and word != "-k")
    assert said.startswith(f"`make {target}` is now `mlops {words[0]}")
    assert sorted(each.name for each in tmp_path.iterdir()) == [".venv", "python"]


def test_a_value_that_the_target_does_not_know_is_refused_before_anything_is_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(former.GIVEN, "NAME VALIDATE")
    monkeypatch.setenv("VALIDATE", "no")
    with pytest.raises(SystemExit) as ended:
        former.target("train")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("VALIDATE=no: must be 0 or 1")


def test_a_target_fails_as_its_successor_does(tmp_path: Path) -> None:
    code, _, said = made(tmp_path, "status")
    assert code
    assert "Error 7" in said


@pytest.mark.parametrize(
    ("program", "typed", "words"),
    [
        ("runs", ["list", "--last", "3"], ["runs", "--last", "3"]),
        ("runs", ["train", "churn", "X=1"], ["train", "churn", "X=1"]),
        (
            "client",
            ["predict", "m", "a.csv", "b.csv", "--rows", "9"],
            ["predict", "m", "a.csv", "--rows=9", "--out=b.csv"],
        ),
        ("client", ["generate", "--url", "http://a", "m"], ["client", "m", "--url=http://a"]),
        (
            "train",
            ["churn", "--data", "a.csv", "--mlflow", "u"],
            ["train", "churn", "--data", "a.csv", "--tracking-uri", "u"],
        ),
        ("train", ["churn", "--mlflow=u"], ["train", "churn", "--tracking-uri=u"]),
    ],
)
def test_a_former_program_names_its_successor_and_calls_it(program: str, typed: list[str], words: list[str]) -> None:
    command = [sys.executable, "-c", f"{TELL} sys.argv[0] = {program!r}; former.{program}()", *typed]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)) == (7, words)
    assert done.stderr.startswith(f"`{program}")
    assert f"is now `mlops {words[0]} " in done.stderr
