"""MLflow's gateway: a real Envoy with the program's configuration, asked for each route that MLflow has."""

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any, Protocol, cast

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.server import handlers

from components import mlflow_gateway
from components.mlflow_gateway import IDENTITIES, TOKENS
from contract import names
from tests.issuer import Issuer
from tests.mlflow_server import Server

EVERYBODY = frozenset(IDENTITIES) - {"exporter"}
RUNS = frozenset({"training", "validation"})
TAGS = frozenset({"validation", "promoter"})
PROMOTER = frozenset({"promoter"})
SEARCHES = ("/api/2.0/mlflow/registered-models/search", "/api/2.0/mlflow/model-versions/search")
# The table of docs/security.md, by method and route below `/api/2.0/mlflow/`. All but the exporter may GET.
WRITES: dict[tuple[str, str], frozenset[str]] = {
    **dict.fromkeys(
        [
            ("POST", "experiments/search"),
            ("POST", "experiments/search-datasets"),
            ("POST", "runs/search"),
            ("POST", "logged-models/search"),
            ("POST", "registered-models/get-latest-versions"),
        ],
        EVERYBODY,
    ),
    **dict.fromkeys(
        [
            ("POST", "registered-models/create"),
            ("POST", "runs/set-tag"),
            ("POST", "runs/delete-tag"),
            ("POST", "runs/log-batch"),
            ("POST", "runs/log-inputs"),
            ("POST", "runs/log-metric"),
            ("POST", "runs/log-model"),
            ("POST", "runs/log-parameter"),
            ("POST", "runs/outputs"),
            ("POST", "logged-models"),
            ("POST", "logged-models/x/params"),
            ("PATCH", "logged-models/x"),
            ("PATCH", "logged-models/x/tags"),
        ],
        RUNS,
    ),
    **dict.fromkeys(
        [("POST", "experiments/create"), ("POST", "runs/create"), ("POST", "runs/update")], RUNS | PROMOTER
    ),
    ("POST", "model-versions/create"): frozenset({"training"}),
    ("PATCH", "model-versions/update"): RUNS | PROMOTER,
    ("POST", "model-versions/set-tag"): TAGS,
    ("DELETE", "model-versions/delete-tag"): TAGS,
    **dict.fromkeys(
        [
            ("POST", "registered-models/alias"),
            ("DELETE", "registered-models/alias"),
            ("POST", "registered-models/set-tag"),
            ("DELETE", "registered-models/delete-tag"),
            ("DELETE", "registered-models/delete"),
            ("PATCH", "registered-models/update"),
            ("POST", "registered-models/rename"),
            ("DELETE", "model-versions/delete"),
            ("POST", "model-versions/transition-stage"),
            ("POST", "runs/delete"),
            ("POST", "runs/restore"),
            ("POST", "experiments/delete"),
            ("POST", "experiments/restore"),
        ],
        PROMOTER,
    ),
}
CLOSED_READS = re.compile(r".*/mlflow/(gateway-proxy|assistant/.*|artifacts/presigned-upload-url)")
SKEW_SECONDS = 10
"""Seconds for which the gateway accepts a token after its expiry."""
OPEN_PATHS = {"/health", "/version"}


class _Handlers(Protocol):
    """Typed part of MLflow's module."""

    def get_endpoints(self) -> list[tuple[str, object, list[str]]]: ...


