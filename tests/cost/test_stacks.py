"""The price of the tracked stacks, against sums written out from the price lists' own figures."""

import pytest

from cost.budget import Budget, check
from cost.delta import compare
from cost.estimate import Estimate
from cost.report import of_document
from tests.cost.plans import TODAY, Document, tracked

# The SDK itself imports what it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning")

HOURS = 730
FEE, GPU_FEE = 1.12, 1.078  # Auto Mode: 12 % of on demand, of G instances 7.8 %
POOLS = {
    "kubernetes:karpenter.sh/v1:NodePool",
    "kubernetes:eks.amazonaws.com/v1:NodeClass",
    "aws:eks/nodeGroup:NodeGroup",
}
MANAGED = {"kind": "managed", "instance_types": ["m7i.xlarge"], "min": 3, "max": 3, "disk_gib": 100}


@pytest.fixture(scope="module")
def dev() -> Document:
    return tracked("dev")


@pytest.fixture(scope="module")
def prod() -> Document:
    return tracked("prod")


@pytest.fixture(scope="module")
def managed() -> Document:
    """Prod with a managed node group of three nodes, a database twice as large, and Athena."""
    larger = {
        "instance_class": "db.m7g.xlarge",
        "storage_gib": 200,
        "max_storage_gib": 500,
        "multi_az": True,
        "backup_days": 14,
    }
    return tracked("prod", further={"athena": {}}, node_pools={"cpu": MANAGED}, database=larger)


def estimated(plan: Document) -> Estimate:
    return of_document(plan, today=TODAY)


def line(estimate: Estimate, kind: str) -> tuple[float, float]:
    (found,) = [each for each in estimate.lines if each.kind == kind]
    return found.floor_usd, found.ceiling_usd


def test_a_month_of_dev_costs_the_sum_of_its_parts(dev: Document) -> None:
    cluster, nat_gateway, address, keys = 0.10 * HOURS, 0.045 * HOURS, 0.005 * HOURS, 8 * 1.00
    database = 0.032 * HOURS + 20 * 0.115
    always = cluster + nat_gateway + address + keys + database
    one_small_node_on_spot = (0.096 * 0.5 + 0.096 * 0.12) * HOURS + 80 * 0.08  # m6i.large
    all_32_vcpus = 16 * (0.11592 * FEE * HOURS + 80 * 0.08)  # m7a.large on demand
    one_gpu_on_spot = (1.006 * 0.5 + 1.006 * 0.078) * HOURS + 200 * 0.08  # g5.xlarge
    estimate = estimated(dev)
    assert estimate.floor_usd == pytest.approx(always + one_small_node_on_spot, rel=0.01)
    assert estimate.ceiling_usd == pytest.approx(always + all_32_vcpus + one_gpu_on_spot, rel=0.01)


def test_a_month_of_prod_costs_the_sum_of_its_parts(prod: Document) -> None:
    cluster, keys = 0.10 * HOURS, 12 * 1.00
    alarms = (5 + 3) * 0.10  # database, control plane, and one for each NAT gateway
    nat_gateways, addresses = 3 * 0.045 * HOURS, 3 * 0.005 * HOURS
    interface_endpoints = 4 * 3 * 0.01 * HOURS  # four services in three zones
    load_balancers = 2 * 0.0225 * HOURS
    database = 0.337 * HOURS + 100 * 0.23  # two zones
    always = cluster + keys + alarms + nat_gateways + addresses + interface_endpoints + load_balancers + database
    three_small_nodes = 3 * (0.096 * FEE * HOURS + 80 * 0.08)  # m6i.large, one for each replica
    all_64_vcpus = 32 * (0.11592 * FEE * HOURS + 80 * 0.08)  # m7a.large
    all_4_gpus = 4 * (1.006 * GPU_FEE * HOURS + 200 * 0.08)  # g5.xlarge
    estimate = estimated(prod)
    assert estimate.floor_usd == pytest.approx(always + three_small_nodes, rel=0.01)
    assert estimate.ceiling_usd == pytest.approx(always + all_64_vcpus + all_4_gpus, rel=0.01)


