"""Other programs, run and watched."""

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.errors import LabError

LAST_LINES = 12


class Commands:
    """Runs programs. A long one is a process group of its own, and an interrupted lab passes its SIGINT on to it."""

    def __init__(self) -> None:
        self._watched = set[subprocess.Popen[str]]()

    def answer(self, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        """Return what a short command writes to its standard output; LabError with its last lines when it fails."""
        try:
            done = subprocess.run(
                command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as missing:
            raise LabError(f"{command[0]} is not installed.") from missing
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-LAST_LINES:]
            raise LabError(f"`{' '.join(command)}` ended with {done.returncode}:\n" + "\n".join(said))
        return done.stdout

    def watch(
        self,
        command: Sequence[str],
        *,
        log: Path,
        line: Callable[[str], None] = lambda _: None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run a long command: each line goes to `log` and to `line`; LabError with the last lines when it fails."""
        log.parent.mkdir(parents=True, exist_ok=True)
        last = deque[str](maxlen=LAST_LINES)
        try:
            process = subprocess.Popen(
                command, env=env, text=True, errors="replace", bufsize=1, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except FileNotFoundError as missing:
            raise LabError(f"{command[0]} is not installed.") from missing
        with log.open("w", buffering=1) as file, process:
            self._watched.add(process)
            try:
                for text in process.stdout or ():
                    file.write(text)
                    last.append(text.rstrip())
                    line(text.rstrip())
                status = process.wait()
            except BaseException:
                _interrupt(process)
                raise
            finally:
                self._watched.discard(process)
        if status:
            raise LabError(f"It ended with {status}. The last lines (all of them are in {log}):\n" + "\n".join(last))

    def stop(self) -> None:
        """Interrupt every command that another thread watches."""
        for process in tuple(self._watched):
            _signal(process, signal.SIGINT)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Wait until an interrupted program has tidied up; a second Ctrl-C kills it."""
    _signal(process, signal.SIGINT)
    try:
        process.wait()
    except KeyboardInterrupt:
        _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
