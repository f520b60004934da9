"""The real process: its start, its stop, and a rollout that loses no request."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPMessage
from pathlib import Path
from typing import Protocol, cast

import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

pytestmark = pytest.mark.long

CLIENTS = 20
JSON = {"content-type": "application/json"}
PATIENCE = 60  # seconds; a process needs 5 of them on an idle machine
NOT_BEGUN = "x-mlops-not-begun"  # components/router/configuration.py


SLEEPER = '''
import ctypes
import time

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel


class Sleeper(PythonModel):
    """Answers with what it got, after as many seconds; with less than none it crashes."""

    def predict(self, context, model_input: pd.DataFrame, params=None):
        if model_input["seconds"].min() < 0:
            ctypes.string_at(0)
        time.sleep(float(model_input["seconds"].max()))
        return [float(value) for value in model_input["seconds"]]


mlflow.models.set_model(Sleeper())
'''


class _Pyfunc(Protocol):
    def save_model(self, path: str, **more: object) -> None: ...


@pytest.fixture(scope="module")
def sleepers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a MODEL_DIR with versions 1 and 2 of a model that sleeps."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "sleeper.py").write_text(SLEEPER)
    for version in ("1", "2"):
        cast("_Pyfunc", mlflow.pyfunc).save_model(
            str(folder / "sleeper" / version),
            python_model=str(folder / "sleeper.py"),
            signature=ModelSignature(Schema([ColSpec("double", "seconds")]), Schema([ColSpec("double")])),
            input_example=pd.DataFrame({"seconds": [0.0]}),
            pip_requirements=[],
        )
    return folder


@dataclass
class Process:
    """A server process. `log` holds its lines so far, `headers` those of the last response to `ask`."""

    popen: subprocess.Popen[str]
    port: int
    log: list[str] = field(default_factory=list[str])
    headers: HTTPMessage = field(default_factory=HTTPMessage)

    def ask(self, seconds: float = 0) -> tuple[int, str]:
        """Return status and version of the response to one request on a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("POST", "/invocations", payload(seconds), JSON)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        self.headers = answer.headers
        return answer.status, answer.headers["x-model-version"]

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def ready(self) -> "Process":
        until(lambda: self.listens() or self.popen.poll() is not None)
        assert self.popen.poll() is None, "\n".join(self.log)
        return self

    def end(self, sent: signal.Signals = signal.SIGTERM) -> int:
        self.popen.send_signal(sent)
        return self.popen.wait(PATIENCE)


def payload(seconds: float) -> str:
    return json.dumps({"dataframe_records": [{"seconds": seconds}]})


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("tuple[str, int]", probe.getsockname())[1]


def start(models: Path, *, version: str = "1", port: str = "", **more: str) -> Process:
    port = port or str(free_port())
    environment = {
        "MODEL": "sleeper",
        "MODEL_VERSION": version,
        "MODEL_DIR": str(models),
        "HOST": "127.0.0.1",
        "PORT": port,
        "THREADS": str(CLIENTS),
    }
    popen = subprocess.Popen(
        [sys.executable, "-m", "model_server.server"],
        env=os.environ | more | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process = Process(popen, int(port))
    threading.Thread(target=read, args=(process,), daemon=True).start()
    return process


def read(process: Process) -> None:
    assert process.popen.stdout
    with process.popen.stdout as lines:
        process.log.extend(line.strip() for line in lines)


@pytest.fixture
def servers(sleepers: Path) -> Iterator[Callable[..., Process]]:
    """Start servers; kill those that still run after the test."""
    started: list[Process] = []

    def begin(**more: str) -> Process:
        started.append(start(sleepers, **more))
        return started[-1]

    yield begin
    for process in started:
        process.popen.kill()
        process.popen.wait()


class Client:
    """Sends requests one after the other, on one connection as long as the server keeps it open."""

    def __init__(self, address: Callable[[], int]) -> None:
        self.answers: list[tuple[int, str]] = []
        self.failures: list[Exception] = []
        self.told_to_close = 0
        self._address = address
        self._go_on = True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connection = None
        while self._go_on:
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self._address(), timeout=PATIENCE)
                connection.request("POST", "/invocations", payload(0.01), JSON)
                answer = connection.getresponse()
                answer.read()
                self.answers.append((answer.status, answer.headers["x-model-version"]))
                if answer.will_close:
                    self.told_to_close += 1
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)
                connection = None
        if connection:
            connection.close()

    def stop(self) -> None:
        self._go_on = False
        self._thread.join()


