"""Two pods of a model: what they leave in the bucket and at the collector, and what they do when something breaks."""

import io
import json
import os
import secrets
import signal
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import httpx
import pandas as pd
import pytest
from botocore.config import Config

from lab import dataset
from lab.cluster import forward, layout
from tests.e2e.conftest import ENDPOINT, Platform, answering, end_in, pods, server_in, wait_for
from tests.e2e.load import load
from tests.e2e.models import register

pytestmark = pytest.mark.e2e

CUSTOMERS = dataset.customers(3)
BUCKET = "mlops-artifacts"
OUTAGE_SECONDS = 60
NOTICED_SECONDS = 5  # after which no request is sent to a server that is gone
INSTANCE = f"app.kubernetes.io/instance={ENDPOINT}"
OBSERVABILITY, COLLECTOR_PORT = "observability", 4318
# As much of a collector as a test needs: each span's trace and name, on a line. The serving image knows the format.
COLLECTOR = """
from http.server import BaseHTTPRequestHandler, HTTPServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

class Spans(BaseHTTPRequestHandler):
    def do_POST(self):
        sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        for span in (span for one in sent.resource_spans for scope in one.scope_spans for span in scope.spans):
            print(span.trace_id.hex(), span.name, flush=True)
        self.send_response(200)
        self.end_headers()

HTTPServer(("", 4318), Spans).serve_forever()
"""
LEAKY, LEAKED_MIB = "leaky", 32
# It keeps as many MiB as a row asks for, and never gives them back.
LEAK = """
class Model(mlflow.pyfunc.PythonModel):
    def __init__(self):
        self.kept = []

    def predict(self, context, model_input, params=None):
        self.kept += [b"x" * (mib << 20) for mib in model_input.mib if mib]
        return [len(self.kept)] * len(model_input)
"""


class _Body(Protocol):
    def read(self) -> bytes: ...


class _Client(Protocol):
    """boto3 carries no types; this is all of it that is used here."""

    def list_objects_v2(self, **which: str) -> Mapping[str, Any]: ...
    def get_object(self, **which: str) -> Mapping[str, _Body]: ...
    def put_object(self, **what: str | bytes) -> object: ...


@pytest.fixture(scope="module")
def serving(platform: Platform) -> Iterator[Platform]:
    """The platform with two pods that log every request, and trace those whose caller says so."""
    platform.lab("up", timeout=3000)
    with platform.config_restored():
        endpoint = f"endpoints.{ENDPOINT}"
        replicas = {f"{endpoint}.replicas.min": 2, f"{endpoint}.replicas.max": 2}
        tracing = {
            f"{endpoint}.tracing.endpoint": f"http://collector.{OBSERVABILITY}:{COLLECTOR_PORT}",
            f"{endpoint}.tracing.sample": 0,
        }
        platform.set({f"{endpoint}.prediction_log.sample": 1, **replicas, **tracing})
        platform.up()
        wait_until_two(platform)
        yield platform
    platform.up()


@pytest.fixture
def collector(serving: Platform, tmp_path: Path) -> Iterator[Platform]:
    """The platform with a collector, in the namespace that the endpoint's pods may reach."""
    (pod, *_) = pods(serving, "ml-serving", ENDPOINT)
    container = {
        "name": "collector",
        "image": pod["spec"]["containers"][0]["image"],
        "command": ["python", "-c", COLLECTOR],
        "ports": [{"containerPort": COLLECTOR_PORT}],
        "readinessProbe": {"tcpSocket": {"port": COLLECTOR_PORT}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    named = {"name": "collector", "namespace": OBSERVABILITY, "labels": {"app": "collector"}}
    restricted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OBSERVABILITY}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": named,
            "spec": {"containers": [container], "securityContext": restricted, "terminationGracePeriodSeconds": 1},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": named,
            "spec": {"selector": named["labels"], "ports": [{"port": COLLECTOR_PORT}]},
        },
    ]
    manifest = tmp_path / "collector.json"
    manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    serving.kubectl("apply", "-f", str(manifest))
    try:
        serving.kubectl("wait", "pod/collector", "-n", OBSERVABILITY, "--for=condition=Ready", "--timeout=60s")
        yield serving
    finally:
        serving.kubectl("delete", "-f", str(manifest))


@pytest.fixture(scope="module")
def store(serving: Platform) -> _Client:
    access, secret = (
        serving.pulumi("config", "get", f"mlops:artifact_store_{name}_key").stdout.strip()
        for name in ("access", "secret")
    )
    return cast("Any", boto3).client(
        "s3",
        endpoint_url=forward.urls()["s3"],
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        # The store is away in some tests, and for a moment after them.
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 10, "mode": "standard"}),
    )


