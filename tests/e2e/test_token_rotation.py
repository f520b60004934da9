"""The kubelet replaces the tokens of the proxies before MLflow, for an hour.

The gateway of MLflow and the proxy of a client run in pods of a namespace of their own, with the configuration of the
platform, so that other tests may use the platform, and even stop the cluster, at the same time. A small server is in
the place of MLflow.

`pytest tests/e2e/test_token_rotation.py --all --keep-lab --token-minutes 120` is a run of two hours.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import yaml

from components import mlflow_gateway, pods
from contract import names

from .conftest import Platform, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
SPACE, ACCOUNT = "token-rotation", "training"
SECONDS = 2
"""Seconds from one request to the next."""
PATH = "/api/2.0/mlflow/experiments/search"
SERVER = f"""
import os, socketserver
from http.server import BaseHTTPRequestHandler
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def address_string(self):
        return "gateway"
    def log_message(self, *words):
        pass
if os.path.exists("{mlflow_gateway.SOCKET}"):
    os.unlink("{mlflow_gateway.SOCKET}")
socketserver.ThreadingUnixStreamServer("{mlflow_gateway.SOCKET}", Handler).serve_forever()
"""
# Prints nothing; each line of the file is the status of a request, 0 without an answer, and when the token was issued.
CLIENT = f"""
import base64, json, time, urllib.error, urllib.request
def ask():
    try:
        return urllib.request.urlopen("http://localhost:{names.TRACKING_PORT}{PATH}", timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
while True:
    claims = open("{mlflow_gateway.TOKENS}/token").read().split(".")[1]
    issued = json.loads(base64.urlsafe_b64decode(claims + "==="))["iat"]
    with open("/tmp/asked", "a") as file:
        print(ask(), issued, file=file)
    time.sleep({SECONDS})
"""
# Asks the gateway at a host with a token, and prints the status.
REPLAY = f"""
import sys, urllib.error, urllib.request
headers = {{"Authorization": "Bearer " + sys.argv[1]}}
try:
    request = urllib.request.Request("http://" + sys.argv[2] + ":{names.TRACKING_PORT}{PATH}", headers=headers)
    print(urllib.request.urlopen(request, timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


class Asked(NamedTuple):
    """A request of the client."""

    status: int
    """HTTP status; 0 without an answer."""
    issued: int
    """When the client's token was issued, in seconds since 1970."""


def here(configuration: mlflow_gateway.Json) -> str:
    """Return a proxy's configuration for this test's namespace."""
    trainer = mlflow_gateway.IDENTITIES["training"]
    text = json.dumps(configuration).replace(trainer, f"system:serviceaccount:{SPACE}:{ACCOUNT}")
    return text.replace(f"{names.TRACKING_SERVICE}.{names.PLATFORM}", f"mlflow.{SPACE}")


def metadata(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": SPACE, "labels": {"app": name}}


def configuration(name: str, proxy: mlflow_gateway.Json) -> dict[str, Any]:
    data = {"envoy.json": here(proxy), "token.json": json.dumps(mlflow_gateway.token())}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name), "data": data}


def pod(name: str, images: dict[str, str], script: str, source: dict[str, Any]) -> dict[str, Any]:
    """Return a pod with Envoy and a Python script. `source` has the fields of Envoy's token."""
    token = {"serviceAccountToken": {"path": "token", **source}}
    authorities = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    mounts = [
        {"name": "envoy", "mountPath": mlflow_gateway.CONFIGURATION},
        {"name": "token", "mountPath": mlflow_gateway.TOKENS},
        {"name": "socket", "mountPath": mlflow_gateway.SOCKET.rpartition("/")[0]},
        {"name": "files", "mountPath": "/tmp"},
    ]
    command = ["envoy", "--config-path", f"{mlflow_gateway.CONFIGURATION}/envoy.json", "--disable-hot-restart"]
    # The lab has one machine; the other nodes are simulated.
    spec: dict[str, Any] = {
        "serviceAccountName": ACCOUNT,
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "nodeSelector": {"mlops/node-pool": "cpu"},
        "containers": [
            {"name": "envoy", "image": images["envoy"], "command": command, "volumeMounts": mounts},
            {"name": "script", "image": images["tracking"], "command": ["python3", "-c", script],
             "volumeMounts": mounts},
        ],
        "volumes": [
            {"name": "envoy", "configMap": {"name": name}},
            {"name": "token", "projected": {"sources": [token, authorities]}},
            {"name": "socket", "emptyDir": {}},
            {"name": "files", "emptyDir": {}},
        ],
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata(name), "spec": spec}


@pytest.fixture(scope="module")
def client(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A gateway, and a client's pod that asks every SECONDS through its proxy."""
    stack: Any = yaml.safe_load((platform.root / "Pulumi.local.yaml").read_text())
    images: dict[str, str] = stack["config"]["mlops:images"]
    port = {"port": names.TRACKING_PORT}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(ACCOUNT)},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata("mlflow"),
         "spec": {"selector": {"app": "mlflow"}, "ports": [port]}},
        configuration("mlflow", mlflow_gateway.gateway()),
        configuration("client", mlflow_gateway.client()),
        pod("mlflow", images, SERVER, {"expirationSeconds": pods.TOKEN_SECONDS}),
        pod("client", images, CLIENT,
            {"audience": names.TRACKING_AUDIENCE, "expirationSeconds": pods.SHORT_TOKEN_SECONDS}),
    ]  # fmt: skip
    file = tmp_path_factory.mktemp("objects") / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    platform.kubectl("apply", "-f", str(file))
    try:
        ready = ("wait", "pod", "--all", "-n", SPACE, "--for=condition=Ready", "--timeout=120s")
        platform.kubectl(*ready)
        yield platform
    finally:
        platform.kubectl("delete", "namespace", SPACE, "--wait=false")


