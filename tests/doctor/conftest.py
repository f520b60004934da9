"""A cluster behind a fake kubectl, and an MLflow and an endpoint that respond as a test says."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from typing_extensions import override

from doctor.checks import Surroundings, checks
from doctor.examination import examine
from doctor.findings import Finding, Level
from doctor.stack_file import Stack
from tests.command import mlops

__all__ = ["mlops"]

Json = Mapping[str, Any]
CPU: Mapping[str, str] = {"mlops/node-pool": "cpu"}
NOW = datetime.now(UTC)


def pem(ends: datetime) -> str:
    """A certificate that ends then, as a kubeconfig has it."""
    authority = trustme.CA()
    issued = authority.issue_cert("cluster.example", not_after=ends)
    return base64.b64encode(issued.cert_chain_pems[0].bytes()).decode()


def node(name: str, *, labels: Mapping[str, str] = CPU, cpu: str = "4", **changes: object) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": changes.get("spec", {}),
        "status": {
            "allocatable": {"cpu": cpu, "memory": "16Gi", **({"nvidia.com/gpu": "1"} if labels != CPU else {})},
            "conditions": changes.get("conditions", [{"type": "Ready", "status": "True"}]),
            "images": [
                {"names": [f"lab.local/{each}:1"]} for each in ("tracking", "training", "serving", "postgres", "s3")
            ],
        },
    }


def pod(name: str, *, ready: bool = True, phase: str = "Running", **status: object) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "metadata": {"name": name, "namespace": "ml-serving"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "server"}]},
        "status": {"phase": phase, "conditions": conditions, **status},
    }


def container(**state: object) -> dict[str, Any]:
    return {"name": "server", "restartCount": 3, "ready": False, **state}


def deployment(version: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/instance": "churn-predictor", "app.kubernetes.io/version": version}
    return {"metadata": {"name": "churn-predictor", "labels": labels}}


@dataclass
class World:
    """A cluster, an MLflow and an endpoint."""

    folder: Path
    objects: dict[str, Any]
    """Answers of kubectl."""
    responses: dict[str, tuple[int, Any]] = field(default_factory=dict[str, tuple[int, Any]])
    """Status and content of MLflow's and the endpoint's response to each path."""
    served: str = "1"
    """Version that the endpoint's response names."""
    methods: list[str] = field(default_factory=list[str])
    """Methods of all HTTP requests."""

    def write(self) -> None:
        """Let kubectl give the answers."""
        (self.folder / "answers.json").write_text(json.dumps(self.objects))

    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "WORLD": str(self.folder)}

    def words(self) -> list[list[str]]:
        """Command lines of kubectl."""
        return [json.loads(line) for line in (self.folder / "asked").read_text().splitlines()]

    def findings(self, stack: Stack, name: str) -> list[Finding]:
        """Make one check of the stack."""
        self.write()
        around = Surroundings(environment=self.environment(), folder=self.folder)
        made = [replace(check, needs=None) for check in checks(stack, around) if check.name == name]
        (report,) = examine(made)
        return [*report.findings]

    def faults(self, stack: Stack, name: str) -> list[Finding]:
        """Make one check of the stack, and return what is not ok."""
        return [each for each in self.findings(stack, name) if each.level is not Level.OK]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A healthy cluster in which the stack of `local` runs."""
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir(exist_ok=True)
    kubectl.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("kubectl_double.py")} "$@"\n')
    kubectl.chmod(0o755)
    far = pem(NOW + timedelta(days=300))
    found = World(
        folder=tmp_path,
        objects={
            "version": {
                "clientVersion": {"gitVersion": "v1.36.4", "minor": "36"},
                "serverVersion": {"gitVersion": "v1.35.4", "minor": "35+"},
            },
            "config": {
                "clusters": [{"cluster": {"certificate-authority-data": far}}],
                "users": [{"user": {"client-certificate-data": far}}],
            },
            "get nodes": [node("node-1"), node("node-2", labels={"mlops/node-pool": "gpu"})],
            "get namespaces": [{"metadata": {"name": "mlops-platform"}}],
            "get pods": [],
            "get pods ml-serving": [pod("churn-predictor-1")],
            "get deployments ml-serving": [deployment("1")],
        },
        responses={
            "/health": (200, "OK"),
            "/ping": (200, ""),
            "/api/2.0/mlflow/registered-models/get": (
                200,
                {"registered_model": {"aliases": [{"alias": "champion", "version": "1"}]}},
            ),
            "/api/2.0/mlflow/model-versions/get": (200, {"model_version": {"version": "1"}}),
        },
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.methods.append(self.command)
            status, content = found.responses[self.path.partition("?")[0]]
            self.send_response(status)
            self.send_header("X-Model-Version", found.served)
            self.end_headers()
            self.wfile.write((content if isinstance(content, str) else json.dumps(content)).encode())

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        found.objects |= {"forward mlflow": address, "forward churn-predictor": address}
        yield found
        server.shutdown()
