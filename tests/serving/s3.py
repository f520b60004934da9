"""A bucket in memory that speaks as much of S3 as putting objects takes."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "word", "AWS_REGION": "eu-west-1"}


@dataclass
class Bucket:
    """`objects` by key. While `down`, requests are answered 503; `before_answer` runs when an object is there."""

    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])
    puts: int = 0
    down: bool = False
    before_answer: Callable[[], object] = lambda: None
    port: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """How a client finds it."""
        return {
            **KEYS,
            "ARTIFACT_BUCKET": "bucket",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    bucket: Bucket


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        bucket = cast("_Server", self.server).bucket
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not bucket.down:
            bucket.puts += 1
            bucket.objects[self.path.removeprefix("/bucket/").replace("%3D", "=")] = body
            bucket.before_answer()
        self.send_response(503 if bucket.down else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del code, size  # silent


@contextmanager
def bucket() -> Generator[Bucket]:
    """An empty one, for as long as the block runs."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.bucket = Bucket(port=server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.bucket
        server.shutdown()
        thread.join()
