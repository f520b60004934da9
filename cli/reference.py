"""Write the reference of `mlops` into docs/command-line.md: `python -m cli.reference`.

The text between the two marks of the page is made from the commands of `cli.main`. With `--check` nothing is written;
the exit code is 1 when the page is not up to date.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup
from typer.main import get_command

from cli.main import app
from contract.exit_codes import MEANINGS

if TYPE_CHECKING:
    from typer._click.core import Command

PAGE = Path(__file__).parents[1] / "docs/command-line.md"
START, END = "<!-- `make schema` writes what follows, from cli/ -->\n", "<!-- end of what `make schema` writes -->\n"
EXTRA = re.compile(r" +\[([^][]+)\]$")
"""Default and limits of a value, which typer puts after its help."""


def page(current: str) -> str:
    """Return the page with the text between its marks made again."""
    head, _, rest = current.partition(START)
    return f"{head}{START}\n{reference()}\n{END}{rest.partition(END)[2]}"


def reference() -> str:
    """Return the table of commands, the exit codes, and one section for each command, as Markdown."""
    commands = list(_commands(get_command(app), "mlops"))
    table = [f"| [`{words}`](#{words.replace(' ', '-')}) | {_summary(command)} |" for words, command in commands]
    codes = [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(
        [
            *("## Commands\n", "| command | what it does |", "| --- | --- |", *table, ""),
            *("## Exit codes\n", "| code | meaning |", "| --- | --- |", *codes, ""),
            *(_section(words, command) for words, command in commands),
        ]
    ).rstrip("\n")


def _commands(group: "Command", words: str) -> "Iterator[tuple[str, Command]]":
    if isinstance(group, TyperGroup):
        for name, command in group.commands.items():
            yield from _commands(command, f"{words} {name}")
    else:
        yield words, group


def _summary(command: "Command") -> str:
    return " ".join((command.help or "").partition("\n\n")[0].split())


def _section(words: str, command: "Command") -> str:
    context = typer.Context(command)
    usage = " ".join([words, *command.collect_usage_pieces(context)])
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    rows = ["| argument or option | meaning | default |", "| --- | --- | --- |", *(_row(*each) for each in records)]
    examples = [line.strip() for line in (command.epilog or "").partition("Examples:")[2].splitlines() if line]
    parts = [
        f"## `{words}`",
        (command.help or "").strip(),
        _block("text", [usage]),
        "\n".join(rows) if records else "",
        _block("console", [f"$ {line}" for line in examples]) if examples else "",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _block(language: str, lines: list[str]) -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def _row(name: str, text: str) -> str:
    found = EXTRA.search(text)
    extras = found[1].split("; ") if found else []
    default = next((each.removeprefix("default: ") for each in extras if each.startswith("default: ")), "")
    limits = [f"`{each}`" for each in extras if each != "required" and not each.startswith("default: ")]
    meaning = " ".join([EXTRA.sub("", text), *limits])
    cells = [f"`{_without_type(name)}`", meaning, "required" if "required" in extras else default.strip("()")]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _without_type(name: str) -> str:
    """Return the name of an argument without its type; a choice keeps its values."""
    return name if "|" in name else re.sub(r" <.*>$", "", name)


def main(arguments: list[str]) -> int:
    """Return 1 when `--check` finds that the page is not up to date, else 0."""
    current = PAGE.read_text()
    wanted = page(current)
    if arguments != ["--check"]:
        PAGE.write_text(wanted)
    elif current != wanted:
        sys.stderr.write(
            f"docs/{PAGE.name} does not match the commands in cli/: run make schema and commit the result\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
