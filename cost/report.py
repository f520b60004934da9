"""Estimates and differences from the JSON that Pulumi prints, for other modules such as `mlops cost`."""

from __future__ import annotations

from datetime import UTC, date, datetime

from cost.delta import Delta, compare
from cost.estimate import Estimate, estimate
from cost.plan import Side, parse
from cost.prices import Prices, load


def of_document(
    document: object, *, side: Side = "new", prices: Prices | None = None, today: date | None = None
) -> Estimate:
    """Return the estimate for a parsed `pulumi preview --json --show-sames` or `pulumi stack export`.

    `prices` replaces the table of the stack's own region. PlanError if the document is neither.
    """
    plan = parse(document, side)
    table = prices or (load(plan.region) if plan.region else None)
    return estimate(plan, table, today=today or datetime.now(UTC).date())


def delta_of_document(
    document: object, base: object | None = None, *, prices: Prices | None = None, today: date | None = None
) -> Delta:
    """Return the difference from `base`, a plan or state, or else from what is deployed now.

    PlanError if a document is neither a preview nor an exported state.
    """
    new = of_document(document, prices=prices, today=today)
    if base is not None:
        return compare(of_document(base, prices=prices, today=today), new)
    deployed = parse(document, "old")
    old = of_document(document, side="old", prices=prices, today=today) if deployed.resources else None
    return compare(old, new)
