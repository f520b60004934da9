"""How a container of this room ends when it cannot do its work: one sentence, where people look for it."""

import contextlib
import logging
from pathlib import Path

LOG = logging.getLogger("serving")


class ServingError(Exception):
    """The process cannot go on. The message is a sentence for the user."""

    def __init__(self, sentence: str, *, final: bool = False) -> None:
        super().__init__(sentence)
        self.final = final


def leave(error: ServingError, termination_log: Path) -> int:
    """The sentence is in the log and in the container's termination message.

    Returns:
        The exit code: 2 when another start would end the same way, else 1.
    """
    LOG.error("%s", error)
    # The kubelet makes the file; where it is missing, nobody reads it.
    if termination_log.exists():
        with contextlib.suppress(OSError):
            termination_log.write_text(str(error))
    return 2 if error.final else 1
