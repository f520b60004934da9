"""Budgets: the text of one that is exceeded, and silence for one that is kept."""

import json

import pytest
from pydantic import ValidationError

from cost.budget import Budget, check
from cost.budget import of_document as of_preview
from cost.report import of_document
from tests.cost.plans import HOURS_NAT, TODAY, document, estimated, nat_gateway, node_pool, pod_spec, step, training

POOL = node_pool("gpu", ["g6"], ["on-demand"], {"nvidia.com/gpu": "4"})
NET = training("net", pod_spec("2", "8Gi", gpus=1, pool="gpu"), minutes=600)
CHURN = training("churn", pod_spec("2", "8Gi", gpus=1, pool="gpu"), minutes=60)


def test_what_a_month_may_cost_is_kept_to_the_cent() -> None:
    estimate = estimated(nat_gateway())
    assert check(estimate, Budget(month_usd=HOURS_NAT)) is None
    assert "a month may cost $32.85" in (check(estimate, Budget(month_usd=32.84)) or "")


def test_the_full_pool_counts_and_not_the_empty_one() -> None:
    estimate = estimated(nat_gateway(), *POOL)
    text = check(estimate, Budget(month_usd=100)) or ""
    assert "($32.85 without load; both without usage)" in text
    assert text.index("node pool gpu") < text.index("NAT gateway")


def test_no_more_than_three_lines_are_named() -> None:
    others = [step("aws:kms/key:Key", "data"), step("aws:ec2/eip:Eip", "nat"), step("aws:eks/cluster:Cluster", "mlops")]
    text = check(estimated(nat_gateway(), *others, *POOL), Budget(month_usd=100)) or ""
    assert [line.split("  ")[2].split(":")[0] for line in text.splitlines()[1:-1]] == [
        "node pool gpu",
        "cluster",
        "NAT gateway",
    ]


def test_lines_of_one_kind_count_together_among_the_largest() -> None:
    estimate = estimated(*POOL, *(nat_gateway(str(zone)) for zone in range(3)))
    text = check(estimate, Budget(month_usd=100)) or ""
    assert "$98.55  3 x NAT gateway" in text


def test_every_run_that_may_cost_too_much_is_named_the_dearest_first() -> None:
    text = check(estimated(*POOL, CHURN, NET), Budget(run_usd=0.5)) or ""
    assert [line.split("one run of ")[1].split()[0] for line in text.splitlines()] == ["net", "churn"]
    assert "until its deadline of 10 hours" in text
    assert "shorten its deadline_minutes" in text


def test_a_run_within_its_budget_passes() -> None:
    assert check(estimated(*POOL, CHURN), Budget(run_usd=2)) is None


@pytest.mark.parametrize("budget", [Budget(month_usd=1e6), Budget(run_usd=1e6)])
def test_a_budget_that_cannot_be_checked_is_not_kept(budget: Budget) -> None:
    estimate = of_document(document(nat_gateway(), region="eu-west-1"), today=TODAY)
    assert "cannot be checked" in (check(estimate, budget) or "")
    assert "mlops cost --update-prices eu-west-1" in (check(estimate, budget) or "")
    assert check(estimate, Budget()) is None


@pytest.mark.parametrize("wrong", [{"month_usd": 0}, {"run_usd": -1}, {"month": 5}])
def test_a_budget_is_above_zero_and_has_no_other_keys(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Budget.model_validate(wrong)


def preview(budget: float, every: str = "7d") -> dict[str, object]:
    """Return a preview of a stack whose endpoint trains its model again after drift."""
    retrain = {"training": "churn", "at_most_every": every, "budget_usd_per_month": budget}
    made = document(*POOL, CHURN)
    return {**made, "config": {**made["config"], "mlops:endpoints": json.dumps({"churn": {"retrain": retrain}})}}


def test_retraining_may_cost_its_most_runs_in_a_month() -> None:
    run = estimated(*POOL, CHURN).runs[0].usd
    kept, exceeded = preview(5 * run), preview(5 * run - 0.01)
    assert check(of_document(kept, today=TODAY), of_preview(kept)) is None
    text = check(of_document(exceeded, today=TODAY), of_preview(exceeded)) or ""
    assert "budget_usd_per_month of mlops:endpoints.churn.retrain is" in text
    assert "5 runs of churn with their validations" in text
    assert "write a longer at_most_every" in text


def test_a_longer_pause_keeps_the_budget() -> None:
    run = estimated(*POOL, CHURN).runs[0].usd
    rare = preview(run * 2, every="30d")
    assert check(of_document(rare, today=TODAY), of_preview(rare)) is None


def test_a_retraining_without_a_price_is_not_within_its_budget() -> None:
    made = {**preview(5), "steps": [*POOL]}
    assert "no run of churn has a price" in (check(of_document(made, today=TODAY), of_preview(made)) or "")
