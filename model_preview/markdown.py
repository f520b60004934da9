"""Writes previews as Markdown for a comment or the description of a pull request.

Text from MLflow is not trusted: it must not close the `<details>` of this page, mention a team, close an issue, start a
table, hide itself, or show a credential.
"""

import re
from collections.abc import Sequence

from model_preview.diff import ModelDiff
from model_preview.preview import Preview, Section, sections
from model_preview.redact import plain
from model_preview.verdict import Kind

ICONS = {Kind.PASSES: "✅", Kind.ROLLBACK: "↩️", Kind.REFUSED: "⛔", Kind.UNVERIFIED: "❓"}
WARNING = "⚠️"
OPEN = ("Notes", "Metrics", "Slices", "Signature")
"""Titles of the sections that are open, so that a reader sees them without a click."""
_MARKUP = re.compile(r"[&<>`*_\[\]|~\\$!^]")
# GitHub makes links from plain text: from addresses, mentions, issue numbers and what follows a closing keyword.
_LINKS = re.compile(r"(?<=[@#])|(?<=://)|(?<=www\.)|(?<=GH-)", re.IGNORECASE)
_BREAK = "\u200b"
_ENTITY = "&#8203;"


def markdown(previews: Sequence[Preview]) -> str:
    """Return the previews as Markdown, one after the other; the verdict lines come first when there are several."""
    lines = [f"- {line(one)}" for one in previews] if len(previews) > 1 else []
    return "\n".join([*lines, *(f"\n### {line(one)}\n\n{body(one)}" for one in previews)]).rstrip("\n") + "\n"


def escape(text: str) -> str:
    """Return the text so that Markdown and GitHub show it as it is, on one line, without credentials."""
    broken = _LINKS.sub(_BREAK, plain(text))
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", broken).replace(_BREAK, _ENTITY)


def line(found: Preview) -> str:
    """Return the verdict as one line of Markdown."""
    return f"{icon(found)} **{escape(found.verdict.line)}**"


def icon(found: Preview) -> str:
    """Return the symbol of the verdict."""
    verdict = found.verdict
    return WARNING if verdict.reasons and not verdict.fails else ICONS[verdict.kind]


def body(found: Preview) -> str:
    """Return what stands below the verdict line: the reasons, and then the sections."""
    return "\n".join([reasons(found), *(_details(found.diff) if found.diff else ())])


def reasons(found: Preview) -> str:
    """Return the reasons as a list, each with the command that removes it; empty if there are none."""
    return "\n".join(
        f"- {ICONS[Kind.REFUSED] if one.fails else WARNING} {escape(one.said)}: <code>{escape(one.mend)}</code>"
        for one in found.verdict.reasons
    )


def _details(found: ModelDiff) -> list[str]:
    parts, lines = sections(found), list[str]()
    for section in (one for one in parts if one.title in OPEN):
        lines += ["", f"**{section.title}**", *_section(section)]
    if closed := [one for one in parts if one.title not in OPEN]:
        lines += ["", "<details><summary>Packages, origin, parameters</summary>"]
        for section in closed:
            lines += ["", f"**{section.title}**", *_section(section)]
        lines += ["", "</details>"]
    return lines


def _section(section: Section) -> list[str]:
    said = [f"- {escape(sentence)}" for sentence in section.sentences]
    lines = ["", *said] if said else []
    if section.rows:
        cells = [section.headings, *section.rows]
        header, *rows = ["| " + " | ".join(escape(cell) or " " for cell in row) + " |" for row in cells]
        lines += ["", header, "| " + " | ".join("---" for _ in section.headings) + " |", *rows]
    return lines