def ask(platform: Platform, requests: int) -> dict[str, list[Any]]:
    """Predictions by the request's name."""
    url, said = f"{platform.endpoint_url()}/invocations", dict[str, list[Any]]()
    for number in range(requests):
        name, rows = f"{uuid4()}", CUSTOMERS[: 1 + number % len(CUSTOMERS)]
        answer = httpx.post(url, json={"dataframe_records": rows}, headers={"x-request-id": name}, timeout=30)
        answer.raise_for_status()
        said[name] = answer.json()["predictions"]
    return said


def found(store: _Client, names: Mapping[str, object]) -> dict[str, list[Any]]:
    """Predictions of these requests in the bucket; a request that is there twice has its predictions twice."""
    listed = store.list_objects_v2(Bucket=BUCKET, Prefix=f"predictions/model={ENDPOINT}/").get("Contents", [])
    bodies = (store.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in listed)
    tables = [pd.read_parquet(io.BytesIO(body)) for body in bodies]
    if not tables:
        return {}
    log = pd.concat(tables).sort_values(["request_id", "row"])
    ours = log[log.request_id.isin(list(names))]
    return {str(name): rows.prediction.tolist() for name, rows in ours.groupby("request_id")}


def test_pods_that_leave_ship_what_they_have(serving: Platform, store: _Client) -> None:
    said = ask(serving, 200)
    serving.kubectl("delete", "pod", "-n", "ml-serving", "-l", INSTANCE)
    assert found(store, said) == said


@pytest.mark.nightly
def test_a_store_that_stops_for_a_minute_costs_neither_a_request_nor_a_line(serving: Platform, store: _Client) -> None:
    wait_until_two(serving)
    began = time.monotonic()
    with store_away(serving):
        said = ask(serving, 200)
        wait_for("a minute", lambda: time.monotonic() > began + OUTAGE_SECONDS, seconds=OUTAGE_SECONDS)
        said |= ask(serving, 20)
    # A segment is closed after a minute, and a store that did not answer is left alone for half of one.
    wait_for("every request in the bucket", lambda: found(store, said) == said, seconds=180)


def test_a_traced_request_is_five_spans_at_the_collector(collector: Platform) -> None:
    wait_until_two(collector)

    def trace(sampled: str) -> str:
        name = secrets.token_hex(16)
        answer = httpx.post(
            f"{collector.endpoint_url()}/invocations",
            json={"dataframe_records": CUSTOMERS},
            headers={"traceparent": f"00-{name}-{secrets.token_hex(8)}-{sampled}"},
            timeout=30,
        )
        assert answer.status_code == 200
        return name

    def arrived() -> list[str]:
        return collector.kubectl("logs", "collector", "-n", OBSERVABILITY).splitlines()

    def spans(name: str) -> list[str]:
        return sorted(line.split(maxsplit=1)[1] for line in arrived() if line.startswith(name))

    # Data that is sent before the node's rules let the pods through is lost; that is allowed.
    wait_for("a way to the collector", lambda: trace("01") and arrived(), seconds=60)
    unwanted, wanted = trace("00"), trace("01")
    wait_for("the spans of the traced request", lambda: len(spans(wanted)) >= 5, seconds=60)
    assert spans(wanted) == ["POST /invocations", "parse", "predict", "queue", "serialise"]
    assert not spans(unwanted)


def test_a_model_that_was_changed_in_the_bucket_is_not_served_and_the_pods_that_have_it_go_on(
    serving: Platform, store: _Client
) -> None:
    wait_until_two(serving)
    version = str(serving.predict(CUSTOMERS).headers["X-Model-Version"])
    uri: str = serving.tracking("model-versions/get-download-uri", name=ENDPOINT, version=version)["artifact_uri"]
    where = urlsplit(uri)
    changed = {"Bucket": where.netloc, "Key": f"{where.path.strip('/')}/requirements.txt"}
    before = store.get_object(**changed)["Body"].read()
    store.put_object(**changed, Body=before + b"another\n")
    try:
        lost = min(answering(serving))
        serving.kubectl("delete", "pod", lost, "-n", "ml-serving")
        said = wait_for("the new pod's refusal", lambda: refusal_of_fetch(serving), seconds=60)
        assert f"{ENDPOINT} version {version} is not what was released" in said
        assert serving.predict(CUSTOMERS).headers["X-Model-Version"] == version
    finally:
        store.put_object(**changed, Body=before)
    wait_until_two(serving)


@pytest.fixture(scope="module")
def keeping(serving: Platform) -> Iterator[Platform]:
    """The platform whose node keeps what its pods fetch."""
    with serving.config_restored():
        serving.set({"model_cache.gib": 1})
        serving.up()
        wait_until_two(serving)
        yield serving
    serving.up()


def test_a_pod_starts_from_what_its_node_keeps_while_the_store_is_away(keeping: Platform) -> None:
    with store_away(keeping):
        assert "copied from the node's cache" in said_by_fetch(keeping, one_made_anew(keeping))
        assert keeping.predict(CUSTOMERS).status_code == 200


