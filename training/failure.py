"""How a run ends that registers nothing."""

from dataclasses import dataclass

BAD_INPUT = 2


class StoppedError(Exception):
    """The process was told to end: the job's deadline, an eviction, a deleted pod."""


@dataclass(frozen=True)
class Failure:
    """The exit code, and the last line."""

    code: int
    sentence: str
    defect: bool = False
    """It is our fault: the traceback is worth reading."""
