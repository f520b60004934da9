"""A challenger is taken back if it is worse than its champion, and not by chance."""

import math
import random
from collections.abc import Sequence

import pytest

from experiments.guardrails import Counter, Limits, Watch, of_prometheus, parsed, query
from model_server.predict.scoring import Request
from model_server.responses import Response
from model_server.telemetry.metrics import Metrics

LIMITS = Limits()


def counters(role: str, *, pod: str = "a", least: float = 0.01, **codes: int) -> list[Counter]:
    """Counters of a pod: responses by code, all of which took between `least` and 2.5 times as long."""
    total = sum(codes.values())
    buckets = {least: 0, 2.5 * least: total, math.inf: total}
    return [
        *(
            Counter(pod=pod, name="serving_requests_total", labels={"role": role, "code": code[1:]}, value=value)
            for code, value in codes.items()
        ),
        *(
            Counter(pod=pod, name="serving_request_seconds_bucket", labels={"role": role, "le": f"{le}"}, value=value)
            for le, value in buckets.items()
        ),
    ]


def routed(assigned: int, reached: int, unanswered: int = 0) -> list[Counter]:
    """Counters of a router."""
    return [
        Counter(
            pod="router",
            name="envoy_cluster_upstream_rq_total",
            labels={"envoy_cluster_name": "challenger"},
            value=reached,
        ),
        Counter(
            pod="router",
            name="envoy_vhost_route_upstream_rq_completed",
            labels={"envoy_route": "assigned"},
            value=assigned,
        ),
        Counter(
            pod="router",
            name="envoy_cluster_upstream_rq_retry",
            labels={"envoy_cluster_name": "challenger-or-champion"},
            value=unanswered,
        ),
    ]


def broken(*seen: Sequence[Counter], percent: int = 10, early: bool = False, limits: Limits = LIMITS) -> list[str]:
    """Rules that are broken by what was counted since the start."""
    watch = Watch()
    for each in seen:
        watch.add(each)
    return [breach.rule for breach in watch.breaches(limits, percent, early=early)]


def test_a_challenger_may_fail_one_request_in_a_hundred_more_than_its_champion() -> None:
    champion = counters("champion", _200=9_900, _500=100)
    assert broken(champion, counters("challenger", _200=980, _500=20)) == []
    assert broken(champion, counters("challenger", _200=979, _500=21)) == ["errors"]
    assert broken(champion, counters("challenger", _200=979, _400=21)) == ["refusals"]
    assert broken(champion, counters("challenger", _200=979, _500=21), limits=Limits(errors=0.02)) == []


def test_a_request_that_the_challenger_did_not_answer_is_a_failed_one() -> None:
    champion, challenger = counters("champion", _200=900), counters("challenger", _200=80)
    assert broken(champion, challenger, routed(1000, 100)) == []
    assert broken(champion, challenger, routed(1000, 100, unanswered=20)) == ["errors"]


def test_a_challenger_may_be_twice_as_slow_unless_the_endpoint_has_an_objective() -> None:
    champion = counters("champion", _200=900)
    assert broken(champion, counters("challenger", _200=100, least=0.015)) == []
    assert broken(champion, counters("challenger", _200=100, least=0.05)) == ["p95"]
    assert broken(champion, counters("challenger", _200=100, least=0.05), limits=Limits(p95_seconds=0.2)) == []
    assert broken(champion, counters("challenger", _200=100), limits=Limits(p95_seconds=0.02)) == ["p95"]


def test_a_challenger_that_its_router_does_not_reach_lacks_its_share() -> None:
    assert broken(routed(2000, 150)) == []
    assert broken(routed(2000, 20)) == ["share"]
    assert broken(routed(20, 0)) == [], "none of twenty is chance"


def test_what_pods_counted_before_the_hold_or_before_a_restart_is_not_counted_twice() -> None:
    watch = Watch(counters("champion", _200=500))
    for value in (600, 40, 50):  # the container starts again before the second look
        watch.add(counters("champion", _200=value))
    watch.add(counters("champion", pod="new", _200=7))
    assert watch.champion.requests == 100 + 40 + 10 + 7


def test_looks_at_two_equal_versions_take_the_release_back_in_less_than_one_of_a_hundred_cases() -> None:
    dice, wrong = random.Random(7), 0
    for _ in range(1000):
        watch, sums = Watch(), {"champion": [0, 0], "challenger": [0, 0]}
        for _ in range(30):
            for role, number in (("champion", 900), ("challenger", 100)):
                failed = sum(dice.random() < 0.01 for _ in range(number // 10))
                sums[role][0] += number // 10 - failed
                sums[role][1] += failed
                watch.add(counters(role, _200=sums[role][0], _500=sums[role][1]))
            if watch.breaches(LIMITS, 10, early=True):
                wrong += 1
                break
    assert wrong < 10


def test_a_challenger_that_fails_is_found_after_its_first_requests() -> None:
    champion = counters("champion", _200=900)
    assert broken(champion, counters("challenger", _500=5), early=True) == ["errors"]
    assert broken(champion, counters("challenger", _200=90, _500=10), early=True) == ["errors"]
    assert broken(champion, counters("challenger", _200=98, _500=2), early=True) == [], "two of a hundred are chance"


@pytest.mark.parametrize("source", ["pods", "prometheus"])
def test_the_figures_of_a_model_server_are_read_from_its_pod_or_from_prometheus(source: str) -> None:
    server = Metrics({"model": "risk", "version": "2", "role": "challenger"})
    for status, seconds in ((200, 0.004), (200, 0.02), (500, 0.02)):
        request = Request(content_type=None, body=b"", request_id="1", trace="")
        request.arrived, request.finished, request.response = 0, seconds, Response(status=status, body=b"")
        server.answered([request])
    server.refused(429)
    found = parsed("a", server.text().decode())
    if source == "prometheus":
        labelled = [{"__name__": each.name, "pod": each.pod, **each.labels} for each in found]
        values = [[0, str(each.value)] for each in found]
        found = of_prometheus([{"metric": m, "value": v} for m, v in zip(labelled, values, strict=True)])
        assert all(name in query("risk") for name in {each.name for each in found})
    watch = Watch()
    watch.add(found)
    arm = watch.challenger
    assert (arm.requests, arm.failed, arm.refused) == (4, 1, 1)
    assert arm.p95 is not None
    assert 0.01 < arm.p95 <= 0.025