def test_a_model_that_was_changed_on_the_node_is_not_served_and_comes_from_the_store(keeping: Platform) -> None:
    for file in (layout.node() / "lib" / "mlops" / "models").rglob("MLmodel"):
        file.write_text("another\n")
    assert "have another digest; the cache removes them" in said_by_fetch(keeping, one_made_anew(keeping))
    assert "copied from the node's cache" in said_by_fetch(keeping, one_made_anew(keeping))


def test_a_server_that_is_killed_is_back_in_its_pod_and_its_end_says_why_it_may_have_been(serving: Platform) -> None:
    wait_until_two(serving)
    victim = min(answering(serving))
    os.kill(server_in(victim), signal.SIGKILL)

    ended = wait_for("the end of the server", lambda: end_in(serving, victim), seconds=30)
    assert ended["exitCode"] == 137
    assert "the process was killed, most often because it exceeded its memory limit" in ended["message"]
    wait_for("the same pod", lambda: victim in answering(serving), seconds=60)
    assert serving.predict(CUSTOMERS).status_code == 200


@pytest.fixture
def leaky(serving: Platform) -> Iterator[Platform]:
    """The platform with two pods of a model that leaks memory when a request asks for it."""
    version = register(LEAKY, LEAK, {"mib": [0]})
    with serving.config_restored():
        serving.set(
            {
                f"endpoints.{LEAKY}.version": version,
                f"endpoints.{LEAKY}.replicas.min": 2,
                f"endpoints.{LEAKY}.replicas.max": 2,
                f"endpoints.{LEAKY}.memory": "512Mi",
            }
        )
        serving.up()
        wait_for("two pods of it", lambda: len(answering(serving, LEAKY)) == 2, seconds=120)
        yield serving
    serving.up()


def test_a_model_that_leaks_is_killed_at_its_limit_and_its_pod_is_back_while_the_other_answers(leaky: Platform) -> None:
    victim, *_ = pods(leaky, "ml-serving", LEAKY)
    name, address = victim["metadata"]["name"], f"http://{victim['status']['podIP']}:8080/invocations"

    def leak() -> bool:
        """Whether the server is gone."""
        try:
            httpx.post(address, json={"dataframe_records": [{"mib": LEAKED_MIB}]}, timeout=10).raise_for_status()
        except httpx.TransportError:
            return True
        return False

    calm = {"dataframe_records": [{"mib": 0}]}
    with load(f"{leaky.endpoint_url(LEAKY)}/invocations", calm, per_second=20) as answers:
        wait_for("the server's end", leak, seconds=60)
        gone = time.monotonic()
        ended = wait_for("word of it", lambda: end_in(leaky, name), seconds=30)
        wait_for("the same pod", lambda: name in answering(leaky, LEAKY), seconds=60)
        back = time.monotonic()
        wait_for("some more answers", lambda: time.monotonic() > back + 5, seconds=10)
    print(f"back after {back - gone:.0f} s; {len(answers.failures)} of {len(answers.all)} requests failed")
    assert ended["reason"] == "OOMKilled"
    assert "it exceeded its memory limit" in ended["message"]
    assert not [answer for answer in answers.all if answer.failure and answer.due > gone + NOTICED_SECONDS]


@contextmanager
def store_away(platform: Platform) -> Generator[None]:
    """Inside, the store does not run; afterwards it answers again."""
    platform.kubectl("scale", "statefulset", "s3", "-n", "mlops-platform", "--replicas=0")
    try:
        wait_for("the end of the store", lambda: not pods(platform, "mlops-platform", "s3"), seconds=60)
        yield
    finally:
        platform.kubectl("scale", "statefulset", "s3", "-n", "mlops-platform", "--replicas=1")
    platform.kubectl("rollout", "status", "statefulset/s3", "-n", "mlops-platform", "--timeout=120s")


def one_made_anew(platform: Platform) -> str:
    """A pod in the place of one that was deleted, when it answers."""
    before = answering(platform)
    platform.kubectl("delete", "pod", min(before), "-n", "ml-serving")
    return wait_for("another pod", lambda: answering(platform) - before, seconds=120).pop()


def said_by_fetch(platform: Platform, pod: str) -> str:
    return platform.kubectl("logs", pod, "-n", "ml-serving", "-c", "fetch")


def refusal_of_fetch(platform: Platform) -> str | None:
    """Termination message of the container that fetches the model, in a pod where it failed."""
    for pod in pods(platform, "ml-serving", ENDPOINT):
        for container in pod["status"].get("initContainerStatuses", []):
            for state in (container["state"], container["lastState"]):
                if state.get("terminated", {}).get("exitCode"):
                    return str(state["terminated"]["message"])
    return None


def wait_until_two(platform: Platform) -> None:
    wait_for("two pods", lambda: len(answering(platform)) == 2, seconds=180)
