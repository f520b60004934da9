"""Plans and states, and the difference between them."""

import pytest

from cost.plan import PlanError, parse
from cost.report import delta_of_document, of_document
from tests.cost.plans import HOURS_NAT, TODAY, Document, database, document, nat_gateway, step


def names(plan: Document, side: str = "new") -> list[str]:
    return sorted(resource.name for resource in parse(plan, "old" if side == "old" else "new").resources)


def test_an_update_has_what_stays_and_what_comes_and_not_what_goes() -> None:
    plan = document(nat_gateway("a", op="same"), nat_gateway("b"), nat_gateway("c", op="delete"))
    assert (names(plan, "old"), names(plan, "new")) == (["a", "c"], ["a", "b"])


def test_a_replaced_resource_counts_once_on_each_side() -> None:
    old, new = database("db.t4g.small"), database("db.m7g.large")
    both = {**new, "oldState": old["newState"]}
    gone = {**new, "op": "delete-replaced", "oldState": old["newState"]}
    del gone["newState"]
    plan = document({**new, "op": "create-replacement"}, {**both, "op": "replace"}, gone)
    delta = delta_of_document(plan, today=TODAY)
    (change,) = delta.changes
    assert change.old_ceiling_usd == pytest.approx(0.032 * 730 + 11.5)
    assert change.new_ceiling_usd == pytest.approx(0.168 * 730 + 11.5)


def test_an_exported_state_is_read_as_well_without_what_waits_to_be_deleted() -> None:
    provider = step("pulumi:providers:aws", "default", {"region": "us-east-1"})["newState"]
    resources = [provider, nat_gateway("a")["newState"], {**nat_gateway("b")["newState"], "delete": True}]
    state = {"version": 3, "deployment": {"resources": resources}}
    assert of_document(state, today=TODAY).floor_usd == pytest.approx(HOURS_NAT)


def test_a_plan_is_compared_with_a_state() -> None:
    provider = step("pulumi:providers:aws", "default", {"region": "us-east-1"})["newState"]
    state = {"deployment": {"resources": [provider, nat_gateway("a")["newState"]]}}
    delta = delta_of_document(document(nat_gateway("a"), nat_gateway("b")), state, today=TODAY)
    assert [(each.kind, each.name) for each in delta.changes] == [("NAT gateway", "b")]
    assert delta.floor_usd == pytest.approx(HOURS_NAT)


def test_a_stack_that_does_not_exist_yet_costs_its_whole_price_more() -> None:
    plan = document(nat_gateway("a"), nat_gateway("b"))
    assert delta_of_document(plan, today=TODAY).floor_usd == pytest.approx(2 * HOURS_NAT)


def test_a_stack_that_goes_costs_its_whole_price_less() -> None:
    plan = document(nat_gateway("a", op="delete"))
    assert delta_of_document(plan, today=TODAY).floor_usd == pytest.approx(-HOURS_NAT)


def test_no_difference_is_given_where_one_side_is_not_estimated() -> None:
    delta = delta_of_document(document(nat_gateway()), document(nat_gateway(), region="eu-west-1"), today=TODAY)
    assert delta.floor_usd is None
    assert "eu-west-1 has no price table" in (delta.reason or "")


def test_a_cluster_of_ones_own_is_not_estimated() -> None:
    estimate = of_document(document(step("kubernetes:core/v1:Namespace", "ml"), region=None), today=TODAY)
    assert estimate.floor_usd is None
    assert "no resource of AWS" in (estimate.reason or "")


def test_a_stack_on_aws_whose_region_is_not_named_is_not_estimated() -> None:
    estimate = of_document(document(nat_gateway(), region=None), today=TODAY)
    assert estimate.floor_usd is None
    assert "set aws:region" in (estimate.reason or "")


def test_a_preview_that_leaves_out_what_stays_is_refused() -> None:
    plan = {**document(nat_gateway("a"), nat_gateway("b", op="same")), "changeSummary": {"create": 1, "same": 147}}
    with pytest.raises(PlanError, match=r"leaves out what does not change \(146\).*--show-sames"):
        parse(plan)


@pytest.mark.parametrize("wrong", [[], {}, "text", {"steps": 3}, {"deployment": []}, {"steps": [{"op": "create"}]}])
def test_any_other_document_is_refused_with_the_command_that_makes_one(wrong: object) -> None:
    with pytest.raises(PlanError, match="pulumi preview --json --show-sames"):
        parse(wrong)
