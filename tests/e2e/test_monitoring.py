"""Monitoring in the lab: what it shows after load, what it tells a receiver, and how it scales an endpoint."""

import json
import math
import subprocess
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from typing_extensions import override

from contract import names
from lab import dataset
from lab.engine import engine_environment
from lab.up import ALERT_RECEIVER
from monitoring import boards
from runs.cluster import Cluster
from tests.e2e.conftest import ENDPOINT, LAB, ROOT, Platform, answering, fresh_shell, pods, wait_for
from tests.e2e.models import register
from tests.e2e.test_network_policies import PROBE

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

WAITING, ROUTED, CALLERS, TARGET = "waiting", "routed", 8, 3
OF_THE_PROXY = {"MLOps: platform, Requests to MLflow", "MLOps: platform, Response time of MLflow, p95"}
"""Panels of an MLflow that asks who you are; the lab's does not, and tests/e2e/test_identities.py reads the metrics."""
SOURCE = '''
import time

class Model(mlflow.pyfunc.PythonModel):
    """Waits as long as a row says, and takes no CPU; for less than none it returns what no JSON can hold: a 500."""

    def predict(self, context, model_input, params=None):
        if model_input.seconds.min() < 0:
            return [object()]
        time.sleep(model_input.seconds.max())
        return [0.5] * len(model_input)
'''
PROMETHEUS = ("-n", names.PLATFORM, "mlops-prometheus-0")
DOORS = {
    "prometheus": f"mlops-prometheus.{names.PLATFORM}:9090",
    "alertmanager": f"mlops-alertmanager.{names.PLATFORM}:9093",
    "mlflow": f"mlflow.{names.PLATFORM}:5000",
    "store": f"s3.{names.PLATFORM}:7070",
}


class _Receiver(BaseHTTPRequestHandler):
    told: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.told.extend(json.loads(body)["alerts"])
        self.send_response(200)
        self.end_headers()

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the test shows what matters."""


@contextmanager
def receiving() -> Generator[list[dict[str, Any]]]:
    """The alerts that a receiver at the lab's own address has got so far."""
    url = httpx.URL(ALERT_RECEIVER)
    told: list[dict[str, Any]] = []
    handler = type("Receiver", (_Receiver,), {"told": told})
    with ThreadingHTTPServer((url.host, url.port or 80), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True, kw_only=True)
class Monitored:
    """The platform with monitoring, an endpoint that waits and scales by requests in flight, and one with a shadow."""

    platform: Platform
    url: str
    routed: str
    """URL of the endpoint with a shadow, and so with routers."""
    cluster: Cluster = field(default_factory=lambda: Cluster(environment=engine_environment()))

    def query(self, *expressions: str) -> list[list[Any]]:
        """The series of each query now."""
        with self.cluster.forwarded(names.PLATFORM, "mlops-prometheus", 9090) as address:
            answers = [httpx.get(f"{address}/api/v1/query", params={"query": each}, timeout=30) for each in expressions]
        return [each.raise_for_status().json()["data"]["result"] for each in answers]

    def rules(self) -> list[dict[str, Any]]:
        """The rules of alerts and recordings, with their health and last error."""
        with self.cluster.forwarded(names.PLATFORM, "mlops-prometheus", 9090) as address:
            answer = httpx.get(f"{address}/api/v1/rules", timeout=30).raise_for_status()
        return [rule for group in answer.json()["data"]["groups"] for rule in group["rules"]]

    def ask(self, *seconds: float) -> list[int]:
        """The status of a request for each row."""
        url = f"{self.url}/invocations"
        rows = ({"dataframe_records": [{"seconds": each}]} for each in seconds)
        return [httpx.post(url, json=row, timeout=60).status_code for row in rows]


@pytest.fixture(scope="module")
def monitored(platform: Platform) -> Iterator[Monitored]:
    with platform.config_restored():
        platform.lab("up", "--with", "monitoring", timeout=3000)
        scaling = {"cpu_percent": 1000, "in_flight": TARGET, "scale_down_stabilization_seconds": 15}
        platform.set(
            {
                f"endpoints.{WAITING}.version": register(WAITING, SOURCE, {"seconds": [0.0]}),
                f"endpoints.{WAITING}.replicas.min": 1,
                f"endpoints.{WAITING}.replicas.max": 3,
                **{f"endpoints.{WAITING}.autoscaling.{key}": value for key, value in scaling.items()},
                f"endpoints.{WAITING}.objectives.availability": 99,
                f"endpoints.{WAITING}.objectives.p95_ms": 100,
                f"endpoints.{ROUTED}.version": register(ROUTED, SOURCE, {"seconds": [0.0]}),
                f"endpoints.{ROUTED}.replicas.min": 1,
                f"endpoints.{ROUTED}.replicas.max": 1,
                f"endpoints.{ROUTED}.prediction_log.sample": 1,
                f"endpoints.{ROUTED}.shadow.version": register(ROUTED, SOURCE, {"seconds": [0.0]}),
            }
        )
        platform.up()
        wait_for("its pod", lambda: len(answering(platform, WAITING)) == 1, seconds=120)
        yield Monitored(platform=platform, url=platform.endpoint_url(WAITING), routed=platform.endpoint_url(ROUTED))
    platform.up()


def mlops(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LAB.parent / "mlops", *arguments], env=fresh_shell(), cwd=ROOT, check=False, capture_output=True, text=True
    )


def has_value(series: Sequence[Any]) -> bool:
    """Whether a series has a number; 0 divided by 0 is none."""
    return any(not math.isnan(float(each["value"][1])) for each in series)


