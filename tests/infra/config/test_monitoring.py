"""Messages about wrong settings of monitoring and of objectives."""

from collections.abc import Mapping

import pytest

from tests.infra.config.test_stack import problems
from tests.stacks import LOCAL, SECRETS, changed

IMAGES = {"prometheus": "lab.local/prometheus:1", "alertmanager": "lab.local/alertmanager:1"}
CLUSTER = {"kind": "cluster", "receiver": "slack", "images": IMAGES}
OPERATOR = {"kind": "operator"}
RECEIVER = {"alert_receiver": "https://hooks.example.com/services/1"}
OBJECTIVES = "endpoints.churn-predictor.objectives"


def lines(
    monitoring: object, objectives: Mapping[str, object] | None = None, *, receiver: Mapping[str, str] = RECEIVER
) -> list[str]:
    """Return the problems of a stack with this monitoring, and these objectives of its endpoint."""
    more = {OBJECTIVES: objectives} if objectives else {}
    return problems(changed({"monitoring": monitoring, **more}), {**SECRETS, **receiver})


WRONG: list[tuple[object, dict[str, object], str]] = [
    (CLUSTER, {"availability": 100}, "availability is 100: must be a percentage from 95 to 99.99, because 100 allows"),
    (CLUSTER, {"availability": 90}, "availability is 90: must be a percentage from 95 to 99.99"),
    (CLUSTER, {"p95_ms": 120}, "p95_ms is 120: must be a bound of the server's histogram of response times, because"),
    (CLUSTER, {"p95_ms": 120}, "write p95_ms: 100 or 250"),
    (CLUSTER, {"p95_ms": 60_000}, "write p95_ms: 30000"),
    (CLUSTER, {"p95_ms": 0}, "p95_ms is 0: must be a bound of the server's histogram"),
    ({**CLUSTER, "receiver": "email"}, {}, 'receiver is "email": must be pagerduty, slack or webhook'),
    ({**CLUSTER, "storage_class": "A B"}, {}, 'storage_class is "A B": must be the name of a StorageClass'),
    ({"kind": "cluster", "receiver": "slack"}, {}, "monitoring.images is missing"),
    ({**CLUSTER, "memory": "20Gi"}, {}, "memory 47168Mi, pods 13 during a release: must fit mlops:quotas.platform"),
    ({"kind": "prometheus"}, {}, 'monitoring.kind is "prometheus": must be cluster or managed or operator'),
    ({"kind": "managed"}, {}, 'kind is "managed": must be cluster or operator on this foundation, because Amazon'),
    ({"kind": "operator", "labels": {"a b": "c"}}, {}, "must be a label's key, because Prometheus selects"),
    ({"kind": "operator", "labels": {"a": True}}, {}, "must be a label's value, a text"),
]


@pytest.mark.parametrize(("monitoring", "objectives", "sentence"), WRONG, ids=lambda case: str(case)[:40])
def test_a_wrong_value_is_one_line(monitoring: object, objectives: dict[str, object], sentence: str) -> None:
    (line,) = lines(monitoring, objectives)
    assert sentence in line


@pytest.mark.parametrize("p95_ms", [0.5, 100, "2.5", 30_000])
def test_every_bound_of_the_histogram_may_be_an_objective(p95_ms: object) -> None:
    assert lines(OPERATOR, {"p95_ms": p95_ms, "availability": 99.9}, receiver={}) == []


def test_objectives_that_nothing_would_watch_are_refused() -> None:
    (line,) = problems(changed({OBJECTIVES: {"availability": 99.9}}))
    assert "objectives is " in line
    assert "must be left out without mlops:monitoring, because nothing would watch the objectives" in line


class TestTheAlertReceiver:
    def test_it_is_missing_with_the_command_that_sets_it(self) -> None:
        (line,) = lines(CLUSTER, receiver={})
        assert "mlops:alert_receiver is missing: must be an HTTP URL" in line
        assert line.endswith("run pulumi config set --secret mlops:alert_receiver")

    def test_in_plain_text_it_is_refused_and_not_repeated(self) -> None:
        (line,) = problems({**LOCAL, "monitoring": CLUSTER, **RECEIVER})
        assert "mlops:alert_receiver is in the file in plain text: must be encrypted" in line
        assert RECEIVER["alert_receiver"] not in line

    def test_a_wrong_one_is_not_shown(self) -> None:
        (line,) = lines(CLUSTER, receiver={"alert_receiver": "hooks.example.com/secret"})
        assert "mlops:alert_receiver (not shown) is wrong" in line
        assert "hooks.example.com" not in line

    def test_only_the_kind_that_sends_alerts_needs_it(self) -> None:
        assert lines(OPERATOR, receiver={}) == []
