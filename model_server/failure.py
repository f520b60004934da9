"""Exit codes and termination messages of the model server's containers."""

import contextlib
import logging
from collections.abc import Generator
from pathlib import Path

LOG = logging.getLogger("serving")


class ServingError(Exception):
    """The process cannot continue. The message is a sentence for the user; `final` means that a restart cannot help."""

    def __init__(self, sentence: str, *, final: bool = False) -> None:
        super().__init__(sentence)
        self.final = final


def report_failure(error: ServingError, termination_log: Path) -> int:
    """Write the error to the log and to the container's termination message.

    Returns:
        The exit code: 2 when a restart would fail in the same way, else 1.
    """
    LOG.error("%s", error)
    _write(termination_log, str(error))
    return 2 if error.final else 1


def root_cause(error: BaseException) -> str:
    """Return the message of the innermost exception, for example `Connection refused`."""
    while inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = inner
    return " ".join(str(error).split())[:300]


@contextlib.contextmanager
def crash_message(title: str, termination_log: Path) -> Generator[None]:
    """Keep a termination message for a crash while the block runs; it explains the exit codes of a killed process.

    The message is empty afterwards, so that Kubernetes shows the end of the log.
    """
    _write(
        termination_log,
        f"{title}: the process died without a message. Exit code 139, 134 or 136: native code in the model crashed; "
        "the log shows where, after 'Fatal Python error'; serve another version. 137: the process was killed, most "
        "often because it exceeded its memory limit; raise the limit.",
    )
    try:
        yield
    finally:
        _write(termination_log, "")


def _write(termination_log: Path, text: str) -> None:
    # The kubelet creates the file. Without it, nothing would read the message.
    if termination_log.exists():
        with contextlib.suppress(OSError):
            termination_log.write_text(text)
