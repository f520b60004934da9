"""Standard output of a command whose reader may leave, as `head` does: the command goes on to its own end and code."""

import os
import sys
from typing import TextIO, cast


class _Output:
    """Passes everything on to a stream, and drops it once nobody reads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, if there is a reader."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """Flush the stream, if there is a reader."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def outlive_the_reader() -> None:
    """Let this process write to its standard output whether or not somebody reads it."""
    if not isinstance(sys.stdout, _Output):
        sys.stdout = cast("TextIO", _Output(sys.stdout))
