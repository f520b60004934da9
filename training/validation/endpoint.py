"""Requests to a model's endpoint. Each one uses a new connection, so that they reach different pods."""

import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any, cast
from urllib.error import HTTPError
from uuid import uuid4

from training.ending import BadInputError, FailedError

SECONDS = 5
"""Timeout in seconds for the request that asks for the version."""
PATIENCE = 35
"""Timeout in seconds for a request of a test; the server's own deadline is shorter."""
LONGEST = 120
"""Number of characters that `Response.said` quotes of a body."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """Response of an endpoint, or the reason why there was none."""

    status: int
    """HTTP status; 0 if there was no response."""
    body: str
    """Body; the reason if there was no response."""
    version: str = ""
    """Header X-Model-Version."""
    seconds: float = 0
    """Time in seconds from the request to the end of the response."""

    @property
    def json(self) -> Mapping[str, Any]:
        """Body as a decoded JSON object; empty if it is none."""
        try:
            decoded: object = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return cast("Mapping[str, Any]", decoded) if isinstance(decoded, dict) else {}

    @property
    def message(self) -> str:
        """Message of an error as a server of MLflow writes it, else the body."""
        return str(self.json.get("message", self.body))

    @property
    def said(self) -> str:
        """Text on one line with status and message, for example `responds 400 (Model is missing inputs ['tenure'])`."""
        message = " ".join(self.message.split())
        shown = message if len(message) <= LONGEST else f"{message[:LONGEST]}..."
        return f"responds {self.status} ({shown})" if self.status else f"does not respond ({shown})"


def send(url: str, body: str | None = None, *, seconds: float = PATIENCE) -> Response:
    """Return the response to a GET request, or with a body to a POST request of JSON. No status is an error."""
    # The prediction log keeps this ID, so that requests of a validation can be distinguished from those of clients.
    headers = {"Content-Type": "application/json", "X-Request-Id": f"validation-{uuid4().hex}"}
    request = urllib.request.Request(url, None if body is None else body.encode(), headers)
    start = time.perf_counter()
    try:
        with _open(request, seconds) as response:
            content = response.read()
    except (OSError, HTTPException) as error:
        return Response(status=0, body=str(getattr(error, "reason", error)) or type(error).__name__)
    return Response(
        status=response.status or 0,
        body=content.decode(errors="replace"),
        version=response.headers.get("X-Model-Version", ""),
        seconds=time.perf_counter() - start,
    )


def _open(request: urllib.request.Request, seconds: float) -> HTTPResponse | HTTPError:
    """Return the response of any status."""
    try:
        return cast("HTTPResponse", urllib.request.urlopen(request, timeout=seconds))
    except HTTPError as error:
        return error


def served_version(url: str) -> int | None:
    """Return the version that the endpoint at the URL serves; None if it does not respond with a version number."""
    response = send(f"{url}/ping", seconds=SECONDS)
    return int(response.version) if response.status == 200 and response.version.isdecimal() else None


def tested_version(url: str) -> int:
    """Return the version that the endpoint under test serves.

    Raises:
        FailedError: the endpoint does not respond, or it is not ready.
        BadInputError: the response has no version number.
    """
    response = send(f"{url}/ping", seconds=SECONDS)
    if response.status != 200:
        raise FailedError(
            f"the endpoint {url} cannot be tested: /ping {response.said}; wait until its pods are ready, then validate "
            "again"
        )
    if not response.version.isdecimal():
        raise BadInputError(
            f"the endpoint {url} cannot be tested: its response to /ping has no version number in X-Model-Version, so "
            "it is not a model server of this platform; write another endpoint"
        )
    return int(response.version)
