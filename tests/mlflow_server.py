"""Real MLflow server on this machine."""

import os
import signal
import socket as sockets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit


class Server:
    """MLflow process with its own store, which survives when the process is killed."""

    def __init__(
        self,
        folder: Path,
        artifacts: str = "",
        environment: Mapping[str, str] | None = None,
        *,
        socket: Path | None = None,
    ) -> None:
        """`socket` is a file on which the server listens instead of a port."""
        self.folder = folder
        self.socket = socket
        self.artifacts = artifacts or str(folder / "artifacts")
        self.environment = environment or {}
        with sockets.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.uri = f"http://127.0.0.1:{free.getsockname()[1]}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(urlsplit(self.uri).port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--no-serve-artifacts"]
        command += ["--default-artifact-root", self.artifacts]
        command += ["--uvicorn-opts", f"--uds {self.socket}"] if self.socket else []
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment = {**os.environ, **self.environment, **quiet}
        with (self.folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill the server and its workers at once."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        if self.socket:
            with sockets.socket(sockets.AF_UNIX) as probe:
                return probe.connect_ex(str(self.socket)) == 0
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
        except OSError:
            return False
        return True
