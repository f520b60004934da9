"""Result of a training run that fails."""

from dataclasses import dataclass

from contract.exit_codes import ExitCode


class StoppedError(Exception):
    """The process got a signal to end: from the job's deadline, an eviction, a deleted pod, or Ctrl-C."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Failure:
    """Exit code and message of a failed run."""

    code: ExitCode
    sentence: str
    """Last line of the log."""
    defect: bool = False
    """True if the error is a defect of this program; its traceback is logged."""
