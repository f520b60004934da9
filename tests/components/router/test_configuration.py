"""Envoy with the program's configuration, as a process in front of servers on this machine."""

import math
import re
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bench.router_processes import KEY, MIB, World, keyed, request, router, send, versions, wait_for, world
from monitoring import rules, scrape
from monitoring.spec import ROUTERS, Platform

pytestmark = pytest.mark.long
LABELS = {"envoy_cluster_name", "envoy_response_code_class", "envoy_http_conn_manager_prefix", "envoy_route"}
KEYS = range(8_000)  # bench/router.py takes 50,000


@pytest.fixture
def servers() -> Iterator[World]:
    with world() as made:
        yield made


def test_each_share_is_exact_no_key_changes_its_version_and_a_larger_share_takes_none_back(servers: World) -> None:
    found = dict[int, set[object]]()
    for percent in (1, 10, 50):
        with router(servers.settings(percent)) as running:
            answered = versions(running.port, KEYS)
        found[percent] = {key for key, version in answered.items() if version == "8"}
        expected, sigma = len(KEYS) * percent / 100, math.sqrt(len(KEYS) * percent * (100 - percent)) / 100
        assert abs(len(found[percent]) - expected) <= 3 * sigma
    assert found[1] < found[10] < found[50]


def test_two_routers_and_a_restarted_one_send_a_key_to_the_same_version(servers: World) -> None:
    some = KEYS[:2000]
    with router(servers.settings(10)) as one, router(servers.settings(10)) as other:
        first = versions(one.port, some)
        assert versions(other.port, some) == first
    with router(servers.settings(10)) as restarted:
        assert versions(restarted.port, some) == first


def test_a_second_experiment_splits_the_same_keys_independently_of_the_first(servers: World) -> None:
    some, chosen = KEYS[:5_000], list[set[object]]()
    for experiment in ("trees", "forest"):
        with router(servers.settings(20, experiment=experiment)) as running:
            chosen.append({key for key, version in versions(running.port, some).items() if version == "8"})
    expected = len(chosen[0]) * len(chosen[1]) / len(some)
    assert abs(len(chosen[0] & chosen[1]) - expected) <= 3 * math.sqrt(expected)


def test_an_experiment_is_named_to_the_pods_whatever_the_client_says_and_only_where_there_is_a_key(
    servers: World,
) -> None:
    with router(servers.settings(50)) as running:
        forged = {"X-Mlops-Experiment": "other", "X-Envoy-Retry-On": "5xx"}
        keys = [*({KEY: f"{n}"} for n in range(20)), *({} for _ in range(20)), *({KEY: ""} for _ in range(20))]
        asked = [request(headers={**key, **forged, "X-Request-Id": f"{n}"}) for n, key in enumerate(keys)]
        answers = send(running.port, asked)
        assert {status for status, *_ in answers} == {200}
        assert {version for _, version, _ in answers[20:]} == {"7"}, "a caller without a key gets the champion"
        seen = {
            who: experiment for server in (servers.champion, servers.challenger) for who, experiment, _ in server.seen()
        }
        assert {who: experiment for who, experiment in seen.items() if experiment} == {
            f"{n}": "trees" for n in range(20)
        }
        assert len(seen) == 60
        name = 'envoy_vhost_route_upstream_rq{envoy_response_code="200",envoy_virtual_host="endpoint",envoy_route='
        assert running.counted(name + '"unassigned"') == 40


def test_requests_under_the_path_of_a_shared_host_are_split_as_all_others_are(servers: World) -> None:
    some = KEYS[:500]
    with router(replace(servers.settings(50), path="/churn")) as running:
        plain = send(running.port, keyed(some))
        below = send(running.port, [each.replace(b"/invocations", b"/churn/invocations", 1) for each in keyed(some)])
        other = send(running.port, [each.replace(b"/invocations", b"/fraud/invocations", 1) for each in keyed(some)])
    assert [version for _, version, _ in below] == [version for _, version, _ in plain]
    assert {version for _, version, _ in other} == {"7"}


