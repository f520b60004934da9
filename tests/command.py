"""Fixture that runs the command `mlops` in the test's process."""

from collections.abc import Callable

import pytest

from cli.main import run

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def mlops(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs a command line, and returns the exit code and the text of stdout, then stderr."""

    def command(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = run([*map(str, words)])
        output = capsys.readouterr()
        return code, output.out + output.err

    return command
