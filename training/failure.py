"""How a run ends that registers nothing."""

from dataclasses import dataclass

from contract.exit_codes import ExitCode


class StoppedError(Exception):
    """The process was told to end: the job's deadline, an eviction, a deleted pod, or Ctrl-C."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Failure:
    """The exit code, and the last line."""

    code: ExitCode
    sentence: str
    defect: bool = False
    """It is our fault: the traceback is worth reading."""