def test_a_rollout_under_load_loses_no_request_and_every_answer_names_its_version(
    servers: Callable[..., Process],
) -> None:
    """As in a cluster, preStop sends SIGUSR1, new connections go to another pod, and SIGTERM comes last."""
    starting = servers(version="1"), servers(version="2")
    old, new = (server.ready() for server in starting)
    current = old
    clients = [Client(lambda: current.port) for _ in range(CLIENTS)]

    def each_was_answered_by(version: str) -> bool:
        return all(client.answers[-1:] == [(200, version)] for client in clients)

    until(lambda: each_was_answered_by("1"))
    old.popen.send_signal(signal.SIGUSR1)
    until(lambda: all(client.told_to_close for client in clients))
    assert each_was_answered_by("1")
    current = new
    until(lambda: each_was_answered_by("2"))
    code = old.end(signal.SIGTERM)
    seen = sum(len(client.answers) for client in clients)
    until(lambda: sum(len(client.answers) for client in clients) > seen + 5 * CLIENTS)
    for client in clients:
        client.stop()

    assert code == 0
    assert [client.failures for client in clients] == [[]] * CLIENTS
    for client in clients:
        versions = [version for status, version in client.answers if status == 200]
        assert len(versions) == len(client.answers)
        assert versions == sorted(versions)
        assert set(versions) == {"1", "2"}


def stopped_amid(server: Process, *, seconds: float) -> tuple[int | None, list[tuple[int, str]]]:
    """Stop a server during a request of this many seconds. Return its exit code and the response."""
    answers: list[tuple[int, str]] = []
    asking = threading.Thread(target=lambda: answers.append(server.ask(seconds=seconds)))
    asking.start()
    until(lambda: in_flight(server) == 1)
    code = server.end(signal.SIGTERM)
    asking.join()
    return code, answers


def test_a_request_in_flight_is_answered_after_the_order_to_stop(servers: Callable[..., Process]) -> None:
    server = servers().ready()
    assert stopped_amid(server, seconds=1) == (0, [(200, "1")])
    assert not server.listens()
    assert '"message": "stopped"' in server.log[-1]


def test_a_request_that_takes_longer_than_a_stopping_server_has_gets_a_response(
    servers: Callable[..., Process],
) -> None:
    server = servers(DRAIN_SECONDS="1").ready()
    assert stopped_amid(server, seconds=20) == (0, [(503, "1")])
    assert NOT_BEGUN not in server.headers, "a router must not send it again: it may be what stops the server"


def test_a_request_that_comes_after_the_order_to_stop_is_sent_elsewhere_and_not_cut(
    servers: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "why").touch()
    server = servers(TERMINATION_LOG=str(tmp_path / "why")).ready()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    assert said_on(connection)[0] == 200
    server.popen.send_signal(signal.SIGTERM)
    until(lambda: not server.listens())
    status, answer = said_on(connection)
    assert (status, answer.headers["retry-after"], answer.will_close) == (503, "1", True)
    assert NOT_BEGUN in answer.headers, "a router may send it to another pod"
    assert server.popen.wait(PATIENCE) == 0
    assert (tmp_path / "why").read_text() == ""


def test_a_model_that_crashes_the_process_leaves_word_of_it(servers: Callable[..., Process], tmp_path: Path) -> None:
    (tmp_path / "why").touch()
    server = servers(TERMINATION_LOG=str(tmp_path / "why")).ready()
    with pytest.raises((OSError, http.client.HTTPException)):
        server.ask(seconds=-1)
    assert server.popen.wait(PATIENCE) == -signal.SIGSEGV
    until(lambda: any(line == "Fatal Python error: Segmentation fault" for line in server.log))
    assert (
        (tmp_path / "why")
        .read_text()
        .startswith("sleeper version 1: the process died without a message. Exit code 139")
    )


def said_on(connection: http.client.HTTPConnection) -> tuple[int, http.client.HTTPResponse]:
    connection.request("POST", "/invocations", payload(0), JSON)
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer


def in_flight(server: Process) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return float(re.findall(r"^serving_requests_in_flight\{.*\} (.*)$", text, re.MULTILINE)[0])


def test_a_server_that_listens_is_warm_and_logs_json_alone(servers: Callable[..., Process]) -> None:
    server = servers(version="2").ready()
    assert server.ask() == (200, "2")
    server.end()
    messages = [json.loads(line)["message"] for line in server.log]
    assert messages[0].startswith("sleeper version 2 loaded and warm in ")
    assert messages[1:] == ["stopped"]


def test_an_order_to_stop_while_the_model_loads_ends_the_process_well(servers: Callable[..., Process]) -> None:
    server = servers()
    until(lambda: holds(server.port))
    assert server.end() == 0


def holds(port: int) -> bool:
    """Return whether a process has bound the port, even if it does not listen yet."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def test_a_port_that_is_taken_is_reported_at_once(servers: Callable[..., Process], tmp_path: Path) -> None:
    (tmp_path / "why").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = cast("tuple[str, int]", taken.getsockname())[1]
        server = servers(port=str(port), TERMINATION_LOG=str(tmp_path / "why"))
        assert server.popen.wait(PATIENCE) == 1
    said = f"cannot listen on 127.0.0.1:{port}: Address already in use; stop the process that uses it, or set PORT"
    assert (tmp_path / "why").read_text() == said


def test_a_version_that_is_no_number_ends_the_start_for_good(servers: Callable[..., Process], tmp_path: Path) -> None:
    (tmp_path / "why").touch()
    server = servers(version="latest", TERMINATION_LOG=str(tmp_path / "why"))
    assert server.popen.wait(PATIENCE) == 2
    assert (tmp_path / "why").read_text().startswith("MODEL_VERSION='latest' is wrong")
