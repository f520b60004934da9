"""Difference between two estimates of a stack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import computed_field

from cost.estimate import Estimate
from cost.prices import Model

LEAST_USD = 0.005
"""Differences below half a cent are none."""


class Amounts(Model):
    """An amount before and after the update; zero where the thing does not exist."""

    kind: str
    name: str
    old_floor_usd: float
    new_floor_usd: float
    old_ceiling_usd: float
    new_ceiling_usd: float

    @property
    def floor_usd(self) -> float:
        """Difference without load."""
        return self.new_floor_usd - self.old_floor_usd

    @property
    def ceiling_usd(self) -> float:
        """Difference at most."""
        return self.new_ceiling_usd - self.old_ceiling_usd


class Delta(Model):
    """The difference between two estimates; `reason` says why there is none."""

    old: Estimate
    new: Estimate
    changes: Sequence[Amounts]
    """Lines of a month that change, the largest difference first."""
    runs: Sequence[Amounts]
    """Runs whose highest price changes: floor and ceiling are the same."""
    reason: str | None

    @computed_field
    @property
    def floor_usd(self) -> float | None:
        """Difference of a month without load."""
        return None if self.reason else (self.new.floor_usd or 0) - (self.old.floor_usd or 0)

    @computed_field
    @property
    def ceiling_usd(self) -> float | None:
        """Difference of a month at most."""
        return None if self.reason else (self.new.ceiling_usd or 0) - (self.old.ceiling_usd or 0)


def compare(old: Estimate | None, new: Estimate) -> Delta:
    """The difference from `old` to `new`; None is a stack that does not exist yet."""
    before = old or new.model_copy(update={"lines": (), "runs": (), "endpoints": (), "usage": (), "not_estimated": ()})
    if reason := before.reason or new.reason:
        return Delta(old=before, new=new, changes=(), runs=(), reason=reason)
    months = (
        _summed((line.kind, line.name, line.floor_usd, line.ceiling_usd) for line in e.lines) for e in (before, new)
    )
    runs = (_summed(("run", run.name, run.usd, run.usd) for run in each.runs) for each in (before, new))
    return Delta(old=before, new=new, changes=_changes(*months), runs=_changes(*runs), reason=None)


Named = Mapping[tuple[str, str], tuple[float, float]]


def _summed(amounts: Iterable[tuple[str, str, float, float]]) -> Named:
    """Floor and ceiling by kind and name; resources of one kind and name under different parents are added up."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for kind, name, floor, ceiling in amounts:
        before = found.get((kind, name), (0.0, 0.0))
        found[kind, name] = (before[0] + floor, before[1] + ceiling)
    return found


def _changes(old: Named, new: Named) -> list[Amounts]:
    found = [
        Amounts(
            kind=kind,
            name=name,
            old_floor_usd=before[0],
            new_floor_usd=after[0],
            old_ceiling_usd=before[1],
            new_ceiling_usd=after[1],
        )
        for kind, name in {**old, **new}
        for before, after in [(old.get((kind, name), (0.0, 0.0)), new.get((kind, name), (0.0, 0.0)))]
    ]
    changed = [each for each in found if max(abs(each.floor_usd), abs(each.ceiling_usd)) >= LEAST_USD]
    return sorted(changed, key=lambda each: (-abs(each.ceiling_usd), each.kind, each.name))