def test_monitoring_keeps_the_series_that_its_alerts_and_the_docs_name_and_few_others(servers: World) -> None:
    with router(servers.settings(50, mirrored=100)) as running:
        send(running.port, keyed(range(50)))
        series = [line for line in running.metrics() if re.fullmatch(scrape.KEPT[ROUTERS], line.partition("{")[0])]
    found = {line.partition("{")[0] for line in series}
    everywhere = "".join(rule.expr for rule in rules.alerts(Platform())) + Path("docs/two-versions.md").read_text()
    assert {name for name in re.findall(r"envoy_\w+_\w+", everywhere) if name not in LABELS} <= found
    assert len(series) < 80


@pytest.mark.parametrize("key", ["k" * 8192, "caf\xe9", "a, b", "\xff\xfe", "a b", "'\\"])
def test_a_strange_key_is_answered_and_always_by_the_same_version(servers: World, key: str) -> None:
    with router(servers.settings(50)) as running:
        answers = send(running.port, [request(headers={KEY: key})] * 20)
        assert {status for status, *_ in answers} == {200}
        assert len({version for _, version, _ in answers}) == 1
        assert {experiment for _, experiment, _ in [*servers.champion.seen(), *servers.challenger.seen()]} == {"trees"}


def test_a_client_chooses_a_version_only_where_the_stack_file_allows_it(servers: World) -> None:
    asked = [request(headers={"X-Model-Version": version}) for version in ("7", "8", "9")] * 5
    with router(servers.settings(50)) as running:
        assert {version for _, version, _ in send(running.port, asked)} == {"7"}
    with router(servers.settings(50, versions=(7, 8))) as running:
        assert [version for _, version, _ in send(running.port, asked)] == ["7", "8", "7"] * 5


@pytest.mark.parametrize("blow", [signal.SIGSTOP, signal.SIGKILL])
def test_a_challenger_that_hangs_or_is_killed_costs_no_request_and_the_champion_answers(
    servers: World, blow: signal.Signals
) -> None:
    asked = keyed(range(3000))
    with router(servers.settings(50)) as running, ThreadPoolExecutor(1) as client:
        load = client.submit(send, running.port, asked, ahead=1, connections=4)
        wait_for("some answers of the challenger", lambda: len(servers.challenger.seen()) > 20)
        servers.challenger.process.send_signal(blow)
        by_version = Counter((status, version) for status, version, _ in load.result())
    assert by_version.keys() == {(200, "7"), (200, "8")}


def test_a_request_that_comes_to_a_stopping_pod_is_answered_by_another_one(servers: World) -> None:
    asked = keyed(range(1000))
    with router(servers.settings(50)) as running:

        def answers() -> set[tuple[int, object]]:
            return {(status, version) for status, version, _ in send(running.port, asked)}

        assert answers() == {(200, "7"), (200, "8")}
        servers.challenger.process.send_signal(signal.SIGUSR1)
        wait_for("the signal to arrive", lambda: answers() == {(200, "7")})
        assert answers() == {(200, "7")}
        assert len(servers.challenger.seen()) > len(asked), "the router still tries the challenger first"


def test_a_shadow_gets_every_large_body_with_the_same_request_id(servers: World) -> None:
    with router(servers.settings(mirrored=100)) as running:
        answers = send(running.port, [request(b"x" * 2 * MIB, {"X-Request-Id": f"{n}"}) for n in range(20)], ahead=1)
        assert {(status, version) for status, version, _ in answers} == {(200, "7")}
        wait_for("all copies", lambda: len(servers.shadow.seen()) == 20)
        assert (
            sorted(servers.shadow.seen())
            == sorted(servers.champion.seen())
            == sorted((f"{n}", "", 2 * MIB) for n in range(20))
        )


def test_a_shadow_that_hangs_delays_no_request_and_the_copies_that_are_dropped_are_counted(servers: World) -> None:
    with router(servers.settings(mirrored=100)) as running:
        servers.shadow.process.send_signal(signal.SIGSTOP)
        answers = send(running.port, [request()] * 2000, ahead=1)
        assert {(status, version) for status, version, _ in answers} == {(200, "7")}
        assert running.counted('envoy_cluster_upstream_rq_active_overflow{envoy_cluster_name="shadow"}') > 1800
        servers.shadow.process.send_signal(signal.SIGCONT)
