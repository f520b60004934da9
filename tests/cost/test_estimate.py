"""Lines of an estimate about spot, GPUs and replicas, and about resources that it cannot price."""

from datetime import date, timedelta

import pytest

from cost.prices import HOURS, OLD_DAYS, shipped
from tests.cost.plans import (
    TODAY,
    database,
    endpoint,
    estimated,
    nat_gateway,
    node_pool,
    pod_spec,
    step,
    training,
)

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # what a preview prints for a value that it cannot know
ANY_POD = pod_spec("500m", "1Gi")
DISK = 100 * 0.08  # of a node with 100 GiB, a month
G6, G5 = 0.8048, 1.006  # g6.xlarge and g5.xlarge on demand, an hour


def test_spot_alone_is_taken_as_a_share_of_on_demand_and_the_estimate_says_so() -> None:
    estimate = estimated(*node_pool("gpu", ["g6"], ["spot"], {"nvidia.com/gpu": "2"}))
    month = 2 * ((G6 * 0.5 + G6 * 0.078) * HOURS + DISK)
    assert (estimate.floor_usd, estimate.ceiling_usd) == (0, pytest.approx(month, rel=0.01))
    assert any("the spot price is assumed to be 50% of the on-demand price" in warning for warning in estimate.warnings)


def test_a_pool_that_may_take_both_costs_spot_without_load_and_on_demand_at_most() -> None:
    pool = node_pool("cpu", ["m6i"], ["spot", "on-demand"], {"cpu": "2"})
    estimate = estimated(*pool, *endpoint("churn", ANY_POD, 1, 1))
    assert estimate.floor_usd == pytest.approx((0.096 * 0.5 + 0.096 * 0.12) * HOURS + DISK, rel=0.01)
    assert estimate.ceiling_usd == pytest.approx(0.096 * 1.12 * HOURS + DISK, rel=0.01)


def test_a_run_on_a_pool_that_may_take_both_has_both_prices() -> None:
    pool = node_pool("gpu", ["g6"], ["spot", "on-demand"], {"nvidia.com/gpu": "1"})
    (run,) = estimated(*pool, training("net", pod_spec("2", "8Gi", gpus=1, pool="gpu"), minutes=120)).runs
    assert run.usd == pytest.approx(2 * (G6 * 1.078 + DISK / HOURS), rel=0.01)
    assert run.spot_usd == pytest.approx(2 * (G6 * 0.5 + G6 * 0.078 + DISK / HOURS), rel=0.01)


def test_a_run_on_many_gpus_costs_a_node_that_has_them_and_the_pool_is_full_of_such_nodes() -> None:
    pool = node_pool("gpu", ["g6", "g5"], ["on-demand"], {"nvidia.com/gpu": "8"})
    estimate = estimated(*pool, training("net", pod_spec("8", "32Gi", gpus=4, pool="gpu"), minutes=60))
    (run,) = estimate.runs
    assert run.node == "g5.12xlarge on demand"  # the dearer of the two families with 4 GPUs
    assert run.usd == pytest.approx(5.672 * 1.078 + DISK / HOURS, rel=0.01)
    assert estimate.ceiling_usd == pytest.approx(2 * (5.672 * 1.078 * HOURS + DISK), rel=0.01)


def test_a_sweep_costs_all_nodes_that_run_at_the_same_time() -> None:
    pool = node_pool("cpu", ["m6i"], ["on-demand"], {"cpu": "64"})
    pod = pod_spec("1", "2Gi", pool="cpu")
    (one,) = estimated(*pool, training("churn", pod, minutes=60)).runs
    (four,) = estimated(*pool, training("churn", pod, minutes=60, parallel=4)).runs
    assert four.usd == pytest.approx(4 * one.usd)


def test_a_batch_costs_all_of_its_workers() -> None:
    pool = node_pool("cpu", ["m6i"], ["on-demand"], {"cpu": "64"})
    pod = pod_spec("1", "2Gi", pool="cpu")
    work = [training("churn", pod, minutes=60), training("nightly", pod, minutes=60, parallel=4, kind="batch")]
    one, four = estimated(*pool, *work).runs
    assert four.usd == pytest.approx(4 * one.usd)


def test_replicas_that_are_spread_over_hosts_have_a_node_each() -> None:
    pool = node_pool("cpu", ["m6i"], ["on-demand"], {"cpu": "64"})
    together = estimated(*pool, *endpoint("churn", ANY_POD, 3, 9)).floor_usd
    spread = estimated(*pool, *endpoint("churn", pod_spec("500m", "1Gi", spread=True), 3, 9)).floor_usd
    assert (together, spread) == (
        pytest.approx(0.096 * 1.12 * HOURS + DISK, rel=0.01),
        pytest.approx(3 * (0.096 * 1.12 * HOURS + DISK), rel=0.01),
    )


def test_the_most_replicas_count_for_an_endpoint_and_the_pools_limit_for_the_month() -> None:
    pool = node_pool("cpu", ["m6i"], ["on-demand"], {"cpu": "64"})
    few, many = (estimated(*pool, *endpoint("churn", ANY_POD, 1, most)) for most in (2, 20))
    assert many.endpoints[0].ceiling_usd == pytest.approx(10 * few.endpoints[0].ceiling_usd)
    assert many.endpoints[0].floor_usd == few.endpoints[0].floor_usd
    assert many.ceiling_usd == few.ceiling_usd


