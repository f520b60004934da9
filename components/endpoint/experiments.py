"""Experiments of an endpoint, as the stack's state keeps them: a name is used for one pair of versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

KEPT = 100
"""Largest number of experiments in the record of an endpoint."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Experiment that an endpoint has run."""

    name: str
    """Name of the experiment."""
    champion: int
    """Number of the served version."""
    challenger: int
    """Number of the challenger's version."""


def appended(history: Sequence[Experiment], present: Experiment | None) -> list[dict[str, Any]]:
    """Return the last KEPT experiments with the present one at their end, as JSON values."""
    every = [*history, *([present] if present and present not in history else [])]
    return [asdict(one) for one in every[-KEPT:]]


def parsed(values: Sequence[Mapping[str, Any]]) -> tuple[Experiment, ...]:
    """Return the experiments in the state, whose numbers are floats."""
    return tuple(
        Experiment(name=str(one["name"]), champion=int(one["champion"]), challenger=int(one["challenger"]))
        for one in values
    )


def reuse(endpoint: str, present: Experiment, history: Sequence[Experiment]) -> str:
    """Return why the name of the experiment cannot be used, on one line; empty if it can."""
    for one in history:
        if one.name == present.name and one != present:
            return (
                f"mlops:endpoints.{endpoint}.challenger.experiment is {one.name}: must be a new name, because it was "
                f"used with the versions {one.champion} and {one.challenger}, whose results would mix with those of "
                f"{present.champion} and {present.challenger}; write another name, as in experiment: {one.name}-2"
            )
    return ""
