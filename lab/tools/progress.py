"""What a person sees while tools are built: a live display on a terminal, plain lines elsewhere."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from typing_extensions import override

from lab.tools.build import Pending

PLAIN_INTERVAL = 15.0


class Watch(Protocol):
    """Hears what is being built."""

    def begin(self, pending: Pending) -> None:
        """The next module's turn has come."""
        ...

    def compiled(self, package: str) -> None:
        """One more of its packages is compiled."""
        ...

    def end(self) -> None:
        """The module is built."""
        ...


def seconds(value: float) -> str:
    """`75` -> `1:15`."""
    return f"{int(value) // 60}:{int(value) % 60:02d}"


@dataclass
class Estimate:
    """Seconds left for all that is to be built: measured pace where there is one, else the catalog's."""

    queue: list[Pending]
    clock: float = field(default_factory=time.monotonic)
    done: int = 0

    def compiled(self) -> None:
        """One more package of the first module in the queue is done."""
        self.done += 1

    def left(self, now: float) -> float:
        """Seconds until the whole queue is built."""
        expected, elapsed = self.queue[0].seconds, now - self.clock
        share = min(1.0, self.done / max(1, self.queue[0].stale))
        # The catalog's figures are of another machine. After a quarter, the pace seen here is all that counts.
        trust = min(1.0, 4 * share)
        total = (1 - trust) * expected + (trust * elapsed / share if share else 0)
        rest = sum(pending.seconds for pending in self.queue[1:])
        return max(0.0, total - elapsed) + rest * total / expected

    def next(self) -> None:
        """The first module in the queue is built."""
        self.queue.pop(0)
        self.clock, self.done = time.monotonic(), 0


class Live(Watch):
    """One line per module: what, packages done of how many, elapsed; and the estimate for all."""

    def __init__(self, progress: Progress, queue: list[Pending]) -> None:
        self.progress, self.estimate = progress, Estimate(list(queue))
        self.task: TaskID | None = None

    @override
    def begin(self, pending: Pending) -> None:
        self.task = self.progress.add_task(pending.module.name, total=pending.stale, package="", left="")

    @override
    def compiled(self, package: str) -> None:
        self.estimate.compiled()
        if self.task is not None:
            left = f"about {seconds(self.estimate.left(time.monotonic()))} left in all"
            self.progress.update(self.task, advance=1, package=package[-48:], left=left)

    @override
    def end(self) -> None:
        self.estimate.next()
        if self.task is not None:
            total = self.progress.tasks[self.task].total
            self.progress.update(self.task, completed=total, package="", left="built")
            self.progress.stop_task(self.task)


class Plain(Watch):
    """A line when a module begins and ends, and one every 15 s between."""

    def __init__(self, console: Console, queue: list[Pending]) -> None:
        self.console, self.estimate = console, Estimate(list(queue))
        self.said = 0.0

    @override
    def begin(self, pending: Pending) -> None:
        self._say(f"building {pending.module.name}: {pending.stale} of {pending.packages} packages to compile")

    @override
    def compiled(self, package: str) -> None:
        self.estimate.compiled()
        if time.monotonic() - self.said > PLAIN_INTERVAL:
            now, pending = time.monotonic(), self.estimate.queue[0]
            self._say(
                f"building {pending.module.name}: {self.estimate.done}/{pending.stale} {package}, "
                f"{seconds(now - self.estimate.clock)} so far, about {seconds(self.estimate.left(now))} left in all"
            )

    @override
    def end(self) -> None:
        self._say(f"built {self.estimate.queue[0].module.name} in {seconds(time.monotonic() - self.estimate.clock)}")
        self.estimate.next()

    def _say(self, line: str) -> None:
        self.said = time.monotonic()
        self.console.print(line, highlight=False, soft_wrap=True)


@contextmanager
def watching(console: Console, queue: list[Pending]) -> Generator[Watch]:
    """The display that fits the console, for as long as the block runs."""
    if not console.is_terminal:
        yield Plain(console, queue)
        return
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description:14}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]} [dim]{task.fields[package]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Live(progress, queue)
