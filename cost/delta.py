"""Difference between two estimates of a stack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import computed_field

from cost.estimate import Estimate
from cost.prices import Model

LEAST_USD = 0.005
"""Smallest difference in US dollars that is listed: half a cent."""


class Amounts(Model):
    """Amounts of one item before and after the update; zero if the item does not exist then."""

    kind: str
    name: str
    old_floor_usd: float
    new_floor_usd: float
    old_ceiling_usd: float
    new_ceiling_usd: float

    @property
    def floor_usd(self) -> float:
        """Difference of the amounts without load."""
        return self.new_floor_usd - self.old_floor_usd

    @property
    def ceiling_usd(self) -> float:
        """Difference of the highest amounts."""
        return self.new_ceiling_usd - self.old_ceiling_usd


class Delta(Model):
    """Difference between two estimates; None in `floor_usd` and `ceiling_usd` if `reason` says why there is none."""

    old: Estimate
    new: Estimate
    changes: Sequence[Amounts]
    """Monthly prices that change, the largest difference first."""
    runs: Sequence[Amounts]
    """Runs whose highest price changes; floor and ceiling of a run are equal."""
    reason: str | None

    @computed_field
    @property
    def floor_usd(self) -> float | None:
        """Difference of the monthly price without load; None if `reason` is set."""
        return None if self.reason else (self.new.floor_usd or 0) - (self.old.floor_usd or 0)

    @computed_field
    @property
    def ceiling_usd(self) -> float | None:
        """Difference of the highest monthly price; None if `reason` is set."""
        return None if self.reason else (self.new.ceiling_usd or 0) - (self.old.ceiling_usd or 0)


def compare(old: Estimate | None, new: Estimate) -> Delta:
    """Return the difference from `old` to `new`; `old` is None if the stack does not exist yet."""
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
    """Return floor and ceiling by kind and name; amounts of resources with the same kind and name are added up."""
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
