"""As much of a metrics adapter as the autoscaler needs: gauges of pods behind `custom.metrics.k8s.io`.

A real one asks a Prometheus; this one asks the pods themselves, each time that it is asked. It listens on the host, as
the lab's metrics-server does, and has that one's certificate.
"""

import json
import re
import ssl
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
from typing_extensions import override

from contract import names
from lab.cluster import layout, operate
from lab.cluster.component import Object, crt, key

GROUP, VERSION = "custom.metrics.k8s.io", "v1beta2"
ROOT = f"/apis/{GROUP}/{VERSION}"
NAME = {"name": "metrics-adapter", "namespace": "kube-system"}
ASKED = re.compile(rf"{re.escape(ROOT)}/namespaces/(?P<namespace>[^/]+)/pods/\*/(?P<metric>[a-z_]+)")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        if where.path == ROOT:
            self._answer(
                {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}", "resources": []}
            )
        elif asked := ASKED.fullmatch(unquote(where.path)):
            (selector,) = parse_qs(where.query).get("labelSelector", [""])
            items = list(_values(asked["namespace"], selector, asked["metric"]))
            self._answer(
                {"kind": "MetricValueList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, "items": items}
            )
        else:
            self.send_error(404)

    def _answer(self, body: Object) -> None:
        sent = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Silence: the test says what matters."""


def _values(namespace: str, selector: str, metric: str) -> Iterator[Object]:
    """The gauge of each pod that answers."""
    listed = operate.kubectl("get", "pods", f"--namespace={namespace}", f"--selector={selector}", "--output=json")
    for pod in json.loads(listed)["items"]:
        try:
            told = httpx.get(f"http://{pod['status']['podIP']}:{names.PROBE_PORT}/metrics", timeout=2).text
        except (KeyError, httpx.TransportError):
            continue
        if value := re.search(rf"^{metric}{{[^}}]*}} (\d+)", told, re.MULTILINE):
            yield {
                "describedObject": {
                    "kind": "Pod",
                    "apiVersion": "/v1",
                    "namespace": namespace,
                    "name": pod["metadata"]["name"],
                },
                "metric": {"name": metric},
                "timestamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
                "value": value[1],
            }


def objects(port: int) -> list[Object]:
    """What tells the API server of it."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": NAME,
            "spec": {"ports": [{"port": 443, "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**NAME, "labels": {"kubernetes.io/service-name": NAME["name"]}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [layout.HOST], "conditions": {"ready": True}}],
            "ports": [{"port": port}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": NAME,
                "insecureSkipTLSVerify": True,
            },
        },
    ]


@contextmanager
def serving() -> Generator[int]:
    """Its port, while it answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt("metrics-server"), key("metrics-server"))
    with ThreadingHTTPServer((layout.HOST, 0), _Handler) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
