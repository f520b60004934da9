"""`mlops dashboard`: with a Grafana at an address, with one in the cluster, and without one."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from cli.main import run
from contract.exit_codes import ExitCode
from monitoring.boards import BOARDS
from tests.command import Command

GRAFANA = "https://g-1.grafana-workspace.eu-west-1.amazonaws.com"
KUBECTL = """#!/bin/sh
case "$*" in
  *port-forward*) echo "$@" > {folder}/asked; cat {folder}/tunnel; [ -e {folder}/ends ] || exec sleep 600;;
  *"get services"*) cat {folder}/services; exit $(cat {folder}/code);;
esac
"""
SERVICE = {"metadata": {"namespace": "observability", "name": "kps-grafana"}, "spec": {"ports": [{"port": 80}]}}


@dataclass
class Server:
    """HTTP server that answers as Prometheus and as Grafana do."""

    endpoints: list[str] = field(default_factory=lambda: ["churn"])
    """Endpoints that Prometheus knows."""
    uploaded: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    """Bodies of the dashboards that Grafana got with the right token."""
    url: str = ""
    """Address."""

    def result(self, path: str) -> list[Any]:
        if path == "/api/v1/query":
            return [{"metric": {"endpoint": each}, "value": [0, "1"]} for each in self.endpoints]
        return [{"metric": {"version": "7", "role": "champion"}, "values": [[time.time(), "1"]]}]


@contextmanager
def serving(state: Server) -> Generator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def _respond(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._respond(200, {"data": {"result": state.result(urlsplit(self.path).path)}})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers["Authorization"] != "Bearer right" or self.path != "/api/dashboards/db":
                self._respond(401, {"message": "invalid API key"})
                return
            state.uploaded.append(body)
            self._respond(200, {"status": "success"})

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            del code, size  # silent

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield state
        server.shutdown()


@pytest.fixture
def server() -> Generator[Server]:
    with serving(Server()) as running:
        yield running


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ([], "mlops-endpoint"),
        (["--endpoint", "churn"], "mlops-endpoint?var-endpoint=churn"),
        (["platform", "--endpoint", "churn"], "mlops-platform"),
    ],
)
def test_a_grafana_with_an_address_is_opened_at_the_dashboard(mlops: Command, words: list[str], path: str) -> None:
    assert mlops("dashboard", *words, "--grafana", f"{GRAFANA}/", "--print-url") == (0, f"{GRAFANA}/d/{path}\n")


def kubectl(folder: Path, services: list[object], code: int = 0) -> None:
    (folder / "services").write_text(json.dumps({"items": services}) if not code else "")
    (folder / "code").write_text(str(code))
    (folder / "tunnel").write_text("Forwarding from 127.0.0.1:4711 -> 3000\n")
    program = folder / "kubectl"
    program.write_text(KUBECTL.format(folder=folder))
    program.chmod(0o755)


@pytest.mark.long
def test_the_grafana_of_the_cluster_is_reached_by_a_port_forward_that_stays_open(tmp_path: Path) -> None:
    kubectl(tmp_path, [SERVICE])
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "KUBECONFIG": "none"}
    command = [Path(sys.executable).with_name("mlops"), "dashboard", "--print-url"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "http://127.0.0.1:4711/d/mlops-endpoint\n"
        assert process.poll() is None
        process.terminate()
    assert "--namespace observability port-forward service/kps-grafana :80" in (tmp_path / "asked").read_text()


def test_a_port_forward_that_ends_ends_the_command_with_the_reason(
    tmp_path: Path, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl(tmp_path, [SERVICE])
    (tmp_path / "ends").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    code, shown = mlops("dashboard", "--context", "lab", "--print-url")
    assert code == ExitCode.FAILED
    assert "http://127.0.0.1:4711/d/mlops-endpoint\n" in shown
    assert "the port-forward to Grafana has ended; run the command again" in shown


def test_a_grafana_without_a_ready_pod_is_reported_and_the_dashboard_is_drawn_instead(
    tmp_path: Path, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl(tmp_path, [SERVICE])
    (tmp_path / "ends").touch()
    (tmp_path / "tunnel").write_text("error: unable to forward port because pod is not running")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    _, shown = mlops("dashboard", "--context", "lab", "--print-url")
    assert "no Grafana in the cluster can be reached: Service kps-grafana" in shown
    assert "Service mlops-prometheus cannot be reached" in shown, "the Prometheus to draw from was not tried"


@pytest.mark.long
def test_without_a_grafana_the_dashboard_of_the_only_endpoint_is_drawn_and_its_url_alone_is_on_stdout(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dashboard", "--prometheus", server.url, "--print-url"]) == 0
    (url,) = capsys.readouterr().out.splitlines()
    uri = urlsplit(url)
    assert uri.scheme == "file"
    assert "MLOps: endpoint churn" in Path(unquote(uri.path)).read_text()


def test_the_endpoint_must_be_named_if_there_are_several(server: Server, mlops: Command) -> None:
    server.endpoints = ["churn", "fraud"]
    code, errors = mlops("dashboard", "--prometheus", server.url, "--print-url")
    assert code == ExitCode.BAD_INPUT
    assert "Prometheus knows churn, fraud; write --endpoint NAME" in errors


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["costs"], "there is no dashboard 'costs'; write one of endpoint, platform, training"),
        (["--grafana", "grafana.example.com"], "--grafana 'grafana.example.com' is not a URL; write one such as"),
        (["--upload"], "--upload needs the address of a Grafana; write --grafana URL"),
        (["--upload", "--grafana", GRAFANA], "GRAFANA_TOKEN is not set"),
    ],
)
def test_a_wrong_option_is_refused_with_the_way_out(mlops: Command, words: list[str], sentence: str) -> None:
    code, errors = mlops("dashboard", *words)
    assert code == ExitCode.BAD_INPUT
    assert sentence in errors


def test_all_dashboards_are_uploaded_with_the_token_over_those_of_before(
    server: Server, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", "right")
    code, shown = mlops("dashboard", "--upload", "--grafana", server.url)
    assert (code, shown.splitlines()) == (0, [f"{server.url}/d/mlops-{name}" for name in BOARDS])
    assert [(each["dashboard"]["title"], each["overwrite"]) for each in server.uploaded] == [
        (board.title, True) for board in BOARDS.values()
    ]


@pytest.mark.parametrize("token", ["secret\n", "secret\r", "sécret", "two secrets"])
def test_a_token_that_no_header_can_hold_is_refused_without_showing_it(
    server: Server, mlops: Command, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", token)
    code, errors = mlops("dashboard", "--upload", "--grafana", server.url)
    assert code == ExitCode.BAD_INPUT
    assert "GRAFANA_TOKEN has a character that no token has" in errors
    assert token.strip() not in errors


def test_a_refused_upload_names_the_reason_and_not_the_token(
    server: Server, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", "wrong-token")
    code, errors = mlops("dashboard", "--upload", "--grafana", server.url)
    assert code == ExitCode.FAILED
    assert f"{server.url} did not accept the dashboard endpoint: " in errors
    assert "401" in errors
    assert "wrong-token" not in errors
