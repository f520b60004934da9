"""Sentences of a report that its views share."""

from change_report.engine import Violation
from change_report.report import Base, Cost, Report
from change_report.steps import Change, Infrastructure, Op
from change_report.values import Field
from cost.delta import Amounts
from cost.money import signed, usd
from cost.views import NOTHING, summary

FIELDS_SHOWN = 8
"""Largest number of fields of one resource that a person sees; JSON has all."""
LARGEST = 3
"""Number of changed prices that are listed."""


def stack_file_line(base: Base) -> str:
    """Return how many keys of the stack file change."""
    return f"Stack file: {len(base.keys)} changed key{'s' if len(base.keys) != 1 else ''} against {base.ref}"


def infrastructure_line(found: Infrastructure) -> str:
    """Return how many resources change in each way, and how many values are not known yet."""
    told = [f"{count} {op.done}" for op, count in found.counts.items()] or ["nothing changes"]
    values = "1 value is" if found.unknown == 1 else f"{found.unknown} values are"
    later = f"; {values} known only after the update" if found.unknown else ""
    return f"Infrastructure: {', '.join(told)}, {found.same} unchanged{later}"


def loss(change: Change) -> str:
    """Return what an update deletes together with a resource that holds data."""
    told = "deletes" if change.op is Op.DELETE else "replaces"
    because = f" because of {', '.join(change.because)}" if change.because else ""
    return f"{told} {change.title}{because}: this {change.store} holds data, which is deleted with it"


def cost_lines(cost: Cost, stack: str) -> list[str]:
    """Return the change of the price in one line, and then the largest changed prices."""
    delta = cost.delta
    if delta is None or delta.reason:
        return [f"{NOTHING}: {cost.unknown or (delta.reason if delta else '')}"]
    lines = [
        f"{_item(each)}: {signed(each.floor_usd)} without load, {signed(each.ceiling_usd)} at most"
        for each in delta.changes[:LARGEST]
    ]
    lines += [
        f"one run of {each.name}: {usd(each.old_ceiling_usd)} to {usd(each.new_ceiling_usd)}"
        for each in delta.runs[:LARGEST]
    ]
    more = max(0, len(delta.changes) - LARGEST) + max(0, len(delta.runs) - LARGEST)
    if more:
        lines.append(f"{more} smaller changes: mlops cost --stack {stack} --delta")
    return [summary(delta), *lines]


def _item(amounts: Amounts) -> str:
    return amounts.kind if amounts.kind.endswith(amounts.name) else f"{amounts.kind} {amounts.name}"


def budget_lines(cost: Cost) -> list[str]:
    """Return what the check of the budget found."""
    if cost.problem:
        return [cost.problem]
    if not cost.budget.has_limits:
        return ["The stack file sets no budget."]
    if cost.delta is None:
        return ["The budget was not checked."]
    limits = [
        ("a month", cost.budget.month_usd),
        ("a run", cost.budget.run_usd),
        *((f"the retrainings of {one.endpoint} in a month", one.budget_usd) for one in cost.budget.retraining),
    ]
    return [f"The budget is kept: {', '.join(f'{usd(limit)} for {what}' for what, limit in limits if limit)}."]


def policy_line(report: Report) -> str:
    """Return which policy packs ran and how many violations they found."""
    mandatory = sum(each.mandatory for each in report.violations)
    advice = len(report.violations) - mandatory
    told = [f"{mandatory} violation{'s' if mandatory != 1 else ''}"]
    told += [f"{advice} advisory" if advice else ""]
    return f"Policies of {', '.join(report.packs) or 'the organization'}: {', '.join(filter(None, told))}"


def field_line(field: Field) -> str:
    """Return what happens to a field, without its path."""
    if field.old is None:
        return f"added, {field.new}"
    if field.new is None:
        return f"removed, was {field.old}"
    return f"changed, {field.new}" if field.old == field.new else f"{field.old} → {field.new}"


def violation(found: Violation) -> str:
    """Return the violation as one line."""
    return f"{found.policy}: {f'{found.resource}: ' if found.resource else ''}{found.sentence}"
