"""Exit codes of the `mlops` command and of this project's containers. This module needs only the standard library."""

from collections.abc import Mapping
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit code of a program; scripts and Jobs decide by it what to do next."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
    INTERRUPTED = 130


MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed; another try may succeed",
    ExitCode.BAD_INPUT: "the command, a value, a file or the data is wrong; another try fails in the same way",
    ExitCode.REFUSED: "refused by a rule: a validation, promotion, release, reproduction or preview did not pass, a "
    "stack has drifted or has a problem, or a budget is exceeded",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}
"""Explanation of each exit code, as `mlops --help` prints it."""


class UserError(Exception):
    """Error whose message is one line for the user; programs print it without a traceback and exit with `code`."""

    code = ExitCode.FAILED
    """Exit code of the program."""
