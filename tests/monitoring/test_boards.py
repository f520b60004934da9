"""Boards, rules and alerts against a real Prometheus over real model servers under load."""

import json
import math
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import httpx
import mlflow.pyfunc
import mlflow.sklearn as mlflow_sklearn
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from prometheus_client import CollectorRegistry, start_http_server
from sklearn.linear_model import LinearRegression

from bench.router_processes import router
from components.router.configuration import Address, Router
from monitoring import boards, exporter, rules, top
from monitoring.exporter import Sample
from monitoring.rules import Recording
from monitoring.spec import EXPORTER, ROUTERS, SERVERS, TRACKING, Endpoint, Platform
from tests.components.test_mlflow_gateway import guarding
from tests.monitoring import cluster
from tests.monitoring.prometheus import PATIENCE, Prometheus, Target, free_port, model_server, prometheus, until
from tests.registry import MODEL, Registry, registry

__all__ = ["registry"]

LINEAR, WEAK = "linear", "weak"
FRAIL = '''
import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel


class Frail(PythonModel):
    """Answers with what it got; for less than none, with what no JSON can hold, which is a 500."""

    def predict(self, context, model_input: pd.DataFrame, params=None):
        if model_input["x"].min() < 0:
            return [object()]
        return [float(value) for value in model_input["x"]]


mlflow.models.set_model(Frail())
'''
PLATFORM = Platform(
    endpoints=[
        Endpoint(name=MODEL, availability=99.9, p95_seconds=0.1, spool_bytes=1 << 20),
        Endpoint(name=WEAK, availability=99.9, p95_seconds=1),
    ],
    scheduled={"churn": 86400},
)


class _Flavour(Protocol):
    def save_model(self, *arguments: object, **more: object) -> None: ...


LOOK = {"drift_at": "2026-11-30T12:00:00+00:00", "drift_status": "none", "drift_windows": "0"}


@dataclass(frozen=True)
class Watched:
    """Prometheus, the ports of the servers and of the router that it watches, and the URL of MLflow's proxy."""

    prometheus: Prometheus
    router: int
    mlflow: str
    champion: int
    challenger: int
    weak: int


def known() -> exporter.Exporter:
    """Return the real exporter over objects of a cluster and a registry."""
    versions = [cluster.version(2, {"validation_status": "passed", "proposed": "yes"}), cluster.version(1, LOOK)]
    found = exporter.Exporter(
        {
            "kubernetes": lambda: [
                *exporter.releases([cluster.DEPLOYMENT], [cluster.pod("2")], [cluster.AUTOSCALER]),
                *exporter.runs(
                    [cluster.job("training", "Complete", "2026-11-30T10:00:00Z")], [cluster.schedule(last=None)]
                ),
                *exporter.quotas([cluster.QUOTA]),
                *exporter.gpus([cluster.NODE], []),
                Sample("certificate_expires_timestamp_seconds", time.time() + 1e6, {"server": "kubernetes"}),
            ],
            "mlflow": lambda: [*exporter.versions(cluster.model(champion=1), versions)],
            "artifact_store": list,
        }
    )
    found.refresh()
    return found


