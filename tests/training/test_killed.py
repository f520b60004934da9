"""A server is killed during a run, and a promotion between its calls; in the end the work is complete."""

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow.entities import LoggedModelStatus
from mlflow.tracking import MlflowClient

from tests.mlflow_server import Server
from tests.registry import Registry, write_sample
from tests.training.registry.test_promote import Made

pytestmark = pytest.mark.long

MLOPS = Path(sys.executable).with_name("mlops")
PATIENCE = 300  # seconds, for what takes a few


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mlflow"))
    made.start()
    yield made
    made.kill()


class Gate(ThreadingHTTPServer):
    """Proxy to a server. The first call of a kind gets no response, and later calls wait until the gate is opened."""

    def __init__(self, uri: str, holds: Callable[[str, str], bool]) -> None:
        super().__init__(("127.0.0.1", 0), Passage)
        self.behind = urlsplit(uri).netloc
        self.holds = holds
        self.uri = f"http://127.0.0.1:{self.server_port}"
        self.reached, self.opened = threading.Event(), threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing, because this test stops the server on purpose."""


class Passage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        gate = self.server
        assert isinstance(gate, Gate)
        if not gate.opened.is_set() and gate.holds(self.command, self.path):
            gate.reached.set()
            gate.opened.wait()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        behind = http.client.HTTPConnection(gate.behind)
        try:
            behind.request(self.command, self.path, body, {"Content-Type": "application/json"})
            answer = behind.getresponse()
            content = answer.read()
        finally:
            behind.close()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def do_PATCH(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del code, size  # silent


@contextmanager
def gate_to(uri: str, holds: Callable[[str, str], bool]) -> Generator[Gate]:
    with Gate(uri, holds) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.opened.set()
        made.shutdown()
        thread.join()


def test_a_server_killed_while_it_is_given_the_model_has_everything_once(server: Server, tmp_path: Path) -> None:
    write_sample(tmp_path / "churn.csv")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
        "PROJECT": "churn",
        "DATASET": str(tmp_path / "churn.csv"),
        "MODEL": "survivor",
        "EXPERIMENT": "survivor",
        "PARAMETERS": '{"n_estimators": 3}',
        "MLFLOW_PATIENCE_SECONDS": str(PATIENCE),
        "WORK_FOLDER": str(tmp_path / "work"),
    }
    with (
        gate_to(server.uri, lambda command, path: command == "PATCH" and "/logged-models/" in path) as way,
        subprocess.Popen(
            [sys.executable, "-m", "training.train"], env=environment | {"MLFLOW_TRACKING_URI": way.uri},
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as run,
    ):  # fmt: skip
        assert run.stdout
        assert way.reached.wait(PATIENCE)
        server.kill()
        way.opened.set()
        while not (line := run.stdout.readline()).startswith("MLflow does not respond"):
            assert line
        server.start()
        said = run.stdout.read().splitlines()
    assert (run.returncode, said[-1]) == (0, "registered survivor version 1")

    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("survivor")
    assert experiment
    (told,) = client.search_runs([experiment.experiment_id])
    assert told.info.status == "FINISHED"
    assert told.data.params["n_estimators"] == "3"
    assert {"accuracy", "f1_low", "roc_auc_high", "cost_cpu_seconds"} <= told.data.metrics.keys()
    assert told.inputs
    assert len(told.inputs.dataset_inputs) == 1
    assert {"roc.png", "environment.txt"} <= {file.name for file in Path(told.info.artifact_uri or "").iterdir()}
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert model.status == LoggedModelStatus.READY
    (version,) = client.search_model_versions("name = 'survivor'")
    assert version.source == f"models:/{model.model_id}"
    assert version.tags["project"] == "churn"
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("changes", [2, 4])
def test_a_promotion_killed_between_two_calls_is_completed_by_running_it_again(server: Server, changes: int) -> None:
    # Outside of S3 a version needs no report.
    model = Made(Registry(uri=server.uri, dataset=server.folder), source="gs://bucket/model")
    model.reach_production(1)
    model.passes(2, against=1)
    model.promote(2, "staging")
    left = iter(range(changes))
    with gate_to(server.uri, lambda command, _path: command != "GET" and next(left, None) is None) as way:
        command = [MLOPS, "promote", "--tracking-uri", way.uri, model.name, "2", "production"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as promotion:
            assert way.reached.wait(PATIENCE)
            promotion.kill()
    assert promotion.returncode == -signal.SIGKILL
    assert len(model.claims) == 1
    model.promote(2, "production")
    assert model.aliases == {"champion": 2, "previous": 1}
    assert model.tags(2)["promoted_to_production"]
    assert model.tags(1)["archived"]
    assert not model.claims
