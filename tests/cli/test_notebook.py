"""`mlops notebook`: JupyterLab, and the MLflow that the runs of its notebooks reach."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from cli import notebook
from components.mlflow_gateway import IDENTITIES
from tests.cli.test_mlflow_page import API, KUBECTL
from tests.command import Command
from tests.components.test_mlflow_gateway import Guarded, guarded, mlflow

__all__ = ["guarded", "mlflow"]


def test_a_local_store_is_the_same_for_every_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with notebook.environment(None, "sqlite:///mlflow.db") as variables:
        assert variables["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
        assert len(variables["GIT_COMMIT"].removesuffix("-dirty")) == 40


def test_an_address_that_is_not_one_of_mlflow_is_refused_before_jupyter_starts(mlops: Command) -> None:
    code, said = mlops("notebook", "--tracking-uri", "mlflow.db")
    assert (code, said.startswith("mlops: 'mlflow.db' is not an address of MLflow; write --tracking-uri")) == (2, True)


@pytest.mark.long
def test_the_mlflow_of_a_cluster_is_reached_through_kubectl_with_the_users_token(
    guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL.format(folder=tmp_path, address=urlsplit(guarded.uri).netloc))
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "token").write_text(guarded.issuer.token(IDENTITIES["people"], header=None))
    with notebook.environment("prod", None) as variables:
        found = httpx.get(f"{variables['MLFLOW_TRACKING_URI']}{API}/experiments/search?max_results=1")
    assert found.status_code == 200
    assert "--context prod" in (tmp_path / "asked").read_text()


@pytest.mark.long
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_jupyterlab_serves_until_the_command_ends(tmp_path: Path, end: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("mlops"), "notebook", "--no-browser", "--port", str(port)]
    with subprocess.Popen([*command, "--tracking-uri", "sqlite:///mlflow.db"], cwd=tmp_path) as process:
        try:
            while not _responds(port):
                assert process.poll() is None
                time.sleep(0.1)
        finally:
            process.send_signal(end)
        assert process.wait() == 0
    assert not _responds(port)


def _responds(port: int) -> bool:
    try:
        return httpx.get(f"http://localhost:{port}/api", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