@pytest.mark.parametrize("stack", ["dev", "prod", "managed"])
def test_every_resource_of_a_stack_is_priced_or_free_or_named_as_usage(
    stack: str, request: pytest.FixtureRequest
) -> None:
    plan: Document = request.getfixturevalue(stack)
    assert not estimated(plan).not_estimated
    types = {step["newState"]["type"] for step in plan["steps"]} - POOLS
    assert not {kind for kind in types if not kind.startswith(("pulumi:", "mlops:")) and not said(plan, kind)}


def said(plan: Document, kind: str) -> object:
    """Lines of the estimate about the plan's resources of one type."""
    alone = [step for step in plan["steps"] if step["newState"]["type"] == kind]
    estimate = estimated({**plan, "steps": alone})
    return estimate.lines or estimate.usage or kind in estimate.free


def test_athena_costs_by_what_it_reads(managed: Document) -> None:
    assert [each.usd for each in estimated(managed).usage if each.kind == "Athena"] == [5.0]


def test_what_depends_on_use_is_named_with_its_price_and_in_no_sum(prod: Document) -> None:
    usage = {(each.kind, each.unit): each.usd for each in estimated(prod).usage}
    assert usage["NAT gateway", "GB through it"] == 0.045
    assert usage["bucket", "GB-month, old versions included"] == 0.023
    assert usage["database", "GB-month that it grows by, from 100 to 500 GiB"] == 0.23
    assert usage["load balancer", "LCU-hour"] == 0.008
    assert usage["network", "GB to the internet"] == 0.09
    assert usage["backup vault", "GB-month of the bucket"] == 0.05
    assert usage["backup vault", "GB copied from the stack's region"] == 0.02
    assert None not in usage.values()


def test_a_run_costs_its_deadline_on_its_node(prod: Document) -> None:
    runs = {run.name: run for run in estimated(prod).runs}
    assert runs.keys() == {"churn", "churn-validation"}
    assert runs["churn"].usd == pytest.approx(1 * (0.11592 * FEE + 80 * 0.08 / HOURS), rel=0.01)  # m7a.large, an hour
    assert runs["churn-validation"].hours == 0.5


def test_an_endpoint_costs_its_pods_share_of_nodes_and_its_load_balancer(prod: Document) -> None:
    (endpoint,) = estimated(prod).endpoints
    assert endpoint.replicas == (3, 20)
    balancer = 0.0225 * HOURS
    assert (endpoint.ceiling_usd - balancer) / (endpoint.floor_usd - balancer) == pytest.approx(20 / 3)


def test_a_managed_node_group_costs_the_same_all_the_time(managed: Document) -> None:
    three = 3 * (0.2016 * HOURS + 100 * 0.08)  # m7i.xlarge, without a fee of Auto Mode
    assert line(estimated(managed), "node pool cpu") == pytest.approx((three, three), rel=0.01)


def test_the_difference_names_what_an_update_changes(prod: Document, managed: Document) -> None:
    delta = compare(estimated(prod), estimated(managed))
    changed = {each.kind: each for each in delta.changes}
    assert changed["database"].floor_usd == pytest.approx((0.674 - 0.337) * HOURS + 100 * 0.23, rel=0.01)
    assert changed["node pool gpu"].new_ceiling_usd == 0
    assert "cluster" not in changed
    assert delta.ceiling_usd == pytest.approx(sum(each.ceiling_usd for each in delta.changes))


def test_a_region_without_a_price_table_is_not_estimated_and_never_zero() -> None:
    estimate = estimated(tracked("dev", region="eu-west-1"))
    assert (estimate.floor_usd, estimate.ceiling_usd) == (None, None)
    assert "mlops cost --update-prices eu-west-1" in (estimate.reason or "")


def test_a_budget_below_the_most_that_a_month_may_cost_names_the_three_largest_lines(prod: Document) -> None:
    estimate = estimated(prod)
    text = check(estimate, Budget(month_usd=1500)) or ""
    assert "month_usd of the budget is $1,500.00" in text
    assert [row.split(":")[0].split("  ")[-1] for row in text.splitlines()[1:4]] == [
        "node pool cpu",
        "node pool gpu",
        "database",
    ]
    assert check(estimate, Budget(month_usd=estimate.ceiling_usd, run_usd=20)) is None
