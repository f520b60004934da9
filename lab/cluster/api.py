"""The little of the Kubernetes API that the lab needs itself, over the standard library: it must be quick to import."""

import http.client
import json
import ssl
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from lab.cluster import layout

Object = dict[str, Any]
MANAGER = "lab"


class ApiError(Exception):
    """The API server's answer was not what was asked for."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """The API server, as the owner of the certificate `identity`."""

    def __init__(self, identity: str = "admin", *, folder: Path | None = None, timeout: float = 5) -> None:
        self.identity, self.folder, self.timeout = identity, folder or layout.pki(), timeout

    @cached_property
    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        context.load_cert_chain(self.folder / f"{self.identity}.crt", self.folder / f"{self.identity}.key")
        return context

    def get(self, path: str) -> Object:
        """The object or list at `path`."""
        return self._send("GET", path)

    def delete(self, path: str) -> None:
        """Nothing is at `path` afterwards, or will be once its finalizers ran."""
        try:
            self._send("DELETE", path)
        except ApiError as error:
            if error.status != http.client.NOT_FOUND:
                raise

    def create(self, path: str, wanted: Object) -> None:
        """The object exists afterwards, as it is wanted or as somebody else made it before."""
        try:
            self._send("POST", path, wanted)
        except ApiError as error:
            if error.status != http.client.CONFLICT:
                raise

    def apply(self, wanted: Object, *, subresource: str = "") -> Object:
        """Server-side apply: the object exists as `wanted` afterwards, fields that others own untouched."""
        path = f"{path_of(wanted)}{subresource}?fieldManager={MANAGER}&force=true"
        return self._send("PATCH", path, wanted, "application/apply-patch+yaml")

    def watch(self, path: str) -> Iterator[tuple[str, Object]]:
        """First ("LISTED", the whole list), then each change as (ADDED | MODIFIED | DELETED, object).

        Ends when the server ends it, as it does every few minutes; then the caller watches anew.
        """
        listed = self.get(path)
        yield "LISTED", listed
        connection = self._connect(timeout=600)
        try:
            version = listed["metadata"]["resourceVersion"]
            connection.request("GET", f"{path}?watch=1&timeoutSeconds=300&resourceVersion={version}")
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise ApiError(answer.status, answer.read().decode(errors="replace"))
            for line in iter(answer.readline, b""):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]
        finally:
            connection.close()

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(layout.HOST, layout.API_PORT, context=self._context, timeout=timeout)

    def _send(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        connection = self._connect(self.timeout)
        try:
            headers = {"Accept": "application/json", "Content-Type": kind}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise ApiError(answer.status, _message(content))
        return json.loads(content)


def path_of(wanted: Object) -> str:
    """Where the API server keeps an object."""
    version, metadata = wanted["apiVersion"], wanted["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    space = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    plural = wanted["kind"].lower() + ("es" if wanted["kind"].endswith("s") else "s")
    return f"{root}{space}/{plural}/{metadata['name']}"


def _message(content: bytes) -> str:
    try:
        return json.loads(content)["message"]
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")
