"""A cluster behind a fake kubectl, and the command line in this process."""

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from runs import follow
from tests.command import mlops
from tests.engine_double import pulumi
from tests.registry import Registry
from tests.registry import registry as shared_registry
from tests.runs.world import World

__all__ = ["mlops", "pulumi", "shared_registry"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return an empty cluster, with its fake kubectl first on PATH."""
    for folder in ("scenes", "logs", "bin"):
        (tmp_path / folder).mkdir()
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("kubectl.py")} "$@"\n')
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{kubectl.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("WORLD", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setattr(follow, "SECONDS_BETWEEN_POLLS", 0.01)
    return World(tmp_path)


@pytest.fixture(scope="module")
def registry(shared_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Return a copy of the shared registry, because the jobs of all modules have the same name."""
    own = tmp_path_factory.mktemp("registry") / "mlflow.db"
    with (
        closing(sqlite3.connect(shared_registry.uri.removeprefix("sqlite:///"))) as shared,
        closing(sqlite3.connect(own)) as copy,
    ):
        shared.backup(copy)
    return replace(shared_registry, uri=f"sqlite:///{own}")


@pytest.fixture(scope="module")
def mlflow_address(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a real MLflow server that accepts only the host name of its Service."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", registry.uri]
    command += ["--workers", "1", "--port", address.rpartition(":")[2], "--allowed-hosts", "mlflow.mlops-platform:5000"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    folder = tmp_path_factory.mktemp("mlflow")
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT) as server,
    ):
        try:
            while not _answers(address):
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
            yield address
        finally:
            server.terminate()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/health").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def mlflow(world: World, mlflow_address: str) -> None:
    """Forward the cluster's Service mlflow to the server."""
    (world.folder / "mlflow").write_text(mlflow_address)