def test_a_sidecar_counts_with_its_server_and_an_init_container_only_if_it_is_larger() -> None:
    pool = node_pool("cpu", ["m6i"], ["on-demand"], {"cpu": "64"})
    pod = pod_spec("1", "1Gi")
    small = {"name": "fetch", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}
    beside = {**small, "restartPolicy": "Always"}
    before, sidecar = ({**pod, "initContainers": [each]} for each in (small, beside))
    plain, with_init, with_sidecar = (
        estimated(*pool, *endpoint("churn", each, 1, 1)).endpoints[0].floor_usd for each in (pod, before, sidecar)
    )
    assert plain == with_init < with_sidecar


@pytest.mark.parametrize(
    ("named", "in_plan", "zones"), [("subnet-0a,subnet-0b,subnet-0c", 0, 3), (UNKNOWN, 2, 2), ("subnet-0a", 2, 1)]
)
def test_a_public_load_balancer_has_an_address_in_each_zone(named: str, in_plan: int, zones: int) -> None:
    public = {"tags": {"kubernetes.io/role/elb": "1"}}
    subnets = [step("aws:ec2/subnet:Subnet", f"public-{zone}", public) for zone in range(in_plan)]
    estimate = estimated(*subnets, public_ingress(named))
    assert estimate.floor_usd == pytest.approx((0.0225 + zones * 0.005) * HOURS)


def public_ingress(subnets: str) -> dict[str, object]:
    words = {"scheme": "internet-facing", "subnets": subnets}
    annotations = {f"alb.ingress.kubernetes.io/{key}": value for key, value in words.items()}
    inputs = {"metadata": {"annotations": annotations}, "spec": {"ingressClassName": "alb"}}
    return step("kubernetes:networking.k8s.io/v1:Ingress", "churn", inputs)


@pytest.mark.parametrize(
    ("resource", "why"),
    [
        (step("aws:sqs/queue:Queue", "events"), "this program has no price for resources of this type"),
        (step("kubernetes:example.com/v1:Thing", "events"), "this program has no price for resources of this type"),
        (database("db.z9.large"), "no instance class db.z9.large"),
        (database(storage=UNKNOWN), "allocatedStorage is not known before the update"),
        (step("kubernetes:core/v1:Service", "out", {"spec": {"type": "LoadBalancer"}}), "LoadBalancer"),
        (public_ingress(UNKNOWN), "its public subnets"),
        (step("kubernetes:apps/v1:Deployment", "web", {"spec": UNKNOWN}), "not known before the update"),
        (
            training("churn", pod_spec("1", "1Gi", pool="cpu"), minutes=60),
            "no node pool with the labels mlops/node-pool=cpu has an instance type with a price for 1 CPUs, 1 GiB",
        ),
    ],
)
def test_what_has_no_price_is_listed_and_the_rest_is_summed_up(resource: dict[str, object], why: str) -> None:
    estimate = estimated(nat_gateway(), resource)
    (listed,) = estimate.not_estimated
    assert why in listed.why
    assert estimate.floor_usd == pytest.approx(0.045 * HOURS)


def test_a_pod_that_no_node_of_its_pool_holds_is_listed() -> None:
    pool = node_pool("cpu", ["m6i"], ["on-demand"], {"cpu": "64"})
    estimate = estimated(*pool, training("churn", pod_spec("500", "1Gi", pool="cpu"), minutes=60))
    (listed,) = estimate.not_estimated
    assert (listed.name, "500 CPUs" in listed.why) == ("churn", True)
    assert [line.kind for line in estimate.lines] == ["node pool cpu"]


def test_a_family_without_a_price_is_named() -> None:
    estimate = estimated(*node_pool("gpu", ["g6", "p5e"], ["on-demand"], {"nvidia.com/gpu": "8"}))
    assert any("node pool gpu: p5e has no price in us-east-1" in warning for warning in estimate.warnings)


@pytest.mark.parametrize(("days", "old"), [(OLD_DAYS, False), (OLD_DAYS + 1, True)])
def test_old_prices_are_marked_as_old(days: int, *, old: bool) -> None:
    warnings = estimated(nat_gateway(), today=shipped().date + timedelta(days=days)).warnings
    assert any("mlops cost --update-prices us-east-1" in warning for warning in warnings) is old


def test_the_shipped_prices_are_not_old_and_name_their_sources() -> None:
    table = shipped()
    assert table.date <= date(2026, 7, 20) <= TODAY
    assert any("karpenter" in source for source in table.source)
    assert all(node.usd > (node.auto_mode_usd or 0) > 0 for node in table.nodes.values())


@pytest.mark.parametrize("amount", [-500, float("inf"), float("nan"), 10**400])
def test_an_amount_that_nothing_can_have_is_listed_and_not_counted(amount: float) -> None:
    estimate = estimated(database(storage=amount))
    assert (estimate.floor_usd, [each.name for each in estimate.not_estimated]) == (0, ["database"])


@pytest.mark.parametrize(("cpu", "replicas"), [("-1", 2), ("1e999", 2), ("nan", 2), ("1", -3), ("1", float("inf"))])
def test_pods_that_kubernetes_cannot_have_are_listed_and_take_no_node(cpu: str, replicas: float) -> None:
    pool = node_pool("cpu", ["m6i"], ["on-demand"], {"cpu": "64"})
    template = {"spec": pod_spec(cpu, "2Gi")}
    wrong = step("kubernetes:apps/v1:Deployment", "wrong", {"spec": {"replicas": replicas, "template": template}})
    estimate = estimated(*pool, wrong)
    assert "wrong" in [each.name for each in estimate.not_estimated]
    assert estimate.floor_usd == estimated(*pool).floor_usd
