"""Runs another process and reads its output line by line."""

import subprocess
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent


@contextmanager
def listening(
    command: Sequence[str], listen: Callable[[Iterable[str]], None], *, stdin: str = ""
) -> Generator[subprocess.Popen[str]]:
    """Run the command in the repository's root with `told` on its stdin; send it SIGTERM at the end of the block.

    `listen` gets its lines in a thread. After the block it has received the last line, and `returncode` is set.
    """
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("Popen returned no pipes")
        process.stdin.write(stdin)
        process.stdin.close()
        listener = threading.Thread(target=listen, args=(process.stdout,))
        listener.start()
        try:
            yield process
        finally:
            process.terminate()
            listener.join()
