"""Reports as GitHub gets them."""

from datetime import UTC, datetime

import pytest

from model_preview.facts import Change, Facts, Model, Reference, Version
from model_preview.markdown import markdown
from model_preview.preview import preview
from model_preview.verdict import Gate
from pull_requests.text import LONGEST, fit

HOSTILE = "</details> @octo-org/everyone `rm` <img src=x> fixes #1 token=hunter2secret ghp_" + "a1B2" * 9


def rows(number: int) -> str:
    return "\n".join(f"| row {index} of the report | &#42; 0.{index} |" for index in range(number))


def test_a_report_of_200_kilobytes_fits_and_keeps_its_summary_whole_lines_and_closed_tags() -> None:
    report = (
        f"**prod is refused**\n\n<details><summary>all</summary>\n\n<details>\n\n{rows(6000)}\n\n</details></details>"
    )
    assert len(report) > 200_000
    found = fit(report, head="<!-- head -->\n", foot="\n<sub>foot</sub>\n")
    assert LONGEST - 100 < len(found) <= LONGEST
    assert found.startswith("<!-- head -->\n**prod is refused**\n")
    assert found.count("<details") == found.count("</details>") == 2
    assert f"The report has {len(report):,} characters" in found
    assert found.endswith("\n<sub>foot</sub>\n")
    last = [line for line in found.splitlines() if line.startswith("| row")][-1]
    assert last.endswith(" |")


@pytest.mark.parametrize("unit", ["&#8203;", "é", "🎉", "word "])
def test_a_report_of_one_line_is_cut_between_characters(unit: str) -> None:
    found = fit(unit * 70_000)
    assert len(found) <= LONGEST
    kept = found.partition("\n\n**The report has")[0]
    assert kept.replace(unit, "").strip() in {"", "word"}


def test_a_report_of_open_tags_alone_fits() -> None:
    found = fit("<details>\n" * 20_000)
    assert len(found) <= LONGEST
    assert found.count("<details>") == found.count("</details>")


def test_a_code_block_that_the_cut_opens_is_closed() -> None:
    found = fit("summary\n```diff\n" + "+ <details> line\n" * 10_000 + "```\n")
    body, _, note = found.partition("**The report has")
    assert body.rstrip().endswith("```")
    assert "</details>" not in found
    assert note


def test_a_report_that_fits_keeps_its_form() -> None:
    report = "### Title\n\n| a | b |\n| --- | --- |\n| `x` | churn@example.com |\n\n~~~\n```\n~~~"
    assert fit(report) == report


def test_a_mention_notifies_no_user_and_a_credential_is_hidden() -> None:
    key = "AKIA" + "ABCDEFGHIJKLMNOP"
    found = fit(f"cc @octo-org/team, (@ada) and actions/checkout@v4; {key}; password=abc\x00\x1b[31m")
    assert "@octo-org" not in found
    assert "@ada" not in found
    assert "checkout@v4" in found
    assert key not in found
    assert "abc" not in found
    assert found.replace("\u200b", "").isprintable()


def test_the_description_of_a_model_cannot_leave_its_place() -> None:
    version = Version(
        model="churn", number=8, description=HOSTILE, registered=datetime(2026, 11, 30, tzinfo=UTC), author="@ada"
    )
    change = Change(endpoint="churn", old=None, new=Reference(model="churn", version=8))
    facts = Facts(models={"churn": Model(name="churn")}, versions={("churn", 8): version})
    found = fit(markdown([preview(change, facts, Gate())]))
    assert found.count("<details>") == found.count("</details>") == 1
    for text in ("@octo-org", "@ada", "`rm`", "<img", "#1", "hunter2secret", "a1B2a1B2"):
        assert text not in found
    assert "&#60;/details&#62;" in found
