"""Progress of a command's work, one line for each piece: live on a terminal, plain lines in a log."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

Say = Callable[[str], None]


PLAIN_INTERVAL = 30.0
"""Seconds between two lines about the same piece of work in a log."""


@dataclass
class Line:
    """One piece of work. `result` is shown when the work is done."""

    live: Progress
    task: TaskID
    result: str = ""
    printed: float = field(default_factory=time.monotonic)
    """Time of the last line in a log, in seconds of the monotonic clock."""

    def at(self, what: str) -> None:
        """Show the current step of the work: at once on a terminal, and at most every 30 seconds in a log."""
        self.live.update(self.task, at=escape(what))
        if self.live.disable and time.monotonic() - self.printed > PLAIN_INTERVAL:
            self.printed = time.monotonic()
            description = next(task.description for task in self.live.tasks if task.id == self.task)
            self.live.console.print(f"{description}: {escape(what)}", highlight=False, soft_wrap=True)


class Board:
    """Lines of work, each with a spinner, its current step and the time it has taken; several may be open at once."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.Lock()
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[at]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=console,
            transient=True,
            expand=True,
            disable=not console.is_terminal,
        )

    @contextmanager
    def line(self, what: str) -> Generator[Line]:
        """Show the start of a piece of work, its current step, and at the end its result and duration."""
        began, mark = time.monotonic(), "[red]✗[/red]"
        if not self.console.is_terminal:
            self.console.print(escape(f"{what} ..."), highlight=False)
        with self._lock:
            self._live.start()
            line = Line(self._live, self._live.add_task(escape(what), total=None, at=""))
        try:
            yield line
            mark = "[green]✓[/green]"
        finally:
            with self._lock:
                self._live.remove_task(line.task)
                if not self._live.tasks:
                    self._live.stop()
            text = ", ".join(filter(None, [duration(time.monotonic() - began), escape(line.result)]))
            self.console.print(f"{mark} {escape(what)}  [dim]{text}[/dim]", highlight=False)


def duration(seconds: float) -> str:
    """Return a duration as `4.2 s`, `58 s` or `3 min 04 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