@pytest.fixture(scope="module")
def watched(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Start three model servers, the exporter and Prometheus."""
    folder = tmp_path_factory.mktemp("monitoring")
    models = folder / "models"
    shutil.copytree(registry.files(1), models / MODEL / "1")
    inputs = pd.DataFrame({"x": [0.0, 1.0]})
    linear = cast("Any", LinearRegression()).fit(inputs, [0.0, 1.0])
    cast("_Flavour", mlflow_sklearn).save_model(linear, str(models / LINEAR / "1"), input_example=inputs)
    (folder / "frail.py").write_text(FRAIL)
    cast("_Flavour", mlflow.pyfunc).save_model(
        str(models / WEAK / "1"),
        python_model=str(folder / "frail.py"),
        signature=ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double")])),
        input_example=inputs,
        pip_requirements=[],
    )
    log = folder / "predictions"
    log.mkdir()
    own = CollectorRegistry()
    own.register(known())
    port = free_port()
    server, thread = start_http_server(port, addr="127.0.0.1", registry=own)
    with ExitStack() as stack:
        champion = stack.enter_context(model_server(models, MODEL, 1, folder, PREDICTION_LOG_DIR=str(log)))
        challenger = stack.enter_context(model_server(models, LINEAR, 1, folder, MODEL_ROLE="challenger"))
        weak = stack.enter_context(model_server(models, WEAK, 1, folder))
        routed = Router(
            champion=Address(host="127.0.0.1", port=champion[0], probe_port=champion[1]),
            request_seconds=35,
            max_body_bytes=1 << 20,
        )
        envoy = stack.enter_context(router(routed))
        tracking = stack.enter_context(guarding(folder / "no-mlflow", folder))
        targets = [
            Target(job=TRACKING, endpoint="mlflow", port=httpx.URL(tracking.metrics).port or 0),
            Target(job=ROUTERS, endpoint=MODEL, port=envoy.probe_port),
            Target(job=SERVERS, endpoint=MODEL, port=champion[1]),
            Target(job=SERVERS, endpoint=MODEL, port=challenger[1]),
            Target(job=SERVERS, endpoint=WEAK, port=weak[1]),
            Target(job=EXPORTER, endpoint="mlops-exporter", port=port),
        ]
        running = stack.enter_context(prometheus(PLATFORM, targets, folder, seconds=5))
        until(lambda: len(running.query("up == 1")) == len(targets), "all targets are scraped")
        yield Watched(running, envoy.port, tracking.uri, champion[0], challenger[0], weak[0])
    server.shutdown()
    server.server_close()
    thread.join()


def ask(port: int, row: Mapping[str, Any]) -> int:
    """Return the status of the response to one request."""
    body = json.dumps({"dataframe_records": [row]}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def has_value(series: list[Any]) -> bool:
    """Return whether a series has a number; 0 divided by 0 is none."""
    return any(not math.isnan(float(each["value"][1])) for each in series)


@pytest.mark.long
def test_a_router_is_read_with_the_name_of_its_endpoint_and_without_the_2000_series_without_a_use(
    watched: Watched,
) -> None:
    healthy = f'envoy_cluster_membership_healthy{{endpoint="{MODEL}",envoy_cluster_name="champion"}} == 1'
    until(lambda: bool(watched.prometheus.query(healthy)), "the router knows that its champion is healthy")
    assert len(watched.prometheus.query(f'{{__name__=~"envoy_.*",job="{ROUTERS}"}}')) < 60


@pytest.mark.long
def test_every_panel_shows_something_after_load_and_a_failing_model_fires_an_alert(watched: Watched) -> None:
    (customer,) = json.loads((Path(__file__).parents[2] / "docs/customer.json").read_text())["dataframe_records"]
    odd = {**customer, "monthly_charges": 1e6}, {**customer, "total_charges": None}
    rows: list[dict[str, Any]] = [*odd, *18 * [customer]]
    query = watched.prometheus.query

    def load() -> None:
        for row in rows:
            assert [ask(port, row) for port in (watched.champion, watched.router)] == [200, 200]
            assert httpx.get(watched.mlflow).status_code == 401
            assert [ask(port, {"x": 1.0}) for port in (watched.challenger, watched.weak)] == [200, 200]

    def empty() -> list[str]:
        """Return the panels that show no number for any endpoint, and the recorded series that do not exist."""
        recorded = [
            rule.record for group in rules.groups(PLATFORM) for rule in group.rules if isinstance(rule, Recording)
        ]
        return [name for name in recorded if not query(name)] + [
            f"{board.title}, {panel.title}: {each.expr}"
            for board in boards.BOARDS.values()
            for panel in board.panels
            for each in panel.queries
            if not any(has_value(query(boards.resolved(each.expr, name))) for name in (MODEL, WEAK))
        ]

    deadline = time.monotonic() + PATIENCE
    load()
    while without := empty():
        assert time.monotonic() < deadline, "\n".join(without)
        load()
    groups = watched.prometheus.get("/api/v1/rules")["data"]["groups"]
    checked = [rule for group in groups for rule in group["rules"]]
    assert [rule["lastError"] for rule in checked if rule["health"] != "ok"] == []

    start = time.monotonic()
    firing = 'ALERTS{alertname="EndpointFailing",alertstate="firing",endpoint="weak"}'
    while not query(firing):
        assert time.monotonic() - start < 60
        assert [ask(watched.weak, {"x": x}) for x in [-1.0] + 9 * [1.0]] == [500] + 9 * [200]
    print(f"the alert fires after {time.monotonic() - start:.0f} s")
    assert {(row.endpoint, row.drift.status if row.drift else "") for row in top.read(query)} == {
        (MODEL, "none"), (MODEL, ""), (WEAK, ""),
    }  # fmt: skip
    assert "page EndpointFailing weak" in top.firing(query)
