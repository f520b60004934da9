"""Fixture that runs the command `mlops` in the test's process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import run

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def mlops(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Return a function that runs a command line, and returns the exit code and the text of stdout, then stderr.

    The command sees a machine without a lab, so that a lab which runs on this machine changes no result.
    """
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "no-lab"))

    def command(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = run([*map(str, words)])
        output = capsys.readouterr()
        return code, output.out + output.err

    return command
