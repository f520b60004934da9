"""Writes a report as Markdown for a comment on GitHub, which has a largest size."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from change_report.report import Outcome, Report
from change_report.steps import Change, Infrastructure, Op
from change_report.values import Field
from change_report.wording import (
    FIELDS_SHOWN,
    budget_lines,
    cost_lines,
    field_line,
    infrastructure_line,
    loss,
    policy_line,
    stack_file_line,
    violation,
)
from model_preview.markdown import ICONS, WARNING, body, escape, icon, line, reasons
from model_preview.preview import Preview
from model_preview.redact import plain
from model_preview.verdict import Kind

LARGEST = 65_000
"""Largest number of characters of the text. GitHub takes 65,536; a comment adds some, such as its mark."""
LONGEST_LINE = 300
"""Largest number of characters of a line in a part that is shortened."""
LINES = 20
"""Largest number of lines of a list in a part that is shortened."""
PARTS_NAMED = 5
REFUSED = ICONS[Kind.REFUSED]
OUTCOMES = {
    Outcome.PASSES: ICONS[Kind.PASSES],
    Outcome.REFUSED: REFUSED,
    Outcome.UNVERIFIED: ICONS[Kind.UNVERIFIED],
}


@dataclass
class _Part:
    """Part of the text: in full, and in shorter forms."""

    title: str
    forms: Sequence[str]
    level: int = 0

    @property
    def text(self) -> str:
        return self.forms[self.level]


def markdown(report: Report, largest: int = LARGEST) -> str:
    """Return the report with at most `largest` characters.

    Parts are shortened from the least important one on until the text is short enough: changed fields first, and the
    tables of models last. The decision, the verdict of each model and each refusal stay; only if there are hundreds of
    them, the last ones are counted. A sentence below the decision names what was shortened.
    """
    head, models = _head(report), [_model(each) for each in report.previews]
    others = [part for part in _others(report) if part]
    shorter = [(part, level) for part in others for level in range(1, len(part.forms))]
    shorter += [(part, level) for level in (1, 2) for part in reversed(models)]
    for part, level in [*shorter, (head, 1)]:
        if len(text := _joined(report, head, models, others)) <= largest:
            return text
        part.level = level
    left_out = 0
    while len(text := _joined(report, head, models, others, left_out)) > largest and left_out < len(models):
        left_out += 1
    return text[:largest]


def _joined(report: Report, head: _Part, models: Sequence[_Part], others: Sequence[_Part], left_out: int = 0) -> str:
    texts = [part.text for part in models[: len(models) - left_out]]
    texts += [f"- and {left_out} more endpoints"] if left_out else []
    texts += [part.text for part in others]
    shortened = [part.title for part in [*others, *models, head] if part.level]
    if shortened:
        named = ", ".join(shortened[:PARTS_NAMED])
        more = f" and {len(shortened) - PARTS_NAMED} more parts" if len(shortened) > PARTS_NAMED else ""
        command = escape(f"mlops preview --stack {report.stack} --json")
        texts.insert(
            0,
            f"{WARNING} Shortened, because a comment has a largest size: {escape(named)}{more}. <code>{command}</code> "
            "prints everything.",
        )
    return "\n\n".join([head.text, *texts]) + "\n"


def _head(report: Report) -> _Part:
    title = f"## {OUTCOMES[report.outcome]} {escape(report.line)}"
    refusals = report.refusals if len(report.refusals) > 1 or report.errors else ()
    losses = [f"**{escape(loss(each))}**" for each in (report.infrastructure.losses if report.infrastructure else ())]
    warned = [*losses, *map(escape, report.notes)]
    full = [*_list(REFUSED, map(_whole, refusals)), *_list(WARNING, warned)]
    brief = [*_some(_list(REFUSED, map(_brief, refusals))), *_some(_list(WARNING, warned))]
    shortest = f"## {OUTCOMES[report.outcome]} {_brief(report.line)}"
    return _Part("reasons", [_block(title, full), _block(shortest, brief)])


def _model(found: Preview) -> _Part:
    verdict = f"### {line(found)}"
    forms = [f"{verdict}\n\n{body(found)}", f"{verdict}\n\n{reasons(found)}"]
    return _Part(
        f"tables of {found.change.endpoint}",
        [*(each.rstrip() for each in forms), f"- {icon(found)} **{_brief(found.verdict.line)}**"],
    )


def _others(report: Report) -> Iterator[_Part | None]:
    """Yield the parts below the models, in their order in the text, in which they are also shortened.

    None is a part without content.
    """
    if report.base:
        title = f"### {escape(stack_file_line(report.base))}"
        lines = [_field(each) for each in report.base.keys]
        yield _Part("keys of the stack file", [_block(title, lines), _block(title, _some(lines))])
    if report.infrastructure:
        yield _infrastructure(report.infrastructure)
    yield _cost(report)
    yield _policies(report)
    yield _messages(report)


def _infrastructure(found: Infrastructure) -> _Part:
    title = f"### {escape(infrastructure_line(found))}"
    lines = [f"- {_change(each)}" for each in found.changes]
    listed = _block(title, lines)
    folded = ["", "<details><summary>Changed fields</summary>", *_details(found.changes), "", "</details>"]
    full = _block(listed, folded) if any(each.fields for each in found.changes) else listed
    return _Part("changed fields", [full, listed, _block(title, _some(lines))])


def _cost(report: Report) -> _Part | None:
    if report.cost is None:
        return None
    price, budget = cost_lines(report.cost, report.stack), budget_lines(report.cost)
    mark = f"{REFUSED} " if report.cost.problem else ""
    full = [*(f"- {_whole(each)}" for each in price), *(f"- {mark}{_whole(each)}" for each in budget)]
    brief = [f"- {_brief(price[0])}", *(f"- {mark}{_brief(each)}" for each in budget)]
    return _Part("cost", [_block("### Cost", full), _block("### Cost", brief)])


def _policies(report: Report) -> _Part | None:
    if not (report.packs or report.violations):
        return None
    title = f"### {escape(policy_line(report))}"
    found = [(REFUSED if each.mandatory else WARNING, violation(each)) for each in report.violations]
    full = [f"- {mark} {escape(said)}" for mark, said in found]
    brief = [f"- {mark} {_brief(said)}" for mark, said in found]
    return _Part("policies", [_block(title, full), _block(title, _some(brief))])


def _messages(report: Report) -> _Part | None:
    found = [*((REFUSED, each) for each in report.errors), *((WARNING, each) for each in report.warnings)]
    if not found:
        return None
    full = [f"- {mark} {_whole(said)}" for mark, said in found]
    brief = [f"- {mark} {_brief(said)}" for mark, said in found]
    return _Part("messages", [_block("### Messages", full), _block("### Messages", _some(brief))])


def _change(change: Change) -> str:
    if change.store:
        return f"**{escape(loss(change))}**"
    op = f"**{change.op}**" if change.op in {Op.DELETE, Op.REPLACE} else change.op.value
    because = f" because of {escape(', '.join(change.because))}" if change.because else ""
    return f"{op} {escape(change.title)}{because}"


def _details(changes: Sequence[Change]) -> Iterator[str]:
    for change in (each for each in changes if each.fields):
        yield f"\n{change.op} {escape(change.title)}\n"
        yield from map(_field, change.fields[:FIELDS_SHOWN])
        if len(change.fields) > FIELDS_SHOWN:
            yield f"- and {len(change.fields) - FIELDS_SHOWN} more fields"


def _field(field: Field) -> str:
    return f"- {escape(field.path)}: {escape(field_line(field))}"


def _block(title: str, lines: Iterable[str]) -> str:
    return "\n".join([title, "", *lines]).rstrip()


def _list(mark: str, lines: Iterable[str]) -> list[str]:
    return [f"- {mark} {each}" for each in lines]


def _some(lines: Sequence[str]) -> list[str]:
    more = len(lines) - LINES
    return [*lines[:LINES], f"- and {more} more"] if more > 0 else list(lines)


def _whole(text: str) -> str:
    return "<br>".join(map(escape, text.splitlines()))


def _brief(text: str) -> str:
    """Return the start of the text, which has at most LONGEST_LINE characters when it is escaped."""
    kept = plain(text)
    while len(escape(kept)) >= LONGEST_LINE:
        kept = kept[: min(LONGEST_LINE, len(kept) - 10)]
    return escape(kept) if kept == plain(text) else f"{escape(kept)}…"
