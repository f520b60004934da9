"""Whether a change passes, and why not."""

import json
from typing import Any

import pytest

from change_report.report import Base, Cost, Outcome
from change_report.wording import budget_lines
from cost.budget import Budget, of_document
from cost.report import delta_of_document
from model_preview.facts import Change
from tests.change_report.examples import (
    DEPLOYMENT,
    diagnostic,
    good,
    release,
    report,
    result,
    serves,
    silent,
    step,
    unvalidated,
    violation,
)
from tests.cost import plans
from tests.model_preview.examples import UNPROTECTED

NAT = "aws:ec2/natGateway:NatGateway"


def cost(budget: Budget | None = None) -> Cost:
    """A NAT gateway more, and its price."""
    document = plans.document(plans.nat_gateway("first", op="same"), plans.nat_gateway("second"))
    return Cost(delta=delta_of_document(document, today=plans.TODAY), budget=budget or Budget())


def released(old: int | None, new: int | None, name: str = "churn-predictor") -> dict[str, Any]:
    op = "update" if old and new else "create" if new else "delete"
    return step(op, DEPLOYMENT, name, old=serves(name, old), new=serves(name, new))


def base(**releases: Change) -> Base:
    return Base(ref="main", keys=(), releases={name.replace("_", "-"): each for name, each in releases.items()})


def test_a_change_that_changes_nothing_passes() -> None:
    found = report(result=result(step("same", NAT, "a", old={}, new={})))
    assert (found.outcome, found.line) == (Outcome.PASSES, "prod passes: nothing changes")


def test_the_line_of_a_good_change_has_the_figures() -> None:
    steps = [released(7, 8), step("create", NAT, "a", new={}), step("delete", "aws:kms/key:Key", "data", old={})]
    found = report(good(), result=result(*steps), cost=cost())
    assert found.outcome is Outcome.PASSES
    assert found.line == (
        "prod passes: 1 release, 1 deleted, 1 updated, 1 created, deletes the data of 1 resource, "
        "at most +$32.85 a month"
    )


def test_a_refused_model_refuses_the_change() -> None:
    found = report(good("other"), unvalidated(), result=result(released(7, 8)))
    assert found.outcome is Outcome.REFUSED
    assert found.line == (
        "prod is refused: churn-predictor: version 7 -> 8 is refused because version 8 was not validated"
    )
    assert [each.change.endpoint for each in found.previews] == ["churn-predictor", "other"]


def test_a_warning_of_a_model_is_counted_and_refuses_nothing() -> None:
    found = report(unvalidated(gate=UNPROTECTED), result=result(diagnostics=[diagnostic("warning", "old")]))
    assert (found.outcome, found.line) == (Outcome.PASSES, "prod passes, with 2 warnings: 1 release")


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Budget(month_usd=40), "month_usd of the budget is $40.00, but a month may cost $65.70"),
        (Budget(month_usd=70), ""),
    ],
)
def test_a_budget_that_is_exceeded_refuses_the_change(limits: Budget, said: str) -> None:
    found = report(result=result(), cost=cost(limits))
    assert found.outcome is (Outcome.REFUSED if said else Outcome.PASSES)
    assert said in found.line
    assert "largest lines" not in found.line


def test_a_violated_policy_refuses_the_change_and_advice_does_not() -> None:
    advice = report(result=result(events=(violation("advisory", "a-rule", "could be better"),)))
    assert (advice.outcome, advice.line) == (Outcome.PASSES, "prod passes, with 1 warning: nothing changes")
    broken = result(
        failed=True,
        events=(violation("mandatory", "a-rule", "is wrong", "urn:pulumi:prod::mlops::aws:s3/bucket:Bucket::data"),),
        diagnostics=[diagnostic("error", "preview failed")],
    )
    assert report(result=broken).line == "prod is refused: policy a-rule: Bucket data: is wrong"
    assert report(result=broken).outcome is Outcome.REFUSED


def test_several_reasons_are_counted_and_all_are_listed() -> None:
    found = report(unvalidated("a"), unvalidated("b"), result=result(), cost=cost(Budget(month_usd=1)))
    assert found.line.endswith("version 8 was not validated, and for 2 more reasons")
    assert len(found.refusals) == 3


