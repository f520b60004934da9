"""Requests to an endpoint, and the version that it serves."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from training.ending import BadInputError, FailedError
from training.validation import endpoint


@contextmanager
def answering(status: int, version: str | None, body: bytes = b"") -> Generator[str]:
    """Yield the URL of a server that responds to every GET request in the same way."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if version is not None:
                self.send_header("X-Model-Version", version)
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            del code, size  # silent

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_version_is_the_one_in_the_header() -> None:
    with answering(200, "8") as url:
        assert (endpoint.served_version(url), endpoint.tested_version(url)) == (8, 8)


@pytest.mark.parametrize("version", [None, "", "latest", "-1"])
def test_a_server_without_a_version_number_cannot_be_tested(version: str | None) -> None:
    with answering(200, version) as url:
        assert endpoint.served_version(url) is None
        with pytest.raises(BadInputError, match="has no version number in X-Model-Version"):
            endpoint.tested_version(url)


def test_an_endpoint_that_is_not_ready_is_another_matter_than_a_wrong_one() -> None:
    with answering(503, "8", b'{"message": "All prediction threads hang"}') as url:
        assert endpoint.served_version(url) is None
        with pytest.raises(FailedError, match=r"/ping responds 503 \(All prediction threads hang\); wait until"):
            endpoint.tested_version(url)


def test_an_endpoint_that_does_not_respond_is_reported_with_the_reason() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(FailedError, match=r"/ping does not respond \(.*[Rr]efused"):
            endpoint.tested_version(url)


def test_a_long_message_is_cut_and_reported_on_one_line() -> None:
    with answering(500, None, b"no\n" * 1000) as url:
        said = endpoint.send(url).said
    assert said.startswith("responds 500 (no no no")
    assert len(said) < 200
