"""Shows previews in a terminal of 80 columns or more."""

from io import StringIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from model_preview.preview import Preview, Section, sections
from model_preview.redact import plain
from model_preview.verdict import Kind

WIDTH = 100
COLORS = {Kind.PASSES: "green", Kind.ROLLBACK: "cyan", Kind.REFUSED: "red", Kind.UNVERIFIED: "yellow"}


def show(console: Console, found: Preview) -> None:
    """Print the preview. Text of a model is never read as markup, because a description may contain `[red]`."""
    verdict = found.verdict
    console.print(Text(plain(verdict.line), f"bold {'red' if verdict.fails else COLORS[verdict.kind]}"))
    for reason in verdict.reasons:
        word, color = ("refused", "red") if reason.fails else ("warning", "yellow")
        console.print(_indented(Text.assemble((word, color), f": {plain(reason.said)}")))
        console.print(_indented(Text.assemble("to correct it: ", (plain(reason.mend), "bold"))))
    for section in sections(found.diff) if found.diff else ():
        console.print()
        console.print(Text(section.title, "bold"))
        for sentence in section.sentences:
            console.print(_indented(Text(plain(sentence))))
        if section.rows:
            console.print(_table(section))


def text(found: Preview) -> str:
    """Return the preview as plain text of WIDTH columns."""
    written = StringIO()
    show(Console(file=written, width=WIDTH, highlight=False), found)
    return written.getvalue().rstrip()


def _indented(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, 2))


def _table(section: Section) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=True, header_style="dim")
    for heading in section.headings:
        table.add_column(Text(plain(heading)), overflow="fold")
    for row in section.rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table
