"""The report in a terminal."""

import io

import pytest
from rich.console import Console

from change_report.report import Report
from change_report.terminal import show
from tests.change_report.examples import diagnostic, good, report, result, step, violation
from tests.change_report.test_markdown import BUCKET, large, whole


def shown(found: Report, *, width: int = 80, colors: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, force_terminal=colors)
    show(console, found)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_every_part_fits_into_the_width(width: int) -> None:
    text = shown(whole(), width=width)
    one_line = " ".join(text.split())
    for part in (
        "prod is refused: churn-predictor: version 7 -> 8 is refused because version 8 was not validated",
        "mlops validate churn-predictor 8",
        "other: version 7 -> 8 passes",
        "mlops:tracking.replicas: 1 → 2",
        "Infrastructure: 1 replaced, 1 updated, 0 unchanged",
        "replaces Bucket artifacts because of bucket: this bucket holds data, which is deleted with it",
        "bucket: a → b",
        "NAT gateway nat-0: +$32.85 without load",
        "The budget is kept",
        "a-rule: could be better",
        "an old key",
    ):
        assert part in one_line
    for found in (whole(), large()):
        assert max(map(len, shown(found, width=width).splitlines())) <= width


def test_text_of_a_resource_is_no_markup_and_moves_no_cursor() -> None:
    hostile = "[red]alarm[/red] \x1b[2J"
    text = shown(
        report(
            good(description=hostile),
            result=result(
                step("update", BUCKET, hostile, old={"x": "a"}, new={"x": hostile}),
                diagnostics=[diagnostic("warning", hostile)],
                events=(violation("advisory", "rule", hostile),),
            ),
        ),
        colors=True,
    )
    assert text.count("[red]alarm[/red]") == 5
    assert "\x1b[2J" not in text


def test_what_holds_data_is_the_first_resource_and_bold_red() -> None:
    text = shown(whole(), colors=True)
    assert text.index("\x1b[1;31mreplaces Bucket") < text.index("Deployment ml-serving/churn-predictor")
