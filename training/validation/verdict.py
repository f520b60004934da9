"""Report of a validation: its checks, its metrics and the result."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from contract.stages import PASSED, REFUSED
from contract.tasks import better
from training.fit.metrics import Estimate
from training.validation.comparison import Scores
from training.validation.limits import Limits


class Check(BaseModel):
    """Result of one check."""

    model_config = ConfigDict(frozen=True)

    name: str
    outcome: Literal["passed", "refused", "noted"]
    """`noted` is information for readers; it does not refuse the version."""
    said: str
    """Explanation of the outcome, with the measured value and the limit."""

    @classmethod
    def of(cls, name: str, faults: Sequence[str], said: str) -> Self:
        """Return a refused check that lists the faults, or a passed check that says `said` if there are none."""
        return cls(name=name, outcome="refused" if faults else "passed", said="; ".join(faults) or said)


class Slice(BaseModel):
    """Metrics of the rows with one value of a category."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Column and value, for example `contract is Yearly`."""
    scores: Scores
    judged: bool
    """True if the slice has enough rows to apply limits."""


class Report(BaseModel):
    """Report of one validation."""

    model_config = ConfigDict(frozen=True)

    model: str
    """Name of the registered model."""
    version: int
    """Number of the validated version."""
    champion: int | None
    """Number of the version compared with, which may be the validated version itself; None if there was no champion."""
    champion_alias: int | None = None
    """Version that had the alias @champion."""
    at: datetime
    """Time of the validation."""
    dataset: str
    """Address of the table."""
    dataset_digest: str
    """SHA-256 of the table's file."""
    model_digest: str
    """SHA-256 of the version's files (contract/digest.py)."""
    limits: Limits
    checks: Sequence[Check]
    scores: Scores | None
    """Metrics on all unseen rows; None if they could not be measured."""
    slices: Sequence[Slice]
    size_mb: float
    """Size of the version's files in MB (10^6 bytes)."""
    latency_ms: float | None
    """95th percentile of the latency for one row, in milliseconds; None if it could not be measured."""

    @property
    def refusals(self) -> list[str]:
        """Reasons why the version is refused; empty if it passed."""
        return [check.said for check in self.checks if check.outcome == "refused"]

    @property
    def status(self) -> str:
        """Value of the tag `validation_status`."""
        return REFUSED if self.refusals else PASSED

    @property
    def summary(self) -> str:
        """One line with the result and the metrics."""
        title = f"{self.model} version {self.version}"
        if self.refusals:
            return f"{title} is refused: {'; '.join(self.refusals)}"
        return f"{title} passed {self.against}: {self.numbers}"

    @property
    def against(self) -> str:
        """Phrase that says which champion the version was compared with."""
        if self.champion is None:
            return "without a champion to compare with"
        return "as the champion" if self.champion == self.version else f"against version {self.champion}"

    @property
    def numbers(self) -> str:
        """Text with the compared metrics and their differences from the champion's."""
        if self.scores is None:
            return "no metric was measured"
        own, difference = self.scores.own, self.scores.difference
        return ", ".join(
            f"{better(name, self.scores.smaller)} {own[name]}"
            + (f", {changed(self.scores, name)}" if name in difference else "")
            for name in self.limits.compared
        )


def changed(scores: Scores, name: str) -> str:
    """Format the change of a metric against the other model: one that is better when smaller falls when it improves."""
    difference = scores.difference[name]
    if name not in scores.smaller:
        return signed(difference)
    return signed(Estimate(value=-difference.value, low=-difference.high, high=-difference.low))


def signed(difference: Estimate) -> str:
    """Format a difference with its interval, for example `+0.012 (-0.003 to +0.027)`."""
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
