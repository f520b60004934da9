"""The comment on a pull request: what stands first, what stays when it is cut, and what a value cannot do to it."""

from typing import Any

import pytest
from markdown_it import MarkdownIt

from change_report.markdown import LARGEST, markdown
from change_report.report import Base, Cost, Report
from change_report.values import Field
from cost.budget import Budget
from cost.report import delta_of_document
from tests.change_report.examples import (
    DEPLOYMENT,
    diagnostic,
    good,
    report,
    result,
    serves,
    silent,
    step,
    unvalidated,
    violation,
)
from tests.cost import plans

BUCKET = "aws:s3/bucket:Bucket"
GITHUB = 65_536
HOSTILE = "</details> @org/team `rm -rf` | <img src=x> **bold** fixes #12 https://example.com/a [x](y) <script>"


def rendered(text: str) -> str:
    return MarkdownIt("gfm-like", {"linkify": False}).render(text)


def seen(text: str) -> str:
    """Text as a reader sees it, without tags."""
    tags = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    lines = ["".join(child.content for child in token.children or ()) for token in tags if token.type == "inline"]
    return "\n".join(lines).replace("\u200b", "")


def whole() -> Report:
    """A report with every part."""
    document = plans.document(*(plans.nat_gateway(f"nat-{number}") for number in range(5)))
    return report(
        unvalidated(),
        good("other"),
        base=Base(ref="main", keys=(Field(path="mlops:tracking.replicas", old="1", new="2"),)),
        result=result(
            step(
                "update",
                DEPLOYMENT,
                "churn-predictor",
                old=serves("churn-predictor", 7),
                new=serves("churn-predictor", 8),
            ),
            step("replace", BUCKET, "artifacts", old={"bucket": "a"}, new={"bucket": "b"}, replaceReasons=["bucket"]),
            events=(
                violation("advisory", "a-rule", "could be better"),
                {"summaryEvent": {"PolicyPacks": {"mlops|local|/x": "1"}}},
            ),
            diagnostics=[diagnostic("warning", "an old key")],
        ),
        cost=Cost(delta=delta_of_document(document, today=plans.TODAY), budget=Budget(month_usd=9_000)),
    )


def test_the_parts_are_in_their_order() -> None:
    text = seen(markdown(whole()))
    order = [
        "⛔ prod is refused: churn-predictor: version 7 -> 8 is refused because version 8 was not validated",
        "replaces Bucket artifacts because of bucket: this bucket holds data, which is deleted with it",
        "⛔ churn-predictor: version 7 -> 8 is refused",
        "✅ other: version 7 -> 8 passes",
        "Stack file: 1 changed key against main",
        "mlops:tracking.replicas: 1 → 2",
        "Infrastructure: 1 replaced, 1 updated, 0 unchanged",
        'metadata.labels["app.kubernetes.io/version"]: 7 → 8',
        "A month without load: +$164.25",
        "NAT gateway nat-0: +$32.85 without load, +$32.85 at most",
        "2 smaller changes: mlops cost --stack prod --delta",
        "The budget is kept: $9,000.00 for a month.",
        "Policies of mlops: 0 violations, 1 advisory",
        "a-rule: could be better",
        "an old key",
    ]
    places = [text.index(each) for each in order]
    assert places == sorted(places)


def test_what_holds_data_and_goes_is_bold_and_comes_first() -> None:
    page = rendered(markdown(whole()))
    first, _, rest = page.partition("Infrastructure:")
    for part in (first, rest):
        assert "<strong>replaces Bucket artifacts" in part.replace("&#8203;", "")
    assert rest.index("<strong>replaces Bucket") < rest.index("update Deployment")


def test_a_change_without_anything_is_two_lines() -> None:
    assert markdown(report(result=result())).strip().splitlines() == [
        "## ✅ prod passes: nothing changes",
        "",
        "### Infrastructure: nothing changes, 0 unchanged",
    ]


def test_values_of_resources_open_and_close_nothing() -> None:
    text = markdown(
        report(
            good(description=HOSTILE),
            base=Base(ref=HOSTILE, keys=(Field(path=HOSTILE, old=None, new=HOSTILE),)),
            result=result(
                step("update", BUCKET, HOSTILE, old={HOSTILE: "a"}, new={HOSTILE: HOSTILE}),
                step("delete", BUCKET, HOSTILE + "2", old={}),
                events=(violation("advisory", HOSTILE, HOSTILE, f"urn:pulumi:p::m::aws:x:X::{HOSTILE}"),),
                diagnostics=[diagnostic("warning", HOSTILE)],
            ),
        )
    )
    page = rendered(text)
    assert (page.count("<details>"), page.count("</details>")) == (2, 2)
    for tag in ("<img", "<script", "<a ", "<strong>bold", "@org", "#12"):
        assert tag not in page


