"""What a validation found out, and what follows from it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from training.fit.metrics import Estimate
from training.registry.stages import PASSED, REFUSED
from training.validation.comparison import Scores
from training.validation.limits import Limits


class Check(BaseModel):
    """One question and its answer. What is `noted` is for a reader and refuses nothing."""

    model_config = ConfigDict(frozen=True)

    name: str
    outcome: Literal["passed", "refused", "noted"]
    said: str


class Slice(BaseModel):
    """Some of the rows, told apart by a category."""

    model_config = ConfigDict(frozen=True)

    name: str
    scores: Scores
    judged: bool
    """It has enough rows for a limit to mean something."""


class Report(BaseModel):
    """The evidence: what was looked at, against which limits, and each finding."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: int
    champion: int | None
    """The champion at that moment, with which it was compared unless it is the champion itself."""
    champion_alias: int | None = None
    """The version that had the alias @champion at that moment."""
    at: datetime
    dataset: str
    dataset_digest: str
    limits: Limits
    checks: Sequence[Check]
    scores: Scores | None
    slices: Sequence[Slice]
    size_mb: float
    latency_ms: float | None
    """What 95 % of predictions of one row took at most."""

    @property
    def refusals(self) -> list[str]:
        """Why it is refused, a sentence each."""
        return [check.said for check in self.checks if check.outcome == "refused"]

    @property
    def status(self) -> str:
        """The value of the tag `validation_status`."""
        return REFUSED if self.refusals else PASSED

    @property
    def summary(self) -> str:
        """One line that says how it went, with the numbers."""
        title = f"{self.model} version {self.version}"
        if self.refusals:
            return f"{title} is refused: {'; '.join(self.refusals)}"
        return f"{title} passed {self.against}: {self.numbers}"

    @property
    def against(self) -> str:
        """What it was compared with, in words."""
        if self.champion is None:
            return "with no champion to compare it with"
        return "as the champion" if self.champion == self.version else f"against version {self.champion}"

    @property
    def numbers(self) -> str:
        """The compared metrics, and by how much they differ from the champion's."""
        if self.scores is None:
            return "nothing was measured"
        own, difference = self.scores.own, self.scores.difference
        return ", ".join(
            f"{name} {own[name]}" + (f", {signed(difference[name])}" if name in difference else "")
            for name in self.limits.compared
        )


def signed(difference: Estimate) -> str:
    """`+0.012 (-0.003 to +0.027)`."""
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
