"""What stands on make's command line."""

import os
import subprocess
from pathlib import Path

import pytest

from runs.values import of_make, pairs
from tests.runs.conftest import Command
from tests.runs.world import World, template


def words_of_make(folder: Path, *arguments: str) -> list[str]:
    """What a recipe finds out when the real make is called so."""
    (folder / "Makefile").write_text("train:\n\t@printenv MAKEFLAGS || true\n")
    # As from a shell, also where make runs the tests.
    shell = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    said = subprocess.run(
        ["make", *arguments, "train"], cwd=folder, env=shell, check=True, capture_output=True, text=True
    )
    return sorted(of_make(said.stdout.rstrip("\n")))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["NAME=churn", "N_ESTIMATORS=300"], ["NAME=churn", "N_ESTIMATORS=300"]),
        (["-k", "--no-print-directory", "TEXT=two words; 'and' more"], ["TEXT=two words; 'and' more"]),
        (["TEXT=a=b", "PRICE=5$$"], ["PRICE=5$", "TEXT=a=b"]),
        ([], []),
        (["-k"], []),
    ],
)
def test_they_are_found_as_they_were_written(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    assert words_of_make(tmp_path, *arguments) == words


def test_a_value_may_hold_anything() -> None:
    assert pairs(["URL=https://a/b?c=d", "EMPTY="]) == {"URL": "https://a/b?c=d", "EMPTY": ""}


def test_make_without_a_name_is_told_what_to_write(runs: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", " -- N_ESTIMATORS=3")
    code, said = runs("make-train")
    assert code == 2
    assert "write make train NAME=churn" in said


def test_make_passes_its_words_on(world: World, runs: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    world.scenes([template()])
    monkeypatch.setenv("MAKEFLAGS", "k -- DRY_RUN=1 N_ESTIMATORS=7 NAME=churn CONTEXT=mine")
    code, said = runs("make-train")
    assert code == 0
    assert '"n_estimators": 7' in said
    assert world.asked[0].startswith("--context mine ")
    assert os.environ["MAKEFLAGS"].startswith("k")


@pytest.mark.parametrize("target", ["promote", "rollback", "reproduce", "models", "validate", "follow", "runs"])
def test_a_value_of_make_is_never_part_of_a_script(target: str) -> None:
    names = ("MODEL", "VERSION", "STAGE", "WHY", "DATASET", "RUN", "NAME", "LAST", "CONTEXT")
    command = ["make", "--dry-run", target, *(f"{name}='; touch {name}" for name in names)]
    said = subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True).stdout
    assert "$" in said
    assert "touch " not in said.replace("touch .venv", "")