def test_no_secret_reaches_the_comment() -> None:
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    text = markdown(
        report(
            result=result(
                step("update", BUCKET, "a", old={"x": "1"}, new={"x": key, "password": "hunter2"}),
                diagnostics=[diagnostic("error", f"{key} is wrong")],
                failed=True,
                events=(violation("mandatory", "rule", f"{key} in clear"),),
            ),
        )
    )
    assert key not in text
    assert "hunter2" not in text


def endpoints(count: int) -> list[str]:
    return [f"endpoint-{number:03}" for number in range(count)]


def large() -> Report:
    """A report of more than 200 KB."""
    before, after = ({f"key_{n}": letter * 50 for n in range(8)} for letter in "ab")
    steps = [step("update", BUCKET, f"bucket-{n}", old=before, new=after) for n in range(200)]
    told: dict[str, Any] = {
        "parameters": {f"parameter_{n}": f"value_{n}" for n in range(60)},
        "description": "long " * 500,
    }
    return report(
        *(good(name, **told) for name in endpoints(20)),
        unvalidated("refused-one", **told),
        base=Base(ref="main", keys=tuple(Field(path=f"key.{n}", old="1", new="2") for n in range(500))),
        result=result(
            *steps,
            step("delete", BUCKET, "artifacts", old={}),
            events=tuple(violation("mandatory", f"rule-{n}", "is wrong " * 50) for n in range(5)),
            diagnostics=[diagnostic("warning", "a long warning " * 100 + str(n)) for n in range(50)],
        ),
    )


def test_a_report_of_200_kb_becomes_a_comment_that_keeps_every_decision() -> None:
    found = large()
    assert len(markdown(found, 10_000_000)) > 200_000
    text = markdown(found)
    assert len(text) <= LARGEST < GITHUB
    page = seen(text)
    assert page.startswith("⛔ prod is refused:")
    for name in [*endpoints(20), "refused-one"]:
        assert f"{name}: version 7 -> 8" in page
    assert "refused-one: version 7 -> 8 is refused because version 8 was not validated" in page
    assert "deletes Bucket artifacts: this bucket holds data" in page
    for number in range(5):
        assert f"policy rule-{number}: is wrong" in page
    assert "Infrastructure: 1 deleted, 200 updated" in page
    assert "Shortened, because a comment has a largest size: keys of the stack file, changed fields" in page
    assert "mlops preview --stack prod --json" in rendered(text)


def test_a_text_that_fits_is_not_shortened_and_one_character_less_is_enough_to_shorten_it() -> None:
    full = markdown(whole())
    assert "Shortened" not in full
    assert markdown(whole(), len(full)) == full
    assert "Shortened" in markdown(whole(), len(full) - 1)


def test_changed_fields_go_before_the_tables_of_models() -> None:
    full = markdown(whole())
    text = seen(markdown(whole(), len(full) - 1))
    assert "app.kubernetes.io/version" not in text
    assert "Signature" in text


@pytest.mark.parametrize("count", [100, 1000])
def test_hundreds_of_refused_models_leave_a_comment_that_counts_the_rest(count: int) -> None:
    found = report(*(unvalidated(name) for name in endpoints(count)))
    text = markdown(found)
    assert len(text) <= LARGEST
    below = seen(text).partition("Shortened")[2]
    listed = below.count("is refused because version 8 was not validated")
    assert listed >= 100
    left = int(text.rpartition("- and ")[2].split()[0]) if listed < count else 0
    assert listed + left == count


@pytest.mark.parametrize("size", [3_000, 10_000, 30_000])
def test_no_cut_breaks_an_entity_or_a_tag(size: int) -> None:
    text = markdown(large(), size)
    assert len(text) <= size
    page = rendered(text)
    assert page.count("<details>") == page.count("</details>")
    assert "&#" not in seen(text)


def test_a_failed_preview_has_the_words_of_the_engine_and_what_was_seen_before() -> None:
    said = [diagnostic("error", "no key\nlook below")]
    found = report(silent(), result=result(step("create", BUCKET, "a", new={}), failed=True, diagnostics=said))
    text = seen(markdown(found))
    assert text.startswith("❓ prod could not be previewed: no key")
    assert "look below" in text
    assert "Infrastructure: 1 created" in text
