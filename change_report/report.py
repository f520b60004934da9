"""Report of a change to one stack, and the decision whether it passes."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import computed_field

from change_report import engine, steps
from change_report.engine import Violation
from change_report.steps import Infrastructure
from change_report.values import Field
from cost import budget as budgets
from cost.budget import Budget
from cost.delta import Delta
from cost.money import signed
from model_preview.facts import Change, Frozen, Reference
from model_preview.preview import Preview
from model_preview.redact import plain
from model_preview.verdict import Kind
from runs.drift import Object

_LISTING = re.compile(r" The \d+ largest lines:$")


class Outcome(StrEnum):
    """Decision about the whole change."""

    PASSES = "passes"
    REFUSED = "refused"
    UNVERIFIED = "unverified"
    """The preview failed, or MLflow did not respond and the stack is protected."""


@dataclass(frozen=True, kw_only=True)
class EngineResult:
    """Result of one `pulumi preview --json`."""

    document: Object
    """Parsed output; empty if the engine printed none."""
    failed: bool
    said: str = ""
    """Text on stderr."""
    events: Sequence[Object] = field(default_factory=list[Object])
    """Events of the engine, which have the results of policies."""
    warnings: Sequence[str] = ()
    """Further warnings, such as why no policies were checked."""


class Base(Frozen):
    """Stack file in the base of a pull request, compared with the one in the working tree."""

    ref: str
    keys: tuple[Field, ...]
    """Keys whose values differ; a key that only one file has stands with its whole value."""
    releases: Mapping[str, Change] = {}
    """Changes of versions between the two files, by name of the endpoint, challenger, shadow or batch."""


class Cost(Frozen):
    """Change of the stack's price."""

    delta: Delta | None
    """Difference to what is deployed now; None if there is no estimate."""
    unknown: str = ""
    """Reason why there is no estimate; empty if there is one."""
    budget: Budget = Budget()

    @computed_field
    @property
    def problem(self) -> str:
        """Text about a limit that is exceeded or cannot be checked; empty if the budget is kept."""
        return budgets.check(self.delta.new, self.budget) or "" if self.delta else ""


class Report(Frozen):
    """All that a reviewer of a change sees, and the decision."""

    stack: str
    outcome: Outcome
    line: str
    """Decision on one line, with the most important reason."""
    refusals: tuple[str, ...] = ()
    """Reasons against the change, one line each; the first ones are in `line`."""
    previews: tuple[Preview, ...] = ()
    """Previews of the endpoints whose model or version changes; those that fail come first."""
    base: Base | None = None
    """Comparison with the base; None if no base was named."""
    notes: tuple[str, ...] = ()
    """Differences between what the diff releases and what the preview releases."""
    infrastructure: Infrastructure | None = None
    """Changes of resources; None if the engine did not run."""
    cost: Cost | None = None
    """Change of the price; None if the engine did not run or failed."""
    packs: tuple[str, ...] = ()
    """Names of the policy packs that ran."""
    violations: tuple[Violation, ...] = ()
    errors: tuple[str, ...] = ()
    """Errors of the engine and the program."""
    warnings: tuple[str, ...] = ()
    """Warnings of the engine and the program."""

    @property
    def warning_count(self) -> int:
        """Number of warnings from all sources."""
        reasons = sum(not one.fails for each in self.previews for one in each.verdict.reasons)
        return reasons + sum(not each.mandatory for each in self.violations) + len(self.warnings) + len(self.notes)


