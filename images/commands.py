"""Programs that a command runs, with their output and errors."""

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from images.errors import ProgramError

LAST_LINES = 12
"""Number of output lines that an error message shows."""


def output(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: str = ""
) -> str:
    """Return the standard output of a short command. ProgramError with its last lines if it fails."""
    try:
        done = subprocess.run(command, env=env, cwd=cwd, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise ProgramError(f"{command[0]} is not installed, and this command needs it; install it.") from missing
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()[-LAST_LINES:]
        raise ProgramError(f"`{' '.join(command)}` failed with exit code {done.returncode}:\n" + "\n".join(lines))
    return done.stdout


class Commands:
    """Runs programs. A long one has its own process group, and gets SIGINT when the command is interrupted."""

    def __init__(self) -> None:
        self._watched = set[subprocess.Popen[str]]()

    def output(self, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        """Return the standard output of a short command. ProgramError with its last lines if it fails."""
        return output(command, env=env, cwd=cwd)

    def watch(
        self,
        command: Sequence[str],
        *,
        log: Path,
        line: Callable[[str], None] = lambda _: None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run a long command; each line goes to `log` and to `line`. ProgramError with the last lines if it fails."""
        log.parent.mkdir(parents=True, exist_ok=True)
        last = deque[str](maxlen=LAST_LINES)
        try:
            process = subprocess.Popen(
                command, env=env, text=True, errors="replace", bufsize=1, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except FileNotFoundError as missing:
            raise ProgramError(f"{command[0]} is not installed, and this command needs it; install it.") from missing
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
            raise ProgramError(
                f"The command failed with exit code {status}. Its last lines (all lines are in {log}):\n"
                + "\n".join(last)
            )

    def stop(self) -> None:
        """Interrupt every command that another thread watches."""
        for process in tuple(self._watched):
            _signal(process, signal.SIGINT)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Interrupt a program and wait for its end; a second Ctrl-C kills it."""
    _signal(process, signal.SIGINT)
    try:
        process.wait()
    except KeyboardInterrupt:
        _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
