"""Fixtures: the shared registry and a small S3 server."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from tests.registry import registry

__all__ = ["registry"]

HERE = "tenure,total,contract,churn\n1,10.5,Monthly,No\n2,,Yearly,Yes\n3, ,Monthly,No\n"
ODD_KEYS = ("left#2.csv", "left?2.csv", "left%232.csv", "a b+c.csv", "/left.csv", "left.csv?versionId=1#x")
"""Keys that a URL parser would read as another, existing key."""


class _S3(BaseHTTPRequestHandler):
    """Responds as S3 does; the key decides the status."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, code = {
            "/bucket/here.csv": (200, ""),
            "/bucket/left": (200, ""),
            "/bucket/left.csv": (200, ""),
            "/bucket/secret.csv": (403, "AccessDenied"),
            "/bucket/odd.csv": (400, "Odd"),
        }.get(self.path, (404, "NoSuchKey"))
        key = unquote(self.path.removeprefix("/bucket/"))
        if key in ODD_KEYS:
            status, body = 200, HERE + f"{3 + len(key)},,Yearly,No\n"
        else:
            body = HERE if status == 200 else f"<Error><Code>{code}</Code><Message>it is so</Message></Error>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del code, size  # silent


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _S3) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "word")
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        yield
        server.shutdown()
        thread.join()
