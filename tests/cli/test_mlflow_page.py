"""`mlops mlflow`: a real MLflow behind its real gateway, on a port of this machine."""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from components.mlflow_gateway import IDENTITIES
from tests.components.test_mlflow_gateway import Guarded, guarded, mlflow

__all__ = ["guarded", "mlflow"]
pytestmark = pytest.mark.long
API = "/api/2.0/mlflow"
KUBECTL = """#!/bin/sh
echo "$@" >> {folder}/asked
case "$*" in
  *port-forward*) echo "Forwarding from {address} -> 5000"; exec sleep 600;;
  *"create token"*) cat {folder}/token;;
esac
"""


@dataclass
class Page:
    """Command that runs."""

    url: str
    folder: Path
    mlflow: Guarded

    def gives(self, **claims: float) -> None:
        """Let kubectl give a token of the account that reads, with some claims."""
        (self.folder / "token").write_text(self.mlflow.issuer.token(IDENTITIES["people"], header=None, **claims))

    def ask(self, path: str = "/", method: str = "GET", **headers: str) -> httpx.Response:
        return httpx.request(method, f"{self.url}{path}", headers=headers, json={} if method == "POST" else None)


@contextmanager
def page(mlflow: Guarded, folder: Path) -> Generator[Page]:
    """Run the command until the block ends."""
    programs = folder / "bin"
    programs.mkdir()
    kubectl = programs / "kubectl"
    kubectl.write_text(KUBECTL.format(folder=folder, address=urlsplit(mlflow.uri).netloc))
    kubectl.chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "KUBECONFIG": "none"}
    command = [Path(sys.executable).with_name("mlops"), "mlflow", "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = process.stdout.readline()
            assert said.startswith("MLflow: http://localhost:"), said
            yield Page(said.split()[1], folder, mlflow)
        finally:
            process.terminate()


def test_a_browser_reaches_mlflow_with_the_token_of_its_user_which_is_renewed(mlflow: Guarded, tmp_path: Path) -> None:
    with page(mlflow, tmp_path) as opened:
        read_and_write(opened)


def read_and_write(page: Page) -> None:
    assert httpx.get(f"{page.mlflow.uri}{API}/experiments/search?max_results=1").status_code == 401
    page.gives(exp=time.time() - 60)
    refused = page.ask(f"{API}/experiments/search?max_results=1")
    assert (refused.status_code, "Jwt is expired" in refused.text) == (401, True)
    page.gives()
    found = page.ask(f"{API}/experiments/search?max_results=1")
    assert (found.status_code, found.json()["experiments"][0]["name"]) == (200, "Default")
    assert "<html" in page.ask("/").text
    write = page.ask(f"{API}/registered-models/create", "POST")
    assert (write.status_code, write.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert "create token mlflow-people --audience mlflow" in (page.folder / "asked").read_text()


def test_another_web_page_cannot_use_the_token(guarded: Guarded, tmp_path: Path) -> None:
    search = f"{API}/experiments/search?max_results=1"
    with page(guarded, tmp_path) as opened:
        opened.gives()
        assert opened.ask(search, Origin=opened.url).status_code == 200
        for foreign in ({"Origin": "https://example.com"}, {"Host": "example.com"}, {"Host": "localhost:1"}):
            assert opened.ask(search, **foreign).status_code == 403, foreign
