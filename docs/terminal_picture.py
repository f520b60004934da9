"""Draws what a program prints: text with colours, or with --markdown a comment in Markdown.

FORCE_COLOR=1 COLUMNS=100 PROGRAM | python docs/terminal_picture.py TITLE > FILE.svg
PROGRAM | python docs/terminal_picture.py TITLE --markdown > FILE.svg
"""

import io
import re
import sys

from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text

WIDTH = 100
"""Columns of the picture, unless a line is longer."""
FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)
"""Font that a browser would load from another host; without it, the reader's own font is used."""


def main() -> None:
    """Read the output of a program from stdin and write a picture of it in SVG to stdout."""
    text = sys.stdin.read()
    plain, is_markdown = Text.from_ansi(text), "--markdown" in sys.argv[2:]
    width = WIDTH if is_markdown else max(WIDTH, *(line.cell_len for line in plain.split()))
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(Markdown(text) if is_markdown else plain)
    print(FONT.sub("", console.export_svg(title=sys.argv[1])))


if __name__ == "__main__":
    main()
