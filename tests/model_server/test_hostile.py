"""Invalid and malicious requests against the real process: each gets an error, and the server goes on."""

import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow.exceptions import MlflowException

from model_server.predict import fallback
from tests.model_server.zoo import save_sklearn, trees

pytestmark = pytest.mark.long

LIMIT = 12_000_000
DEADLINE = 60  # seconds; the first refusal needs a part of MLflow that takes some to import
PATIENCE = 90
ROW = {"a": 0.5, "b": 3, "c": 1.5, "d": 2}
JSON = {"content-type": "application/json"}
GOOD = json.dumps({"dataframe_records": [ROW]}).encode()


class Server:
    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process, self.port = process, port

    def post(self, body: bytes, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("POST", "/invocations", body, JSON | {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        said = json.loads(answer.read())
        connection.close()
        return answer.status, said

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def megabytes(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a MODEL_DIR with version 1 of a model."""
    version = tmp_path_factory.mktemp("models") / "tree" / "1"
    return save_sklearn(version, trees.DecisionTreeClassifier(max_depth=3, random_state=1))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = cast("tuple[str, int]", probe.getsockname())[1]
    environment = {
        "MODEL": "tree",
        "MODEL_VERSION": "1",
        "MODEL_DIR": str(folder.parents[1]),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "MAX_REQUEST_BYTES": str(LIMIT),
        "DEADLINE_SECONDS": str(DEADLINE),
    }
    process = subprocess.Popen([sys.executable, "-m", "model_server.server"], env=os.environ | environment)
    started = Server(process, port)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            started.connect().close()
            break
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    started.post(b"{")
    yield started
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


@pytest.fixture(autouse=True)
def _goes_on(server: Server) -> Iterator[None]:
    """After each test, check that the server answers a request."""
    yield
    assert server.post(GOOD)[0] == 200


def read_all(connection: socket.socket) -> bytes:
    parts = list(iter(lambda: connection.recv(65536), b""))
    return b"".join(parts)


def head(length: int, *more: str) -> bytes:
    lines = ["POST /invocations HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def test_a_client_of_http_1_0_is_answered_and_let_go(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(head(len(GOOD)).replace(b"HTTP/1.1", b"HTTP/1.0") + GOOD)
        assert b" 200 OK\r\n" in read_all(connection)


def test_requests_sent_in_one_go_are_answered_in_order(server: Server) -> None:
    names = [f"X-Request-Id: number-{number}" for number in range(20)]
    with server.connect() as connection:
        connection.sendall(b"".join(head(len(GOOD), name) + GOOD for name in names[:-1]))
        connection.sendall(head(len(GOOD), names[-1], "Connection: close") + GOOD)
        said = read_all(connection).decode()
    assert said.count("HTTP/1.1 200 OK") == 20
    places = [said.lower().index(f"x-request-id: number-{number}\r") for number in range(20)]
    assert places == sorted(places)


def test_clients_that_leave_in_the_middle_leave_nothing_behind(server: Server) -> None:
    server.post(GOOD)
    before = server.descriptors()
    for cut in (b"", head(5000)[:30], head(5000), head(5000) + GOOD, head(len(GOOD)) + GOOD) * 20:
        with server.connect() as connection:
            connection.sendall(cut)
    deadline = time.monotonic() + PATIENCE
    while server.descriptors() > before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_hundred_megabytes_are_refused_without_being_kept(server: Server) -> None:
    before = server.megabytes()
    with server.connect() as connection:
        connection.sendall(head(100_000_000))
        sending = threading.Thread(target=send_until_refused, args=(connection, 100_000_000))
        sending.start()
        said = connection.recv(65536)
        sending.join()
    assert b" 413 " in said.splitlines()[0]
    assert server.megabytes() - before < 20


def send_until_refused(connection: socket.socket, size: int) -> None:
    block = b" " * 1_000_000
    try:
        for _ in range(size // len(block)):
            connection.sendall(block)
    except OSError:
        pass


def test_a_compressed_body_is_refused_and_never_unpacked(server: Server) -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    assert len(bomb) < LIMIT
    before = server.megabytes()
    status, said = server.post(bomb, content_encoding="gzip")
    assert (status, said["error_code"]) == (415, "INVALID_PARAMETER_VALUE")
    assert server.megabytes() - before < 30


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"dataframe_split":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"dataframe_records": [{"a": ' + b"9" * 5000 + b', "b": 1, "c": 1, "d": 1}]}',
        b'{"dataframe_records": [' + b'{"a":1},' * 3 + b"]}",
        json.dumps({"dataframe_records": [{f"column {at}": at for at in range(10_000)}]}).encode(),
        b'{"dataframe_records": [{"a": 1, "a": 2, "b": 1, "c": 1}]}',
        "{}".encode("utf-16"),
        b"\x00" * 1000,
        b'{"dataframe_records": [{"a": "\xff", "b": 1, "c": 1, "d": 1}]}',
        b"",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_cannot_be_read_is_refused_and_is_no_fault_of_ours(server: Server, body: bytes) -> None:
    status, said = server.post(body)
    assert status == 400
    assert said["error_code"] in {"BAD_REQUEST", "INVALID_PARAMETER_VALUE"}
    assert "stack_trace" not in said


def test_of_a_key_that_comes_twice_the_last_counts(server: Server) -> None:
    twice = b'{"dataframe_records": [{"a": 1, "a": 0.5, "b": 3, "c": 1.5, "d": 2}]}'
    assert server.post(twice) == server.post(GOOD)


def test_a_million_rows_are_answered_and_their_memory_comes_back(server: Server) -> None:
    rows = b",".join([b"[0,1,2,3]"] * 1_000_000)
    body = b'{"dataframe_split":{"columns":["a","b","c","d"],"data":[' + rows + b"]}}"
    held: list[float] = []
    for _ in range(8):  # each of the threads has met it after some, and what it frees comes back a little later
        status, said = server.post(body)
        assert (status, len(said["predictions"])) == (200, 1_000_000)
        held.append(server.megabytes())
    assert min(held[5:]) < 1.05 * max(held[:5])


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_what_is_no_number_of_json_is_answered_as_by_mlflow(server: Server, folder: Path, number: bytes) -> None:
    sent = GOOD.replace(b"0.5", number)
    pyfunc = cast("Any", fallback.load(folder))
    try:
        said = fallback.MLFLOW.invocations(sent, "application/json", pyfunc, pyfunc.metadata.get_input_schema())
        expected = 200, json.loads(said.response)
    except MlflowException as error:
        expected = error.get_http_status_code(), None
    status, answer = server.post(sent)
    assert (status, answer if status == 200 else None) == expected


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json; charset=latin-1", 415),
        ("application/json; charset=", 415),
        ("text/html", 415),
        ("application/json, text/csv", 415),
    ],
)
def test_the_declared_content_type_counts(server: Server, content_type: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("POST", "/invocations", GOOD, {"content-type": content_type})
    assert connection.getresponse().status == status
    connection.close()


def test_clients_that_send_their_headers_slowly_are_cut_and_take_nobodys_place(server: Server) -> None:
    server.post(GOOD)
    before = server.descriptors()
    slow = [server.connect() for _ in range(200)]
    for connection in slow:
        connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\n")
    assert server.post(GOOD)[0] == 200
    for connection in slow:
        with connection:
            assert read_all(connection).startswith(b"HTTP/1.1 408 ")
    deadline = time.monotonic() + PATIENCE
    while server.descriptors() > before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