def routes() -> list[tuple[str, str]]:
    """Return method and path of every route of MLflow's server, with `x` in place of parameters, and some others."""
    listed = cast("_Handlers", handlers).get_endpoints()
    found = {(method, re.sub(r"<[^>]+>|\{[^}]+\}", "x", path)) for path, _, methods in listed for method in methods}
    more = {
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/version"),
        ("GET", "/static-files/x"),
        ("GET", "/get-artifact"),
        ("GET", "/model-versions/get-artifact"),
        ("POST", "/health"),
        ("POST", "/ajax-api/2.0/mlflow/upload-artifact"),
        ("GET", "/ajax-api/2.0/mlflow/gateway-proxy"),
        ("POST", "/ajax-api/2.0/mlflow/gateway-proxy"),
        ("GET", "/ajax-api/3.0/mlflow/assistant/config"),
        ("POST", "/graphql"),
        ("POST", "/v1/traces"),
        ("POST", "/ajax-api/3.0/jobs/"),
        ("POST", "/gateway/x/invocations"),
        ("GET", "/no-such-page"),
        # Other spellings of a route are judged as the route.
        ("POST", "/api/2.0/mlflow/registered-models/%61lias"),
        ("POST", "/api/2.0/mlflow//registered-models/alias"),
        ("POST", "/api/2.0/mlflow/runs/../registered-models/alias"),
    }
    return sorted(found | more)


