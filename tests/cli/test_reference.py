"""The reference of the command line in docs/command-line.md."""

import re
from pathlib import Path

import pytest

from cli import reference

PAGE = reference.PAGE.read_text()


def section(heading: str) -> str:
    return PAGE.partition(f"\n## `{heading}`\n")[2].partition("\n## ")[0]


def test_the_page_in_the_repository_is_that_of_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_page_is_an_error_and_its_prose_survives_the_next_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "command-line.md"
    page.write_text(f"above\n{reference.START}stale\n{reference.END}below\n")
    monkeypatch.setattr(reference, "PAGE", page)
    assert reference.main(["--check"]) == 1
    assert "run make schema" in capsys.readouterr().err
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    text = page.read_text()
    assert "stale" not in text
    assert (text.splitlines()[0], text.splitlines()[-1]) == ("above", "below")


def test_every_command_in_the_table_has_a_section() -> None:
    listed = re.findall(r"^\| \[`(.*?)`\]", PAGE, re.MULTILINE)
    assert {"mlops train", "mlops infra-diff", "mlops lab up", "mlops lab drift"} <= set(listed)
    assert re.findall(r"^## `(.*)`$", PAGE, re.MULTILINE) == listed


def test_a_section_has_usage_arguments_options_defaults_and_examples() -> None:
    text = section("mlops promote")
    assert "mlops promote [OPTIONS] {MODEL} {VERSION} {STAGE}" in text
    assert "| `STAGE <none\\|staging\\|production\\|archived>` | Stage to move to. | required |" in text
    assert (
        "| `--by NAME` | Name of the person who makes the change, for the registry. | the user of this machine |"
        in text
    )
    assert "$ mlops promote churn-predictor 4 production --dry-run" in text
    assert "| `--in-flight NUMBER` | Largest number of requests at a time. `1<=x<=64` | 4 |" in section("mlops predict")
