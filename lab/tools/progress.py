"""Progress of a build: a bar on a terminal, plain lines elsewhere."""

import time
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lab.tools.build import Pending

PLAIN_INTERVAL = 15.0
"""Seconds between two lines without a terminal."""
SECONDS_PER_PACKAGE = 0.23
"""Seconds to compile one package on 2 cores, from a build with empty caches (`lab tools`, docs/benchmarks.md)."""
LINK_SECONDS = 12
"""Seconds to link the programs of one build."""


def clock(seconds: float) -> str:
    """Format seconds: `75` -> `1:15`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def expected_seconds(pending: Pending) -> float:
    """Estimate how long the builds take on 2 cores."""
    return pending.stale * SECONDS_PER_PACKAGE + len(pending.builds) * LINK_SECONDS


@dataclass
class Compilation:
    """Progress of one build, shown while the `with` block runs."""

    console: Console
    pending: Pending
    done: int = 0
    began: float = field(default_factory=time.monotonic)
    printed: float = 0.0

    def __post_init__(self) -> None:
        """Create the bar, which is shown only on a terminal."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]} [dim]{task.fields[package]}"),
        )
        self.bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal, transient=True)
        self.task = self.bar.add_task("building tools", total=self.pending.stale, package="", left="")

    def __enter__(self) -> Self:
        """Show the bar, and print what is built."""
        self.bar.start()
        pending = self.pending
        self._print(f"building {pending.names}: {pending.stale} of {pending.packages} packages to compile")
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        """Remove the bar, and print how long the build took."""
        self.bar.stop()
        if failure is None:
            self._print(f"built {self.pending.names} in {clock(time.monotonic() - self.began)}")

    def compiled(self, package: str) -> None:
        """Count one more package."""
        self.done += 1
        left = f"about {clock(self.seconds_left(time.monotonic()))} left"
        self.bar.update(self.task, completed=self.done, package=package[-48:], left=left)
        if not self.console.is_terminal and time.monotonic() - self.printed > PLAIN_INTERVAL:
            elapsed = clock(time.monotonic() - self.began)
            self._print(f"building: {self.done}/{self.pending.stale} {package}, {elapsed} so far, {left}")

    def seconds_left(self, now: float) -> float:
        """Estimate the remaining seconds; after a quarter of the packages, only from this machine's speed."""
        elapsed, share = now - self.began, min(1.0, self.done / max(1, self.pending.stale))
        trust = min(1.0, 4 * share)
        total = (1 - trust) * expected_seconds(self.pending) + (trust * elapsed / share if share else 0)
        return max(0.0, total - elapsed)

    def _print(self, line: str) -> None:
        self.printed = time.monotonic()
        self.console.print(line, highlight=False, soft_wrap=True)
