"""Another process, whose lines are heard as they come."""

import subprocess
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent


@contextmanager
def listening(
    command: Sequence[str], listen: Callable[[Iterable[str]], None], *, told: str = ""
) -> Generator[subprocess.Popen[str]]:
    """The process runs in the repository's root, is told that on its stdin, and gets SIGTERM at the end of the block.

    `listen` gets its lines, in a thread; afterwards it has had the last of them, and `returncode` is known.
    """
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("Popen was asked for both")
        process.stdin.write(told)
        process.stdin.close()
        listener = threading.Thread(target=listen, args=(process.stdout,))
        listener.start()
        try:
            yield process
        finally:
            process.terminate()
            listener.join()
