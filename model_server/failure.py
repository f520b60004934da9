"""How a container of this room ends when it cannot do its work: one sentence, where people look for it."""

import contextlib
import logging
from collections.abc import Generator
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
    _write(termination_log, str(error))
    return 2 if error.final else 1


def fault_of(error: BaseException) -> str:
    """The innermost reason: `Connection refused`, not what five layers made of it."""
    while inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = inner
    return " ".join(str(error).split())[:300]


@contextlib.contextmanager
def unexplained(title: str, termination_log: Path) -> Generator[None]:
    """Inside, the termination message is what a process that dies without a word cannot say any more.

    Afterwards it is empty, and Kubernetes takes the end of the log.
    """
    _write(
        termination_log,
        f"{title}: the process died without a word. Exit code 139, 134 or 136: native code of the model crashed, the "
        "log says where after 'Fatal Python error'; serve another version. 137: it was killed, most often because its "
        "memory was full; give it more.",
    )
    try:
        yield
    finally:
        _write(termination_log, "")


def _write(termination_log: Path, said: str) -> None:
    # The kubelet makes the file; where it is missing, nobody reads it.
    if termination_log.exists():
        with contextlib.suppress(OSError):
            termination_log.write_text(said)