@pytest.mark.parametrize(("protected", "outcome"), [(True, Outcome.UNVERIFIED), (False, Outcome.PASSES)])
def test_a_silent_mlflow_leaves_a_protected_stack_unverified(protected: bool, outcome: Outcome) -> None:
    found = report(silent() if protected else silent(gate=UNPROTECTED), result=result())
    assert found.outcome is outcome
    if protected:
        assert found.line.startswith(
            "prod could not be verified: churn-predictor: version 7 -> 8 could not be verified"
        )


def test_a_refusal_counts_more_than_a_silent_mlflow() -> None:
    assert report(silent("a"), unvalidated("b"), result=result()).outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (result(failed=True, diagnostics=[diagnostic("error", "no key\nsee below")]), "no key"),
        (result(failed=True, said="warning: old\nerror: no credentials\n"), "no credentials"),
        (result(failed=True, said="killed\n"), "killed"),
        (result(failed=True), "the engine gave no reason; run pulumi preview by hand"),
    ],
)
def test_a_preview_that_failed_is_reported_in_the_engines_words(made: Any, said: str) -> None:
    found = report(unvalidated(), result=made)
    assert (found.outcome, found.line) == (Outcome.UNVERIFIED, f"prod could not be previewed: {said}")
    assert found.refusals[-1].endswith("version 8 was not validated")


def test_a_failed_preview_with_violations_and_another_error_is_not_only_refused() -> None:
    made = result(
        failed=True, events=(violation("mandatory", "a", "x"),), diagnostics=[diagnostic("error", "no credentials")]
    )
    assert report(result=made).outcome is Outcome.UNVERIFIED


def test_a_release_that_the_program_did_not_judge_is_unverified() -> None:
    found = report(good("other"), result=result(released(7, 8), released(7, 8, "other")))
    assert found.outcome is Outcome.UNVERIFIED
    assert "churn-predictor: the preview changes version 7 to 8, and the program wrote no report" in found.line


def test_a_removed_endpoint_needs_no_judgement() -> None:
    assert report(result=result(released(7, None))).outcome is Outcome.PASSES


def notes(planned: list[Any], **diff: Change) -> tuple[str, ...]:
    made = report(*planned, base=base(**diff), result=result())
    assert made.warning_count == len(made.notes)
    return made.notes


def test_a_release_of_the_diff_that_is_served_already_is_named() -> None:
    (note,) = notes([], churn=release("churn", 7, 8, "churn"))
    assert note.startswith(
        "churn: the diff changes version 7 to version 8, but the preview does not; version 8 is served"
    )


def test_a_release_of_the_preview_that_the_diff_does_not_make_is_named() -> None:
    (note,) = notes([good()])
    assert note.startswith("churn-predictor: the preview changes version 7 to version 8, but the diff does not;")
    assert "by hand" in note


def test_a_base_that_was_not_deployed_is_named() -> None:
    (note,) = notes([good()], churn_predictor=release("churn-predictor", 6, 8))
    assert note == "churn-predictor: the base has version 6, but the stack serves version 7; the base was not deployed"


def test_a_release_of_the_diff_and_of_the_preview_needs_no_note() -> None:
    assert notes([good()], churn_predictor=release("churn-predictor", 7, 8)) == ()


def test_a_report_about_models_alone_and_a_failed_preview_have_no_notes() -> None:
    diff = base(churn=release("churn", 7, 8, "churn"))
    assert report(base=diff).notes == ()
    assert report(base=diff, result=result(failed=True)).notes == ()
    assert report(base=diff).line == "prod passes: no version changes"


def test_json_holds_everything_and_is_strict() -> None:
    made = report(
        good(), base=base(churn=release("churn", 7, 8)), result=result(released(7, 8)), cost=cost(Budget(month_usd=1))
    )
    told = json.loads(made.model_dump_json(), parse_constant=pytest.fail)
    assert told["outcome"] == "refused"
    assert told["infrastructure"]["changes"][0]["op"] == "update"
    assert told["cost"]["delta"]["ceiling_usd"] == pytest.approx(32.85)
    assert told["cost"]["problem"].startswith("month_usd of the budget")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "The stack file sets no budget."),
        ({"mlops:budget": '{"month_usd": 9000}'}, "The budget is kept: $9,000.00 for a month."),
    ],
)
def test_the_report_names_the_limits_that_are_kept(config: dict[str, str], said: str) -> None:
    assert budget_lines(cost(of_document({"config": config}))) == [said]