def make(
    stack: str,
    previews: Iterable[Preview],
    *,
    result: EngineResult | None = None,
    cost: Cost | None = None,
    base: Base | None = None,
) -> Report:
    """Return the report.

    Args:
        stack: name of the stack.
        previews: previews of the endpoints that change.
        result: output of the engine; None if it did not run, for a report about models only.
        cost: change of the price; None without a complete preview.
        base: comparison with the base of the pull request; None without a base.
    """
    ordered = sorted(previews, key=lambda each: (not each.verdict.fails, each.change.endpoint))
    seen = result or EngineResult(document={}, failed=False)
    broken = engine.violations(seen.events)
    said = engine.messages(seen.document)
    errors = said.errors
    if seen.failed and not errors and not any(each.mandatory for each in broken):
        errors = (_last_words(seen.said),)
    unfinished = bool(seen.failed and errors)
    found = Report(
        stack=stack,
        outcome=Outcome.PASSES,
        line="",
        previews=tuple(ordered),
        base=base,
        notes=tuple(_notes(base.releases, ordered, seen.document)) if base and result and not unfinished else (),
        infrastructure=steps.infrastructure(seen.document) if result else None,
        cost=cost,
        packs=engine.packs(seen.events),
        violations=broken,
        errors=errors,
        warnings=(*said.warnings, *seen.warnings),
    )
    refusals = tuple(_refusals(found))
    doubts = [each.verdict.line for each in ordered if each.verdict.fails and each.verdict.kind is Kind.UNVERIFIED]
    if not unfinished:
        doubts += _unjudged(seen.document, ordered)
    if unfinished:
        outcome, line = Outcome.UNVERIFIED, f"could not be previewed: {errors[0].splitlines()[0]}"
        refusals = (*errors, *refusals)
    elif refusals:
        outcome, line = Outcome.REFUSED, f"is refused: {_first(refusals)}"
    elif doubts:
        outcome, line = Outcome.UNVERIFIED, f"could not be verified: {_first(doubts)}"
        refusals = tuple(doubts)
    else:
        outcome, line = Outcome.PASSES, f"passes{_with_warnings(found.warning_count)}: {_summary(found)}"
    return found.model_copy(update={"outcome": outcome, "line": plain(f"{stack} {line}"), "refusals": refusals})


def served(change: Change) -> tuple[str, str]:
    """Return the old and the new version in words; the model's name stands there if it is not the endpoint's."""
    return _served(change.old, change.endpoint), _served(change.new, change.endpoint)


def _served(one: Reference | None, endpoint: str) -> str:
    if one is None:
        return "nothing"
    return f"version {one.version}" if one.model == endpoint else f"{one.model} version {one.version}"


def _refusals(found: Report) -> Iterator[str]:
    for each in found.previews:
        if each.verdict.fails and each.verdict.kind is not Kind.UNVERIFIED:
            yield each.verdict.line
    if found.cost and found.cost.problem:
        lines = found.cost.problem.splitlines()
        yield from (_LISTING.sub("", line) for line in lines if line.startswith(("month_usd", "run_usd", "the budget")))
    for each in found.violations:
        if each.mandatory:
            yield f"policy {each.policy}: {f'{each.resource}: ' if each.resource else ''}{each.sentence}"


def _unjudged(document: Object, previews: Sequence[Preview]) -> list[str]:
    judged = {each.change.endpoint for each in previews}
    return [
        f"{name}: the preview changes version {old or 'none'} to {new}, and the program wrote no report about it"
        for name, (old, new) in steps.versions(document).items()
        if new and name not in judged
    ]


def _notes(diff: Mapping[str, Change], previews: Sequence[Preview], document: Object) -> Iterator[str]:
    """Yield a sentence for each endpoint whose release differs between the stack files and the preview."""
    planned = {each.change.endpoint: each.change for each in previews}
    unjudged = steps.versions(document).keys() - planned
    for name in sorted({*diff, *planned} - unjudged):
        in_file, in_plan = diff.get(name), planned.get(name)
        if in_file and in_plan:
            (base, _), (now, _) = served(in_file), served(in_plan)
            if base != now:
                yield f"{name}: the base has {base}, but the stack serves {now}; the base was not deployed"
        elif in_file:
            old, new = served(in_file)
            yield f"{name}: the diff changes {old} to {new}, but the preview does not; {new} is served already"
        elif in_plan:
            old, new = served(in_plan)
            yield (
                f"{name}: the preview changes {old} to {new}, but the diff does not; {old} was deployed by hand, or "
                "the base was not deployed"
            )


def _last_words(stderr: str) -> str:
    lines = [plain(line) for line in stderr.splitlines() if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")] or lines[-1:]
    return "\n".join(told) or "the engine gave no reason; run pulumi preview by hand"


def _first(sentences: Sequence[str]) -> str:
    more = len(sentences) - 1
    return f"{sentences[0]}, and for {more} more reason{'s' if more > 1 else ''}" if more else sentences[0]


def _with_warnings(count: int) -> str:
    return f", with {count} warning{'s' if count > 1 else ''}" if count else ""


def _summary(found: Report) -> str:
    releases, resources = len(found.previews), found.infrastructure
    told = [f"{releases} release{'s' if releases > 1 else ''}"] if releases else []
    if resources:
        told += [f"{count} {op.done}" for op, count in resources.counts.items()]
        if lost := len(resources.losses):
            told.append(f"deletes the data of {lost} resource{'s' if lost > 1 else ''}")
    if found.cost and found.cost.delta and (most := found.cost.delta.ceiling_usd):
        told.append(f"at most {signed(most)} a month")
    return ", ".join(told) or ("nothing changes" if resources else "no version changes")
