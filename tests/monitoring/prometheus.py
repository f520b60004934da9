"""Real Prometheus on this machine, over real model servers that run as processes."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lab import paths
from monitoring import rules, scrape
from monitoring.spec import Platform

PATIENCE = 120  # seconds; on an idle machine a server starts in 5


@dataclass(frozen=True, kw_only=True)
class Target:
    """Pod that Prometheus scrapes."""

    job: str
    """Name of the scrape job."""
    endpoint: str
    """Name of the endpoint, as the pod's label."""
    port: int
    """Port of this machine with /metrics."""


@dataclass(frozen=True)
class Prometheus:
    """Running Prometheus."""

    url: str

    def query(self, expr: str) -> list[Any]:
        """Return the series of a query now."""
        return self.get(f"/api/v1/query?{urllib.parse.urlencode({'query': expr})}")["data"]["result"]

    def get(self, path: str) -> Any:
        """Return a JSON response."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=PATIENCE) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.read().decode()}") from error


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("tuple[str, int]", probe.getsockname())[1]


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited too long: {what}"
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Return whether a GET request gets status 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


@contextmanager
def process(command: Sequence[str | Path], ready: str, log: Path, **environment: str) -> Generator[None]:
    """Run a program until the block ends; the block begins when the URL `ready` answers."""
    with log.open("w") as file:
        running = subprocess.Popen(command, env={**os.environ, **environment}, stdout=file, stderr=file)
    try:
        until(lambda: answers(ready) or running.poll() is not None, str(command[0]))
        assert running.poll() is None, log.read_text()
        yield
    finally:
        running.kill()
        running.wait()


@contextmanager
def model_server(models: Path, model: str, version: int, folder: Path, **more: str) -> Generator[tuple[int, int]]:
    """Yield the ports for requests and for metrics of a real model server."""
    port, probe = free_port(), free_port()
    environment = {"MODEL": model, "MODEL_VERSION": str(version), "MODEL_DIR": str(models), "HOST": "127.0.0.1"}
    environment |= {"PORT": str(port), "PROBE_PORT": str(probe), "THREADS": "1", **more}
    log = folder / f"{model}-{version}.log"
    command = [sys.executable, "-m", "model_server.server"]
    with process(command, f"http://127.0.0.1:{probe}/ping", log, **environment):
        yield port, probe


@contextmanager
def prometheus(
    platform: Platform, targets: Sequence[Target], folder: Path, alertmanagers: Sequence[str] = (), *, seconds: int = 1
) -> Generator[Prometheus]:
    """Yield a Prometheus with the platform's rules and scrape jobs; `seconds` are between two scrapes.

    Only the discovery differs from the cluster's: the targets are named, with the labels that discovery would give.
    """
    config = scrape.config(rule_files=["rules.yml"], alertmanagers=alertmanagers, interval_seconds=seconds)
    for job in config["scrape_configs"]:
        del job["kubernetes_sd_configs"]
        job["static_configs"] = [_discovered(each) for each in targets if each.job == job["job_name"]]
    (folder / "prometheus.yml").write_text(json.dumps(config))
    (folder / "rules.yml").write_text(json.dumps(rules.document(platform)))
    port = free_port()
    command = [
        paths.binaries() / "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url = f"http://127.0.0.1:{port}"
    with process(command, f"{url}/-/ready", folder / "prometheus.log"):
        yield Prometheus(url)


def _discovered(target: Target) -> Mapping[str, Any]:
    return {
        "targets": [f"127.0.0.1:{target.port}"],
        "labels": {
            scrape.ENDPOINT: target.endpoint,
            "__meta_kubernetes_namespace": scrape.SPACES[target.job],
            "__meta_kubernetes_pod_name": f"{target.endpoint}-{target.port}",
            "__meta_kubernetes_pod_phase": "Running",
            "__meta_kubernetes_pod_container_port_name": scrape.PORT,
        },
    }
