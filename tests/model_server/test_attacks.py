"""Attacks on the memory, the connections and the metrics of a real server process."""

import http.client
import json
import os
import random
import re
import resource
import signal
import socket
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Protocol, cast

import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

pytestmark = pytest.mark.long

MIB = 1 << 20
LIMIT = 10 * MIB  # of a body
POD = 1024 * MIB  # memory limit of a pod
PATIENCE = 60
JSON = {"content-type": "application/json"}
CUSTOMER = "Ada Example of 1 Sample Street"
ECHO = '''
import time

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel


class Echo(PythonModel):
    """Responds with the text of the request, as a model that extracts or writes text may do."""

    def predict(self, context, model_input: pd.DataFrame, params=None):
        if model_input["text"].iloc[0] == "slow":
            time.sleep(2)
        return model_input["text"].tolist()


mlflow.models.set_model(Echo())
'''


class _Pyfunc(Protocol):
    def save_model(self, path: str, **more: object) -> None: ...


class Server:
    def __init__(self, folder: Path, **more: str) -> None:
        self.port, self.probe_port = free_port(), free_port()
        environment = {
            "MODEL": "echo",
            "MODEL_VERSION": "1",
            "MODEL_DIR": str(folder),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "PROBE_PORT": str(self.probe_port),
            "MEMORY_BYTES": str(POD),
            "THREADS": "2",
        }
        command = [sys.executable, "-m", "model_server.server"]
        self.process = subprocess.Popen(command, env=os.environ | environment | more)
        self.wait_for(lambda: listens(self.port) and listens(self.probe_port))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.01)

    def ask(self, method: str, path: str, body: bytes | None = None, port: int = 0) -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=PATIENCE)) as connection:
            connection.request(method, path, body, JSON)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def predict(self, text: str = "a", size: int = 0) -> int:
        return self.ask("POST", "/invocations", payload(text).ljust(size))[0]

    def predicts(self) -> bool:
        """Return whether the server takes a request now: it may refuse one, or cut it before its body is sent."""
        try:
            return self.predict() == 200
        except ConnectionError:
            assert self.process.poll() is None
            return False

    def probes(self) -> list[int]:
        return [self.ask("GET", path, port=self.probe_port)[0] for path in ("/ping", "/health", "/metrics")]

    def metric(self, name: str) -> float:
        _, text = self.ask("GET", "/metrics", port=self.probe_port)
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (.*)$", text, re.MULTILINE))

    def evicted(self) -> float:
        return self.metric("serving_clients_evicted_total")

    def wait_for_responses(self, number: float) -> None:
        self.wait_for(lambda: self.metric("serving_response_bytes_count") == number)

    def megabytes(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB

    def send(self, data: bytes) -> socket.socket:
        """Send the data on a new connection, as far as the server takes it."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        try:
            connection.sendall(data)
        except OSError:
            assert self.process.poll() is None
        return connection


def payload(text: str) -> bytes:
    return json.dumps({"dataframe_records": [{"text": text}]}).encode()


def head(length: int, *more: str) -> bytes:
    lines = ["POST /invocations HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("tuple[str, int]", probe.getsockname())[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def status(connection: socket.socket) -> int:
    """Return the status of the next response on the connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def read_all(connection: socket.socket) -> bytes:
    """Return all that the server sends until it closes the connection."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "echo.py").write_text(ECHO)
    cast("_Pyfunc", mlflow.pyfunc).save_model(
        str(folder / "echo" / "1"),
        python_model=str(folder / "echo.py"),
        signature=ModelSignature(Schema([ColSpec("string", "text")]), Schema([ColSpec("string")])),
        input_example=pd.DataFrame({"text": ["a"]}),
        pip_requirements=[],
    )
    return folder


@contextmanager
def running(echo: Path, **more: str) -> Generator[Server]:
    server = Server(echo, **more)
    yield server
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0


@pytest.fixture(scope="module")
def server(echo: Path) -> Iterator[Server]:
    """Return the server that all attacks meet, one after the other. It has met MLflow's functions before."""
    with running(echo) as started:
        started.predict(size=LIMIT)
        started.ask("POST", "/invocations", b"{")
        yield started


@pytest.fixture(autouse=True)
def _goes_on(server: Server) -> Iterator[None]:
    """After each attack, check that the server predicts, answers its probes and holds no body."""
    yield
    assert server.predict() == 200
    assert server.probes() == [200, 200, 200]
    server.wait_for(lambda: server.metric("serving_body_bytes") == 0)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow this process to open as many files as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def send_parts(connection: socket.socket, parts: Sequence[bytes]) -> None:
    for part in parts:
        connection.sendall(part)


def in_parallel(tasks: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_eighty_bodies_that_lack_one_byte_do_not_fill_the_memory_of_a_pod(server: Server) -> None:
    """Before the budget, these clients took a pod from 239 to 1,038 MiB within three seconds."""
    before, cut, data = server.megabytes(), server.evicted(), head(LIMIT) + b" " * (LIMIT - 1)
    with ExitStack() as open_connections:
        attack = [lambda: open_connections.push(server.send(data)) for _ in range(20)]
        for _ in range(4):
            in_parallel(cast("Sequence[Callable[[], None]]", attack))
            assert server.megabytes() - before < POD / MIB / 4
            assert server.predict() == 200
            assert server.predict(size=LIMIT) == 200
        assert server.probes() == [200, 200, 200]
        assert server.evicted() - cut > 60


@pytest.mark.usefixtures("many_files")
def test_a_thousand_slow_clients_fail_no_probe_and_no_other_client(server: Server) -> None:
    """Before the eviction, both probes got 503, and the kubelet killed a healthy server."""
    cut = server.evicted()
    with ExitStack() as open_connections:
        for _ in range(1001):
            open_connections.enter_context(server.send(head(1000) + b"{"))
        assert server.probes() == [200, 200, 200]
        server.wait_for(server.predicts)
        assert [server.ask("GET", path)[0] for path in ("/ping", "/health")] == [200, 200]
        assert server.probes() == [200, 200, 200]
        assert server.evicted() > cut


def test_unread_responses_do_not_fill_the_memory_of_a_pod(server: Server) -> None:
    before, cut, data = server.megabytes(), server.evicted(), payload("a" * (LIMIT - 100))
    responses = server.metric("serving_response_bytes_count")
    with ExitStack() as open_connections:
        for number in range(60):
            open_connections.push(server.send(head(len(data)) + data))
            server.wait_for_responses(responses + number + 1)
        assert server.megabytes() - before < POD / MIB / 2
        assert server.predict() == 200
        assert server.evicted() - cut > 40


def test_of_two_senders_the_one_that_stopped_makes_room(echo: Path) -> None:
    """The budget of 256 KiB has room for two bodies and a half."""
    with running(echo, MAX_REQUEST_BYTES="100000", MEMORY_BYTES=str(2 * MIB)) as small:
        stopped = small.send(head(100_000) + b" " * 99_000)
        with small.send(head(100_000) + b" " * 90_000) as going_on:
            small.wait_for(lambda: small.metric("serving_body_bytes") == 189_000)
            going_on.sendall(b" " * 5000)
            small.wait_for(lambda: small.metric("serving_body_bytes") == 194_000)
            assert small.predict(size=100_000) == 200
            assert b" 408 " in read_all(stopped).splitlines()[0]
            going_on.sendall(payload("a").rjust(5000))
            assert status(going_on) == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(server: Server) -> None:
    with server.send(head(LIMIT + 1)) as connection:
        assert status(connection) == 413
        connection.sendall(b" " * (LIMIT + 1) + head(len(payload("a"))) + payload("a"))
        assert status(connection) == 200
    waiting = server.send(head(LIMIT + 1, "Expect: 100-continue"))
    assert b" 413 " in read_all(waiting).splitlines()[0]


def test_a_client_that_goes_on_sending_after_its_refusal_is_cut(server: Server) -> None:
    before = server.megabytes()
    with server.send(head(100 * LIMIT)) as connection, pytest.raises(ConnectionError):
        send_parts(connection, [b" " * LIMIT] * 100)
    assert server.megabytes() - before < 20


def test_the_text_that_a_model_returns_is_not_in_the_metrics(server: Server) -> None:
    counted = server.metric("serving_predictions_total")
    assert server.predict(CUSTOMER) == 200
    _, text = server.ask("GET", "/metrics", port=server.probe_port)
    assert CUSTOMER not in text
    assert server.metric("serving_predictions_total") == counted + 1


def test_a_client_with_ever_new_paths_methods_headers_and_values_adds_no_series(server: Server) -> None:
    def series() -> set[str]:
        _, text = server.ask("GET", "/metrics", port=server.probe_port)
        return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}

    def attack(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(300):
            word = "".join(chosen.choices(string.ascii_letters + string.digits, k=chosen.randint(1, 40)))
            method = chosen.choice(["GET", "POST", "PUT", "DELETE", word.upper()])
            path = chosen.choice(["/invocations", f"/{word}", f"/invocations?{word}={word}", f"/{word}/metrics"])
            labels = {"X-Request-Id": word, "X-Model-Version": word, "X-Mlops-Experiment": word, f"X-{word}": word}
            content = chosen.choice([*JSON.values(), f"text/{word}", "text/csv"])
            text = chosen.choice([payload(word), word.encode(), json.dumps({word: [word]}).encode()])
            with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
                connection.request(method, path, text, {**labels, "Content-Type": content})
                connection.getresponse().read()

    attack(1)  # each status that the server can answer has a series from its first response on
    before = series()
    attack(2)
    assert series() == before


def test_the_port_for_probes_has_metrics_also_through_a_proxy_and_makes_no_predictions(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.probe_port, timeout=PATIENCE)
    connection.request("GET", "/metrics", headers={"X-Forwarded-For": "203.0.113.7"})
    assert connection.getresponse().status == 200
    connection.close()
    assert server.ask("POST", "/invocations", payload("a"), port=server.probe_port)[0] == 404


def test_a_server_that_stops_answers_probes_until_its_last_request_is_done(echo: Path) -> None:
    statuses: list[int] = []
    with running(echo) as stopping:
        last = threading.Thread(target=lambda: statuses.append(stopping.predict("slow")))
        last.start()
        stopping.wait_for(lambda: stopping.metric("serving_requests_in_flight") == 1)
        stopping.process.send_signal(signal.SIGTERM)
        stopping.wait_for(lambda: not listens(stopping.port))
        assert stopping.probes() == [200, 200, 200]
        last.join()
    assert statuses == [200]