def run(platform: Platform, pod: str, *words: str) -> str | None:
    """Return the output of a command in a pod, or None while the cluster cannot run it."""
    done = platform.lab("kubectl", "exec", pod, "-n", SPACE, "-c", "script", "--", *words, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def token_of(platform: Platform) -> str:
    return wait_for("a token", lambda: run(platform, "client", "cat", f"{mlflow_gateway.TOKENS}/token"), seconds=60)


def replayed(platform: Platform, token: str) -> str:
    """Return the status that the gateway gives to whoever has the token, here to a process beside it."""
    words = ("mlflow", "python3", "-c", REPLAY, token, "localhost")
    return wait_for("the gateway", lambda: run(platform, *words), seconds=60)


def asked(platform: Platform) -> list[Asked]:
    text = run(platform, "client", "cat", "/tmp/asked")
    return [Asked(*map(int, line.split())) for line in (text or "").splitlines() if len(line.split()) == 2]


def test_a_client_is_known_for_hours_although_each_token_lasts_ten_minutes(
    client: Platform, request: pytest.FixtureRequest
) -> None:
    options: Any = request.config.option
    minutes: float = options.token_minutes
    wait_for("an answer", lambda: any(one.status == 200 for one in asked(client)), seconds=60)
    token = token_of(client)
    assert replayed(client, token) == "200"
    number = int(minutes * 60 / SECONDS * 0.98)

    def all_asked() -> list[Asked]:
        found = asked(client)
        return found if len(found) >= number else []

    found = wait_for("the requests", all_asked, seconds=60 * (minutes + 20), pause=20)
    tokens = Counter(one.issued for one in found)
    statuses = Counter(one.status for one in found)
    print(f"{len(found)} requests, {len(tokens)} tokens, statuses {dict(statuses)}")
    # While another test stops the cluster there is no answer, or the proxy's own 503.
    assert statuses.keys() <= {200, 503, 0}
    assert statuses[200] >= 0.9 * len(found)
    assert len(tokens) >= minutes * 60 / pods.SHORT_TOKEN_SECONDS
    if minutes * 60 > pods.SHORT_TOKEN_SECONDS:
        assert replayed(client, token) == "401"


def test_a_token_is_refused_ten_minutes_after_it_was_issued_also_if_its_pod_is_gone(client: Platform) -> None:
    token = token_of(client)
    client.kubectl("delete", "pod", "client", "-n", SPACE, "--now")
    assert replayed(client, token) == "200", "the gateway knows the time of a token's end, and not its pod"
    seconds = pods.SHORT_TOKEN_SECONDS + 60
    wait_for("the end of the token", lambda: replayed(client, token) == "401", seconds=seconds, pause=20)