def test_every_panel_shows_something_after_load_and_a_recorded_look(monitored: Monitored) -> None:
    assert mlops("drift", ENDPOINT, "--record").returncode in {0, 3}
    customers = dataset.customers(20)
    odd = [{**customers[0], "monthly_charges": 1e6}, {**customers[1], "total_charges": None}, *customers]
    panels = [
        (f"{board.title}, {panel.title}", each.expr)
        for board in boards.BOARDS.values()
        for panel in board.panels
        for each in panel.queries
    ]

    def all_filled() -> bool:
        assert monitored.platform.predict(odd).is_success
        assert monitored.ask(0, 0) == [200, 200]
        row = {"dataframe_records": [{"seconds": 0.0}]}
        assert httpx.post(f"{monitored.routed}/invocations", json=row, timeout=60).is_success
        names_of_endpoints = (ENDPOINT, WAITING, ROUTED)
        expressions = [boards.resolved(expr, name, "5m") for _, expr in panels for name in names_of_endpoints]
        found = [has_value(each) for each in monitored.query(*expressions)]
        of_each = zip(panels, found[::3], found[1::3], found[2::3], strict=True)
        empty[:] = [title for (title, _), *has in of_each if not any(has)]
        return set(empty) == OF_THE_PROXY

    empty = [title for title, _ in panels]
    try:
        wait_for("all panels", all_filled, seconds=150)
    finally:
        print(f"{len(panels) - len(empty)} of {len(panels)} queries show something; empty: {empty}")


def test_every_rule_is_evaluated_without_an_error(monitored: Monitored) -> None:
    def all_evaluated() -> list[dict[str, Any]]:
        found = monitored.rules()
        assert [rule["lastError"] for rule in found if rule["health"] == "err"] == []
        return found if all(rule["health"] == "ok" for rule in found) else []

    found = wait_for("the first evaluation of each rule", all_evaluated, seconds=120)
    print(f"{len(found)} rules are evaluated without an error")


@pytest.mark.usefixtures("monitored")
def test_top_shows_the_endpoints_of_the_lab() -> None:
    shown = json.loads(mlops("top", "--once", "--json").stdout)
    assert {row["endpoint"] for row in shown["endpoints"]} == {ENDPOINT, WAITING, ROUTED}
    looks = [row["drift"]["status"] for row in shown["endpoints"] if row["endpoint"] == ENDPOINT and row["drift"]]
    assert looks, "the look that the test before has recorded"


def test_an_alert_of_failing_requests_reaches_the_receiver(monitored: Monitored) -> None:
    with receiving() as told:

        def is_told() -> bool:
            assert monitored.ask(*[-1.0] * 3, *[0.0] * 7) == [500] * 3 + [200] * 7
            return any(each["labels"]["alertname"] == "EndpointFailing" for each in told)

        began = time.monotonic()
        wait_for("the alert", is_told, seconds=90)
    (labels,) = [each["labels"] for each in told if each["labels"]["alertname"] == "EndpointFailing"][:1]
    assert (labels["endpoint"], labels["severity"]) == (WAITING, "page")
    print(f"received after {time.monotonic() - began:.0f} s")


def test_a_killed_prometheus_goes_on_with_what_it_knew(monitored: Monitored) -> None:
    monitored.ask(*[0.0] * 5)
    total = f'sum by (pod) (max_over_time(serving_requests_total{{endpoint="{ENDPOINT}"}}[10m]))'
    ((before, *_),) = monitored.query(total)
    platform = monitored.platform
    platform.kubectl("delete", "pod", *PROMETHEUS, "--force", "--grace-period=0")

    def is_back() -> bool:
        condition = {"Ready": "False"} | {
            each["type"]: each["status"] for each in platform.get("pod", *PROMETHEUS)["status"].get("conditions", ())
        }
        return condition["Ready"] == "True"

    platform.kubectl("wait", "pod", *PROMETHEUS, "--for=create", "--timeout=60s")
    wait_for("Prometheus", is_back, seconds=90)
    ((after, *_), up) = monitored.query(total, 'up{job="model-servers"} == 1')
    assert float(after["value"][1]) >= float(before["value"][1])
    wait_for("its first scrape", lambda: up or monitored.query('up{job="model-servers"} == 1')[0], seconds=60)


@pytest.mark.parametrize(
    ("where", "opened"),
    [
        (("-n", names.PLATFORM, "deployment/mlops-exporter"), {"mlflow", "store"}),
        (("-n", names.SERVING, f"deployment/{ENDPOINT}"), {"store"}),
        (("-n", names.PLATFORM, "deployment/mlflow"), {"store"}),
    ],
    ids=["exporter", "server", "mlflow"],
)
def test_other_programs_reach_neither_prometheus_nor_alertmanager(
    monitored: Monitored, where: tuple[str, ...], opened: set[str]
) -> None:
    told = monitored.platform.kubectl("exec", *where, "--", "python3", "-c", PROBE, *DOORS.values())
    assert {name for name, opens in zip(DOORS, json.loads(told), strict=True) if opens} == opened


def test_requests_that_wait_add_pods_and_their_end_takes_them_away_and_none_is_lost(monitored: Monitored) -> None:
    platform, over = monitored.platform, threading.Event()

    def call() -> set[int]:
        codes = set[int]()
        while not over.is_set():
            codes.update(monitored.ask(2.0))
        return codes

    began = time.monotonic()
    with ThreadPoolExecutor(CALLERS) as callers:
        calls = [callers.submit(call) for _ in range(CALLERS)]
        try:
            wait_for("a third pod", lambda: len(answering(platform, WAITING)) == 3, seconds=180)
        finally:
            over.set()
    assert set[int]().union(*(one.result() for one in calls)) == {200}
    out = time.monotonic()
    wait_for("a single pod again", lambda: len(pods(platform, "ml-serving", WAITING)) == 1, seconds=300)
    print(f"out after {out - began:.0f} s, in after {time.monotonic() - out:.0f} s")
