"""Check of a budget: the one in the stack file, or another one."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field, ValidationError

from cost import retraining
from cost.estimate import Estimate
from cost.money import usd
from cost.plan import PlanError
from cost.prices import Model
from cost.resources import by_kind
from cost.retraining import Retraining

LARGEST = 3
"""Number of cost lines that the message about an exceeded budget names."""
Dollars = Annotated[float, Field(gt=0)]


class Budget(Model):
    """Limits in US dollars; None: no limit."""

    month_usd: Dollars | None = None
    """Limit for a month with every node pool at its maximum, without usage."""
    run_usd: Dollars | None = None
    """Limit for one run of a training, a validation or a batch until its deadline."""
    retraining: Sequence[Retraining] = ()
    """Retrainings with a budget of their own."""

    @property
    def has_limits(self) -> bool:
        """True if there is any limit."""
        return self.month_usd is not None or self.run_usd is not None or bool(self.retraining)


def of_document(document: object) -> Budget:
    """Return the budgets of the stack file that a preview was made with. An exported state has no budget.

    PlanError if the value of `mlops:budget` is not valid.
    """
    again = {"retraining": retraining.declared(document)}
    match document:
        case {"config": {"mlops:budget": str(text)}}:
            try:
                return Budget.model_validate_json(text).model_copy(update=again)
            except ValidationError as problems:
                first = problems.errors()[0]
                place = ".".join(["mlops:budget", *map(str, first["loc"])])
                raise PlanError(f"{place} is not valid ({first['msg']})") from None
        case _:
            return Budget().model_copy(update=again)


def check(estimate: Estimate, budget: Budget) -> str | None:
    """Return the error text, a paragraph for each limit that is exceeded or cannot be checked; None if all are kept."""
    return "\n".join(_problems(estimate, budget)) or None


def _problems(estimate: Estimate, budget: Budget) -> Iterator[str]:
    ceiling, floor = estimate.ceiling_usd, estimate.floor_usd
    if ceiling is None or floor is None:
        if budget.has_limits:
            yield (
                f"the budget cannot be checked, because nothing is estimated: {estimate.reason}; or remove the budget"
            )
        return
    if budget.month_usd is not None and ceiling > budget.month_usd:
        yield _month(estimate, budget.month_usd, floor, ceiling)
    over = [run for run in estimate.runs if budget.run_usd is not None and run.usd > budget.run_usd]
    for run in sorted(over, key=lambda each: -each.usd):
        yield (
            f"run_usd of the budget is {usd(budget.run_usd or 0)}, but one run of {run.name} may cost {usd(run.usd)}: "
            f"{run.nodes} {run.node} until its deadline of {run.hours:g} hours; "
            "shorten its deadline_minutes, request a smaller node, or raise run_usd"
        )
    yield from retraining.problems(estimate, budget.retraining)


def _month(estimate: Estimate, limit: float, floor: float, ceiling: float) -> str:
    largest = by_kind(estimate.lines)[:LARGEST]
    lines = [f"  {usd(line.ceiling_usd)}  {line.kind}{f': {line.note}' if line.note else ''}" for line in largest]
    said = (
        f"month_usd of the budget is {usd(limit)}, but a month may cost {usd(ceiling)} with every node pool at its "
        f"maximum ({usd(floor)} without load; both without usage). The {len(lines)} largest lines:"
    )
    way_out = "Lower one of them, as by max_cpus or gpu.max of a node pool, or raise month_usd."
    return "\n".join([said, *lines, way_out])
