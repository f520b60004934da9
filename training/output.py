"""Standard output that may be closed by its reader, for example `head`, without ending the command."""

import os
import sys
from typing import TextIO, cast


class _Output:
    """Stream that discards its output once the reader has closed the pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text; discard it if there is no reader."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """Flush the stream; do nothing if there is no reader."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def outlive_the_reader() -> None:
    """Make this process go on when the reader of its standard output closes the pipe."""
    if not isinstance(sys.stdout, _Output):
        sys.stdout = cast("TextIO", _Output(sys.stdout))
