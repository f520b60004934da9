"""Checks and their findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    """The check passed."""
    WARNING = "warning"
    """The stack works, but not as well as its file says."""
    PROBLEM = "problem"
    """An update, a pod or a client will fail."""
    UNCHECKED = "not checked"
    """The check could not be made. This says nothing about the stack."""
    DEFECT = "defect"
    """The check itself failed with an unexpected error."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of a check: a fact, its consequence, and how to change it."""

    level: Level
    """Severity."""
    what: str
    """Fact, without a period at the end."""
    why: str = ""
    """Consequence; empty if the level is OK."""
    mend: str = ""
    """Command, or change of the stack file, that removes the cause."""
    ends: bool = False
    """True if the checks that need this one are skipped, although it found no problem. Default: False."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question about a stack."""

    name: str
    """Name in the report."""
    run: Callable[[], Iterable[Finding]]
    """Function that makes the check; it only reads. UncheckedError if it cannot be made."""
    needs: str | None = None
    """Name of the check that must pass before this one is made."""


class UncheckedError(Exception):
    """A check cannot be made. The message is the reason; `mend` is what makes the check possible."""

    def __init__(self, reason: str, mend: str = "") -> None:
        super().__init__(reason)
        self.mend = mend


def ok(what: str, *, ends: bool = False) -> Finding:
    """Return a finding of a check that passed."""
    return Finding(level=Level.OK, what=what, ends=ends)


def warning(what: str, why: str, mend: str) -> Finding:
    """Return a finding of something that works worse than the stack file says."""
    return Finding(level=Level.WARNING, what=what, why=why, mend=mend)


def problem(what: str, why: str, mend: str) -> Finding:
    """Return a finding of something that makes an update, a pod or a client fail."""
    return Finding(level=Level.PROBLEM, what=what, why=why, mend=mend)


def unchecked(reason: str, mend: str = "", *, what: str = "could not be checked") -> Finding:
    """Return the finding of a check that could not be made."""
    return Finding(level=Level.UNCHECKED, what=what, why=reason, mend=mend)
