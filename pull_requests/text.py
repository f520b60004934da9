"""Prepares a Markdown report for GitHub: no credential, no mention, no open tag, and not too long."""

import re
import unicodedata

from model_preview.redact import redact

LONGEST = 65_536
"""Largest number of characters of a comment, and of the text of a pull request."""
_MENTION = re.compile(r"(?<![\w/.])@(?=[A-Za-z0-9])")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_DETAILS = re.compile(r"<(/?)details\b", re.IGNORECASE)
_PART_OF_A_CHARACTER = re.compile(r"&#?\w*$")
_ZERO_WIDTH_SPACE = "\u200b"


def fit(report: str, *, head: str = "", foot: str = "") -> str:
    """Return head, report and foot as one text of at most 65,536 characters.

    The beginning of the report stays, because it has the summary. A report that is too long ends at the end of a line,
    and a sentence says so. `<details>` and code blocks that are open at its end are closed.

    Args:
        report: Markdown; credentials in it are hidden, and mentions notify no user.
        head: text before the report, taken as it is.
        foot: text after the report, taken as it is.
    """
    text = _safe(report)
    body = _closed(text)
    if len(whole := f"{head}{body}{foot}") <= LONGEST:
        return whole
    note = f"\n\n**The report has {len(text):,} characters, and GitHub shows the first of them.**\n"
    room = LONGEST - len(head) - len(foot) - len(note)
    while True:
        kept = _PART_OF_A_CHARACTER.sub("", text[:room])
        start, _, rest = kept.rpartition("\n")
        closed = _closed(start if len(rest) < len(kept) // 2 else kept)
        if len(found := f"{head}{closed}{note}{foot}") <= LONGEST:
            return found
        room -= len(found) - LONGEST


def _safe(report: str) -> str:
    shown = "".join(c for c in report if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cs"})
    return _MENTION.sub(f"@{_ZERO_WIDTH_SPACE}", redact(shown)).strip()


def _closed(text: str) -> str:
    """Return the text with the end of the code block and of each `<details>` that is open at its end."""
    fence, depth = "", 0
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
        elif mark:
            fence = mark[1]
        else:
            for tag in _DETAILS.finditer(line):
                depth = max(0, depth - 1) if tag[1] else depth + 1
    ends = [f"\n{fence}"] if fence else []
    return "".join([text, *ends, *["\n\n</details>"] * depth])
