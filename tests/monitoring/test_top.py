"""Table of the endpoints, from series as Prometheus returns them."""

import time
from collections.abc import Mapping

from rich.console import Console

from monitoring import top
from monitoring.top import QUERIES, Series


def series(endpoint: str, version: str, role: str, value: float) -> Mapping[str, object]:
    return {"metric": {"endpoint": endpoint, "version": version, "role": role}, "value": [0, str(value)]}


def looked(endpoint: str, version: str, role: str, status: str) -> Mapping[str, object]:
    return {"metric": {"endpoint": endpoint, "version": version, "role": role, "status": status}, "value": [0, "1"]}


ANSWERS: Mapping[str, Series] = {
    QUERIES["rate"]: [
        series("churn", "1", "champion", 90),
        series("churn", "2", "challenger", 10),
        series("churn", "3", "shadow", 100),
        series("idle", "1", "champion", 0),
    ],
    QUERIES["failing"]: [series("churn", "1", "champion", 0), series("churn", "2", "challenger", 0.25)],
    QUERIES["p95"]: [
        series("churn", "1", "champion", 0.0042),
        series("churn", "2", "challenger", 2.5),
        series("idle", "1", "champion", float("nan")),
    ],
    top.LOOKED: [
        series("churn", "1", "champion", time.time() - 7300),
        series("churn", "2", "challenger", time.time() - 250_000),
    ],
    top.STATUS: [looked("churn", "1", "champion", "none"), looked("churn", "2", "challenger", "drift")],
    top.ALERTS: [
        {"metric": {"alertname": "EndpointFailing", "severity": "page", "endpoint": "churn"}, "value": [0, "1"]}
    ],
}


def ask(expr: str) -> Series:
    return ANSWERS.get(expr, [])


def printed() -> list[str]:
    console = Console(width=120)
    with console.capture() as text:
        console.print(top.table(top.read(ask)))
    return [" ".join(line.split()) for line in text.get().splitlines()]


def test_versions_share_what_clients_sent_and_a_shadow_has_no_share() -> None:
    shares = {(row.endpoint, row.version): row.share for row in top.read(ask)}
    assert shares == {("churn", "1"): 0.9, ("churn", "2"): 0.1, ("churn", "3"): None, ("idle", "1"): None}


def test_a_row_shows_what_is_known_and_a_dash_for_what_is_not() -> None:
    assert printed() == [
        "endpoint version role share requests/s 5xx 429 p50 p95 in flight pods drift",
        "churn 2 challenger 10% 10.0 25.0% - - 2.5 s - - drift, 3 d ago",
        "1 champion 90% 90.0 0.0% - - 4.2 ms - - none, 2 h ago",
        "3 shadow - 100.0 - - - - - - -",
        "idle 1 champion - 0.0 - - - - - - -",
    ]


def test_an_alert_that_fires_is_shown_with_its_endpoint() -> None:
    assert top.firing(ask) == ["page EndpointFailing churn"]