def documented(identity: str, method: str, path: str) -> bool:
    """Return whether the documentation allows a request."""
    plain = re.sub(r"/runs/\.\./", "/", path.replace("%61", "a").replace("//", "/"))
    if method == "GET" and plain in OPEN_PATHS:
        return True
    if identity not in IDENTITIES:
        return False
    if identity == "exporter":
        return method == "GET" and re.sub("^/ajax-api", "/api", plain) in SEARCHES
    if method == "GET":
        pages = r"/|/static-files/.*|(/model-versions)?/get-artifact|/(ajax-)?api/[23]\.0/mlflow/.*"
        return re.fullmatch(pages, plain) is not None and not CLOSED_READS.fullmatch(plain)
    if plain == "/graphql" or re.fullmatch(r"/(ajax-)?api/3\.0/mlflow/traces/(search|metrics|batchGetInfos)", plain):
        return method == "POST"
    _, is_second, route = re.sub("^/ajax-api", "/api", plain).partition("/api/2.0/mlflow/")
    return bool(is_second) and identity in WRITES.get((method, route), frozenset())


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def envoy(configuration: dict[str, object], port: int, folder: Path) -> Generator[None]:
    """Run Envoy until the block ends; it accepts connections when the block begins."""
    file = folder / f"envoy-{port}.json"
    file.write_text(json.dumps(configuration))
    command = ["envoy", "--config-path", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    with (folder / "envoy.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            while not _accepts(port):
                assert process.poll() is None, (folder / "envoy.log").read_text()
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class _Responds(BaseHTTPRequestHandler):
    """Responds 200 to every request, so that each response with another status is the gateway's."""

    protocol_version = "HTTP/1.1"

    def _respond(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def do_PATCH(self) -> None:
        self._respond()

    def do_PUT(self) -> None:
        self._respond()

    def do_DELETE(self) -> None:
        self._respond()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del code, size  # silent


@dataclass(frozen=True)
class Guarded:
    """Server behind a gateway at `uri`."""

    uri: str
    issuer: Issuer
    metrics: str
    """URL of the port with metrics."""

    def asks(self, bearer: str | None, *requests: tuple[str, str]) -> list[httpx.Response]:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        with httpx.Client(timeout=60, headers=headers) as http:
            return [
                http.request(method, httpx.URL(self.uri, raw_path=path.encode()), json=None if method == "GET" else {})
                for method, path in requests
            ]


@contextmanager
def guarding(socket_file: Path, folder: Path) -> Generator[Guarded]:
    """Run a gateway in front of the server that listens on the socket file."""
    issuer, port, metrics = Issuer(), free_port(), free_port()
    gateway = mlflow_gateway.gateway(socket=str(socket_file), port=port, metrics_port=metrics, keys=issuer.keys)
    with envoy(gateway, port, folder):
        yield Guarded(f"http://127.0.0.1:{port}", issuer, f"http://127.0.0.1:{metrics}")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("gateway")
    with ThreadingUnixStreamServer(str(folder / "sock"), _Responds) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        with guarding(folder / "sock", folder) as made:
            yield made
        server.shutdown()


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[Guarded]:
    hosts = {"MLFLOW_SERVER_ALLOWED_HOSTS": f"{names.TRACKING_HOST},127.0.0.1:*"}
    server = Server(tmp_path, environment=hosts, socket=tmp_path / "mlflow.sock")
    server.start()
    try:
        with guarding(tmp_path / "mlflow.sock", tmp_path) as made:
            yield made
    finally:
        server.kill()


@pytest.mark.parametrize(
    "configuration", [mlflow_gateway.gateway(), mlflow_gateway.client()], ids=["gateway", "client"]
)
def test_envoy_accepts_the_configuration_of_both_proxies(configuration: dict[str, object], tmp_path: Path) -> None:
    """The files of a pod, in another folder."""
    text = json.dumps(configuration)
    for folder in (mlflow_gateway.CONFIGURATION, mlflow_gateway.TOKENS):
        text = text.replace(folder, str(tmp_path))
    token = json.dumps(mlflow_gateway.token()).replace(mlflow_gateway.TOKENS, str(tmp_path))
    (tmp_path / "token.json").write_text(token)
    (tmp_path / "token").write_text("x")
    (tmp_path / "ca.crt").write_text(Path("/etc/ssl/certs/ca-certificates.crt").read_text())
    (tmp_path / "envoy.json").write_text(text)
    command = ["envoy", "--mode", "validate", "--config-path", str(tmp_path / "envoy.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.parametrize("identity", [*IDENTITIES, "serving", "stranger", "nobody"])
def test_each_route_of_mlflow_is_open_to_whom_the_documentation_says_and_closed_to_others(
    guarded: Guarded, identity: str
) -> None:
    subjects = {**IDENTITIES, "serving": f"system:serviceaccount:{names.SERVING}:serving", "stranger": "stranger"}
    bearer = guarded.issuer.token(subjects[identity]) if identity in subjects else None
    asked = routes()
    answers = guarded.asks(bearer, *asked)
    wrong = [
        (*request, answer.status_code)
        for request, answer in zip(asked, answers, strict=True)
        if (answer.status_code == 200) != documented(identity, *request)
    ]
    assert not wrong
    assert len(asked) > 200
    assert {answer.status_code for answer in answers} <= {200, 401, 403}


def test_the_programs_own_answer_is_the_documentations() -> None:
    for identity in (*IDENTITIES, "serving"):
        for method, path in routes():
            if not re.search(r"%61|//|\.\.", path):
                assert mlflow_gateway.allowed(identity, method, path) == documented(identity, method, path), path


@pytest.mark.long
def test_a_token_counts_only_if_the_cluster_signed_it_for_mlflow_and_it_has_not_expired(guarded: Guarded) -> None:
    issuer, subject, path = guarded.issuer, IDENTITIES["people"], "/api/2.0/mlflow/experiments/search?max_results=1"
    request = ("GET", path)
    assert guarded.asks(issuer.token(subject), request)[0].status_code == 200
    unsigned = issuer.token(subject, header={"alg": "none", "kid": "k"}).rpartition(".")[0] + "."
    refused = [
        ("Jwt is expired", issuer.token(subject, exp=time.time() - 60)),
        ("Audiences in Jwt are not allowed", issuer.token(subject, aud=["https://kubernetes.default.svc"])),
        ("Jwt verification fails", Issuer().token(subject)),  # another cluster's, with the same subject
        ("Jwt is missing", None),
        ("Jwt is not in the form of Header.Payload.Signature", "not-a-token"),
        ("Jwt", issuer.token(subject, exp=None)),
        ("Jwt", unsigned),
    ]
    for why, bearer in refused:
        (answer,) = guarded.asks(bearer, request)
        assert answer.status_code in {401, 403}, why
        assert answer.json()["error_code"] in {"UNAUTHENTICATED", "PERMISSION_DENIED"}
        assert why in answer.json()["message"]
    # A query string ends in logs, so a token there does not count.
    (answer,) = guarded.asks(None, ("GET", f"{path}&access_token={issuer.token(subject)}"))
    assert answer.status_code == 401


@pytest.mark.long
def test_the_port_with_metrics_counts_requests_and_gives_no_access_to_envoys_other_pages(guarded: Guarded) -> None:
    assert httpx.get(guarded.uri).status_code == 401
    shown = httpx.get(f"{guarded.metrics}/metrics").text
    counted = re.search(r'envoy_http_downstream_rq_xx\{.*class="4",.*prefix="mlflow"\} (\d+)', shown)
    assert counted
    assert int(counted[1]) >= 1
    for path in ("/", "/stats", "/metrics/", "/metrics/../quitquitquit", "/config_dump"):
        url = httpx.URL(guarded.metrics, raw_path=path.encode())
        assert [httpx.request(method, url).status_code for method in ("GET", "POST")] == [404, 404], path


@pytest.mark.long
def test_a_clients_proxy_sends_each_new_token_of_the_kubelet_before_the_old_one_expires(
    guarded: Guarded, tmp_path: Path
) -> None:
    port, seconds = free_port(), 2.0
    proxy = tmp_path / "proxy.json"
    proxy.write_text(
        json.dumps(mlflow_gateway.client()).replace("/etc/envoy", str(tmp_path)).replace(TOKENS, str(tmp_path))
    )
    configuration: Any = json.loads(proxy.read_text())
    listener, ready = configuration["static_resources"]["listeners"]
    listener["address"]["socket_address"]["port_value"] = port
    ready["address"]["socket_address"]["port_value"] = free_port()
    endpoint = configuration["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
    where = {"address": "127.0.0.1", "port_value": int(guarded.uri.rpartition(":")[2])}
    endpoint["endpoint"]["address"]["socket_address"] = where
    (tmp_path / "token.json").write_text(json.dumps(mlflow_gateway.token()).replace(TOKENS, str(tmp_path)))

    def rotate(number: int) -> None:
        """Replace the token as the kubelet does: a new folder, and then the link to it."""
        folder = tmp_path / f"..{number}"
        folder.mkdir()
        expires = time.time() + 2 * seconds - SKEW_SECONDS
        (folder / "token").write_text(guarded.issuer.token(IDENTITIES["people"], exp=expires, jti=f"{number}"))
        (tmp_path / "..data_tmp").symlink_to(folder.name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    rotate(0)
    (tmp_path / "token").symlink_to("..data/token")
    with envoy(configuration, port, tmp_path), httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
        end, statuses = time.monotonic() + 5 * seconds, list[int]()
        for number in range(1, 5):
            while time.monotonic() < end - (5 - number) * seconds:
                statuses.append(http.get("/api/2.0/mlflow/experiments/search").status_code)
            rotate(number)
        assert set(statuses) == {200}
        assert len(statuses) > 50
        while (status := http.get("/api/2.0/mlflow/experiments/search").status_code) == 200:
            assert time.monotonic() < end + 5 * seconds, "without a new token, the last one expires"
        assert status == 401


@pytest.mark.long
def test_a_training_script_reads_why_it_is_refused(mlflow: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", mlflow.issuer.token(IDENTITIES["training"]))
    client = MlflowClient(mlflow.uri, mlflow.uri)
    run = client.create_run(client.create_experiment("mine"))
    client.log_metric(run.info.run_id, "loss", 0.5)
    client.create_registered_model("mine")
    client.create_model_version("mine", "s3://bucket/mine")
    with pytest.raises(MlflowException, match="this account may not make this request to MLflow"):
        client.set_registered_model_alias("mine", "champion", "1")
    with pytest.raises(MlflowException, match="this account may not make this request to MLflow"):
        client.set_model_version_tag("mine", "1", "validation_status", "passed")
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    with pytest.raises(MlflowException, match="MLflow asks who you are, and Jwt is missing"):
        client.get_run(run.info.run_id)
