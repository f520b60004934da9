"""Progress of a build: packages that are compiled, and the time that is left."""

import time
from dataclasses import dataclass, field

from images.board import Line
from lab.tools.build import Pending

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
    """Progress of one build, shown on a line of the board."""

    line: Line
    pending: Pending
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    def compiled(self, package: str) -> None:
        """Count one more package, and show how many are done and how long the rest takes."""
        self.done += 1
        left = clock(self.seconds_left(time.monotonic()))
        self.line.at(f"{self.done}/{self.pending.stale}, about {left} left: {package}")

    def seconds_left(self, now: float) -> float:
        """Estimate the remaining seconds; after a quarter of the packages, only from this machine's speed."""
        elapsed, share = now - self.began, min(1.0, self.done / max(1, self.pending.stale))
        trust = min(1.0, 4 * share)
        total = (1 - trust) * expected_seconds(self.pending) + (trust * elapsed / share if share else 0)
        return max(0.0, total - elapsed)
