"""HTTP server that responds as MLflow's registry does, for engine tests that need many states of it at once.

tests/model_preview/test_reading.py and the end-to-end tests read a real MLflow server with the same code.
"""

import json
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

SIGNATURE = {"inputs": '[{"type": "double", "name": "tenure"}]', "outputs": '[{"type": "long"}]'}
API = "/api/2.0/mlflow/"
VALIDATION = "validation:"
"""Beginning of the ID of a validation's run."""


def passed(against: str = "none") -> dict[str, str]:
    """Return the tags of a version that passed its validation."""
    return {"validation_status": "passed", "validated_against": against, "model_digest": "a" * 64}


@dataclass
class Mlflow:
    """State of the registry, and what it was asked."""

    versions: dict[tuple[str, int], dict[str, str]] | None = None
    """Tags of each version; None: each version of each model exists and passed a validation against the one before."""
    aliases: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """Aliases by model."""
    signatures: dict[tuple[str, int], Mapping[str, str]] = field(
        default_factory=dict[tuple[str, int], Mapping[str, str]]
    )
    """Signatures that differ from SIGNATURE."""
    status: int = 200
    """Status of every response; other than 200: MLflow is broken."""
    page: str = ""
    """Body of every response, as a proxy in front of MLflow sends it; empty: MLflow responds itself."""
    seconds: float = 0
    """Seconds before each response."""
    bucket: str = "mlops-artifacts"
    """Bucket with the files of all versions."""
    asked: list[str] = field(default_factory=list[str])
    """Requests: method and path."""
    uri: str = ""

    def tags(self, model: str, version: int) -> dict[str, str] | None:
        """Return the tags of a version; None if it does not exist."""
        if self.versions is None:
            return passed(str(version - 1) if version > 1 else "none")
        return self.versions.get((model, version))

    def respond(self, method: str, path: str, given: Mapping[str, str]) -> tuple[int, Any]:
        """Return the status and the body, decoded JSON or text."""
        model, version = given.get("name", ""), int(given.get("version", 0))
        if self.page or self.status != 200:
            return self.status, self.page or {"error_code": "INTERNAL_ERROR", "message": "the database is away"}
        if path == "model-versions/search":
            known = [number for name, number in self.versions or {} if f"'{name}'" in given["filter"]]
            return 200, {"model_versions": [{"version": str(number)} for number in known]}
        is_known = self.versions is None or model in {name for name, _ in self.versions}
        if is_known and path.startswith("registered-models/"):
            return 200, self._of_model(method, model, given)
        tags = self.tags(model, version)
        if given.get("run_id", "").startswith(VALIDATION):
            return 200, self._of_validation(path, given["run_id"])
        if is_known and tags is not None and path != "runs/get":
            return 200, self._of_version(path, model, version, tags, given)
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{model} {version}"}

    def _of_model(self, method: str, model: str, given: Mapping[str, str]) -> object:
        aliases = self.aliases.setdefault(model, {})
        if method == "POST":
            aliases[given["alias"]] = int(given["version"])
        if method == "DELETE":
            aliases.pop(given["alias"], None)
        listed = [{"alias": alias, "version": str(number)} for alias, number in aliases.items()]
        return {"registered_model": {"name": model, "aliases": listed}}

    def _of_validation(self, path: str, run: str) -> object:
        """Respond about the run of a validation, which lies where only validations write."""
        _, model, number = run.split(":")
        tags = self.tags(model, int(number)) or {}
        if path == "runs/get":
            return {"run": {"info": {"artifact_uri": f"s3://{self.bucket}/validations/{number}/artifacts"}}}
        against = tags["validated_against"]
        return {
            "model": model,
            "version": int(number),
            "champion": int(against) if against.isdecimal() else None,
            "status": tags["validation_status"],
            "model_digest": tags.get("model_digest", ""),
        }

    def _of_version(
        self, path: str, model: str, version: int, tags: dict[str, str], given: Mapping[str, str]
    ) -> object:
        if path == "file":
            signature = self.signatures.get((model, version), SIGNATURE)
            return yaml.safe_dump({"signature": signature}) if given["path"] == "MLmodel" else ""
        if path == "model-versions/get-download-uri":
            return {"artifact_uri": f"s3://{self.bucket}/{model}/{version}/{tags.get('model_digest', '')[:1]}"}
        if path == "model-versions/set-tag":
            tags[given["key"]] = given["value"]
        if path == "model-versions/delete-tag":
            tags.pop(given["key"], None)
        report = {"validation_run": f"{VALIDATION}{model}:{version}", "validation_report": "report.html"}
        is_validated = "validation_status" in tags and "validated_against" in tags
        every = tags | (report if is_validated else {})
        listed = [{"key": key, "value": value} for key, value in every.items()]
        return {"model_version": {"version": str(version), "run_id": "r", "tags": listed}}


@contextmanager
def serving(mlflow: Mlflow) -> Generator[Mlflow]:
    """Serve the registry at `uri` while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def do_DELETE(self) -> None:
            self._respond()

        def _respond(self) -> None:
            address = urlsplit(self.path)
            mlflow.asked.append(f"{self.command} {address.path}")
            length = int(self.headers.get("Content-Length", 0))
            given = (
                json.loads(self.rfile.read(length)) if length else {k: v[0] for k, v in parse_qs(address.query).items()}
            )
            path = "file" if address.path.endswith("get-artifact") else address.path.removeprefix(API)
            time.sleep(mlflow.seconds)
            status, body = mlflow.respond(self.command, path, given)
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            del code, size  # silent

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Ignore a client that closed the connection: it had a time limit."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        mlflow.uri = f"http://127.0.0.1:{server.server_port}"
        yield mlflow
        server.shutdown()
        thread.join()
