"""The API server, by REST."""

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from lab.providers.kubernetes.kubeconfig import Access
from lab.providers.plugin import RefusalError
from lab.providers.values import Tree, entries

CONNECTIONS = 64
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class UnreachableError(RefusalError):
    """No answer from the API server; one sentence that names it and the way out."""


class ApiError(RefusalError):
    """The API server's refusal: HTTP status, `reason` (CamelCase), message, causes as (field, message)."""

    def __init__(self, code: int, answer: Tree) -> None:
        self.code = code
        self.reason: str = answer.get("reason") or ""
        self.message: str = answer.get("message") or f"HTTP status {code}"
        causes = entries(answer, "details", "causes")
        self.causes = [(str(cause.get("field") or ""), str(cause.get("message") or "")) for cause in causes]
        super().__init__(self.message)


class UnknownKindError(RefusalError):
    """The API server serves no such apiVersion and kind."""


@dataclass(frozen=True)
class Kind:
    """Where the objects of one kind are."""

    root: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """Of one object, or of all in a namespace (in every one where `namespace` is None)."""
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.root}{scope}/{self.plural}{f'/{name}' if name else ''}"


class Api:
    """Requests on one pool of connections; safe to use from many threads."""

    def __init__(self, access: Access, *, timeout_seconds: float = 60) -> None:
        self._access = access
        self._kinds: dict[str, dict[str, Kind]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._client = httpx.Client(
            base_url=access.server,
            verify=access.tls,
            timeout=httpx.Timeout(timeout_seconds, connect=10, pool=None),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            trust_env=False,
        )

    @property
    def server(self) -> str:
        """Its address."""
        return self._access.server

    @property
    def namespace(self) -> str:
        """Where objects go that name none."""
        return self._access.namespace

    def kind(self, api_version: str, kind: str, *, again: bool = False) -> Kind:
        """Looked up once for each apiVersion; once more with `again`, for a definition that is new."""
        with self._lock:
            lock = self._locks.setdefault(api_version, threading.Lock())
        with lock:
            kinds = self._kinds.get(api_version)
            if kinds is None or (again and kind not in kinds):
                kinds = self._kinds[api_version] = self._discover(api_version)
        if kind not in kinds:
            raise UnknownKindError(f"{self.server} serves no {kind} of {api_version}")
        return kinds[kind]

    def _discover(self, api_version: str) -> dict[str, Kind]:
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            listed = self.request("GET", root)
        except ApiError as error:
            if error.code == 404:
                return {}
            raise
        return {
            entry["kind"]: Kind(root=root, plural=entry["name"], namespaced=entry["namespaced"])
            for entry in entries(listed, "resources")
            if "/" not in entry["name"]
        }

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Tree | None = None,
        content: str = "application/json",
        accept: str = "application/json",
        warn: Callable[[str], None] | None = None,
    ) -> Tree:
        """The answer; `warn` gets what the server warns of."""
        response = self._send(method, path, query, body, {"Content-Type": content, "Accept": accept})
        for warning in response.headers.get_list("warning") if warn else []:
            if warn:
                warn(_warning_text(warning))
        answer: Tree = _json(response)
        if response.is_error:
            raise ApiError(response.status_code, answer)
        return answer

    def text(self, path: str, query: Mapping[str, str]) -> str:
        """An answer that is not JSON: a log."""
        response = self._send("GET", path, query, None, {})
        if response.is_error:
            raise ApiError(response.status_code, _json(response))
        return response.text

    def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Tree | None, headers: dict[str, str]
    ) -> httpx.Response:
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        extensions = {"sni_hostname": self._access.server_name} if self._access.server_name else {}
        request = self._client.build_request(
            method,
            path,
            params=query,
            content=content,
            headers={**headers, **self._access.headers()},
            extensions=extensions,
        )
        try:
            try:
                return self._client.send(request)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.ConnectError):
                # An idle connection that the server closed as we took it, or a handshake that failed on a busy machine.
                # Apply, get and delete may be sent twice.
                return self._client.send(request)
        except httpx.TransportError as error:
            raise UnreachableError(
                f"the Kubernetes API server {self.server} does not answer ({error or type(error).__name__}). "
                "Is the cluster up, and is it the right `kubeconfig` and `context`?"
            ) from error


def _warning_text(header: str) -> str:
    """Of a Warning header: its quoted part."""
    quoted = QUOTED.search(header)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else header


def _json(response: httpx.Response) -> Tree:
    try:
        return response.json()
    except ValueError:
        return {"message": response.text.strip() or response.reason_phrase}
