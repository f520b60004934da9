"""In-memory S3 server with the operations that the tests need."""

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree.ElementTree import Element, SubElement, tostring

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "word", "AWS_REGION": "eu-west-1"}


@dataclass
class Bucket:
    """Content of the only bucket: `objects` by key.

    While `down` is set, requests get 503. `before_answer` runs after an object is stored. A listing has pages of
    `listed` objects, and gives their sizes, or those in `sizes`.
    """

    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])
    metadata: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    sizes: dict[str, int] = field(default_factory=dict[str, int])
    listed: int = 1000
    puts: int = 0
    down: bool = False
    before_answer: Callable[[], object] = lambda: None
    port: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables that lead a client to this server."""
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
            bucket.objects[self._key] = body
            bucket.metadata[self._key] = {k: v for k, v in self.headers.items() if k.lower().startswith("x-amz-meta-")}
            bucket.before_answer()
        self._answer(503 if bucket.down else 200)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        bucket = cast("_Server", self.server).bucket
        if bucket.down:
            self._answer(503)
        elif "?list-type=2" in self.path:
            self._answer(200, self._list(bucket))
        elif self._key in bucket.objects:
            self._answer(200, bucket.objects[self._key], bucket.metadata.get(self._key))
        else:
            self._answer(404)

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path.removeprefix("/bucket/"))

    def _list(self, bucket: Bucket) -> bytes:
        asked = dict(parse_qsl(urlsplit(self.path).query))
        keys = [key for key in sorted(bucket.objects) if key.startswith(asked["prefix"])]
        if delimiter := asked.get("delimiter"):
            below = len(asked["prefix"])
            folders = {key[: key.index(delimiter, below) + 1] for key in keys if delimiter in key[below:]}
            keys = [key for key in keys if delimiter not in key[below:]]
        else:
            folders = set[str]()
        start = int(asked.get("continuation-token", 0))
        end = start + bucket.listed
        root = Element("ListBucketResult", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
        for folder in sorted(folders):
            SubElement(SubElement(root, "CommonPrefixes"), "Prefix").text = folder
        for key in keys[start:end]:
            entry = SubElement(root, "Contents")
            SubElement(entry, "Key").text = key
            SubElement(entry, "ETag").text = f'"{sha256(bucket.objects[key]).hexdigest()}"'
            SubElement(entry, "Size").text = str(bucket.sizes.get(key, len(bucket.objects[key])))
        SubElement(root, "IsTruncated").text = str(end < len(keys)).lower()
        if end < len(keys):
            SubElement(root, "NextContinuationToken").text = str(end)
        return tostring(root)

    def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del code, size  # silent


@contextmanager
def bucket() -> Generator[Bucket]:
    """Run a server with an empty bucket while the block runs."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.bucket = Bucket(port=server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.bucket
        server.shutdown()
        thread.join()
