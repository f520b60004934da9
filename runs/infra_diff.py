"""Report of the differences between a stack and its cluster."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from contract.exit_codes import ExitCode
from runs import preview
from runs.drift import Difference, Json, differences, is_map

LONGEST = 60
"""Largest number of characters of a value that are shown: its start and its end."""
HEADINGS = ("stack", "cluster", "after up --refresh", "changed by (UTC)")


def report(command: Sequence[str], *, as_json: bool, environment: Mapping[str, str] | None = None) -> int:
    """Print the differences that the preview finds, and return the exit code: DONE, or REFUSED if there are some.

    Raises:
        RunsError: the preview failed; the message is the engine's.
    """
    found = differences(preview.run(command, environment))
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=1))
    else:
        show(Console(highlight=False), found)
    return ExitCode.REFUSED if found else ExitCode.DONE


def show(console: Console, found: Sequence[Difference]) -> None:
    """Print a table with two lines for each field: the path, which is long, and the values below it."""
    if not found:
        console.print("no differences: the cluster is as the stack says")
        return
    console.print(_row(*(Text(heading, "bold") for heading in HEADINGS)))
    for title, several in groupby(found, key=lambda each: each.object):
        console.print(Text(title, "bold cyan"))
        for each in several:
            console.print(Text(f"  {each.field or 'the whole object'}", overflow="fold"))
            values = (_shown(value) for value in (each.stack, each.cluster, each.after_up))
            console.print(_row(*map(Text, (*values, _changed(each)))))
    console.print(
        "\n`pulumi up` compares the stack file with its record and does not see these differences; "
        "`pulumi up --refresh` sets the values of the third column."
    )


def _row(*cells: Text) -> Padding:
    """Return a row whose columns are as wide as those of every other row."""
    row = Table.grid(padding=(0, 1), expand=True)
    for _ in cells:
        row.add_column(ratio=1, overflow="fold")
    row.add_row(*cells)
    return Padding(row, (0, 0, 0, 4))


def _shown(value: Json) -> str:
    if is_map(value) and set(value) == {"name", "value"}:  # a variable, whose name the path has
        return _shown(value["value"])
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2 - 1]}…{text[-LONGEST // 2 :]}"


def _changed(each: Difference) -> str:
    at = f" {datetime.fromisoformat(each.changed_at):%m-%d %H:%M}" if each.changed_at else ""
    return f"{each.changed_by}{at}" or "not known"
