"""Client of one endpoint. It retries failed requests; a prediction changes nothing, so that is safe."""

import random
import re
import time
from asyncio import sleep
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from client.columns import Json
from client.errors import EndpointError, InputError

RETRIED = frozenset({408, 429, 502, 503, 504})
"""Statuses after which the same request may succeed later."""
SPLIT = frozenset({400, 413, 422, 500, 504})
"""Statuses after which the rows are sent again in two halves, which finds the row with the error."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
"""First and longest pause between tries, in seconds."""
TIMEOUT = httpx.Timeout(60, connect=10)
"""Timeouts in seconds; the server ends a request after 30 s."""
TOKEN = re.compile(r"[\x21-\x7e]+")
JSON = {"content-type": "application/json"}


class Route(Protocol):
    """Route to an endpoint."""

    address: str
    """URL of the endpoint, without a path."""

    def renew(self, failed: str) -> None:
        """Replace the address if it is still the one that failed."""
        ...


@dataclass
class Direct:
    """Route with a fixed URL."""

    address: str

    def renew(self, failed: str) -> None:
        """Do nothing: there is no other address."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """Text before and after the rows in a request's body."""

    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """Row of the input file, as JSON."""

    place: str
    """Place of the row in the file, such as `line 3`."""
    text: str
    """JSON of the row, in the form that a request has."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Response of the endpoint, with one prediction for each row."""

    predictions: Sequence[Json]
    model_version: str
    request_id: str


_OBJECT = TypeAdapter(dict[str, Any])


class _Body(BaseModel):
    predictions: list[Json]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Endpoint that is reached through a route."""

    http: httpx.AsyncClient
    route: Route
    name: str
    """Name or URL of the endpoint, for messages."""
    patience: float
    """Seconds for which one failed request is retried."""
    token: Path | None = None
    """File with the token that the endpoint asks for. It is read for each request, so it may be replaced meanwhile."""

    async def schema(self) -> Mapping[str, Any]:
        """Return the response of /schema, as decoded JSON."""
        response = await self._retried(
            lambda address: self.http.get(f"{address}/schema", headers=self._identity(), timeout=TIMEOUT)
        )
        try:
            if response.is_success:
                return _OBJECT.validate_json(response.content)
        except ValidationError:
            pass
        raise EndpointError(
            f"{self.name} does not say which columns it takes: GET /schema responds {_summary(response)}; "
            "write the address of an endpoint, without a path"
        )

    async def predict(self, form: Form, rows: Sequence[Row]) -> Sequence[Predictions]:
        """Return the responses for the rows, in order. There are several if the rows had to be split.

        Raises:
            InputError: the endpoint refuses a row.
            EndpointError: the endpoint cannot be reached, or its response is wrong.
        """
        body = f"{form.before}{','.join(row.text for row in rows)}{form.after}".encode()
        response = await self._retried(
            lambda address: self.http.post(
                f"{address}/invocations", content=body, headers=JSON | self._identity(), timeout=TIMEOUT
            ),
            at_once=frozenset({504}) if len(rows) > 1 else frozenset(),
        )
        if response.status_code in SPLIT and len(rows) > 1:
            half = len(rows) // 2
            return [*await self.predict(form, rows[:half]), *await self.predict(form, rows[half:])]
        if not response.is_success:
            if response.status_code in SPLIT - {500, 504}:
                raise InputError(f"{rows[0].place} is refused by {self.name}: {_summary(response)}")
            raise EndpointError(f"{self.name} failed at {rows[0].place}: {_summary(response)}")
        return [self._decoded(response, len(rows))]

    def _identity(self) -> dict[str, str]:
        """Return the header with the token."""
        if self.token is None:
            return {}
        try:
            token = self.token.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the token's file {self.token} cannot be read: {error}; write another file") from None
        if not TOKEN.fullmatch(token):
            raise InputError(f"{self.token} must hold one token of printable characters and nothing else; correct it")
        return {"authorization": f"Bearer {token}"}

    def _decoded(self, response: httpx.Response, rows: int) -> Predictions:
        try:
            predictions = _Body.model_validate_json(response.content).predictions
        except ValidationError:
            predictions = None
        if predictions is None or len(predictions) != rows:
            raise EndpointError(
                f"{self.name} must respond to {rows} rows with {rows} predictions, but responded {_summary(response)}; "
                "correct the model's predict"
            )
        return Predictions(
            predictions=predictions,
            model_version=response.headers.get("x-model-version", ""),
            request_id=response.headers.get("x-request-id", ""),
        )

    async def _retried(self, send: Callable[[str], Any], *, at_once: frozenset[int] = frozenset()) -> httpx.Response:
        """Return the first response whose status is not retried, or is in `at_once`."""
        deadline = time.monotonic() + self.patience
        for attempt in count():
            address, requested_pause = self.route.address, 0.0
            try:
                response: httpx.Response = await send(address)
            except (httpx.TransportError, httpx.TooManyRedirects) as error:
                fault = str(error) or type(error).__name__
                self.route.renew(address)
            else:
                if response.status_code not in RETRIED - at_once:
                    return response
                fault, requested_pause = _summary(response), _retry_after(response)
            pause = max(requested_pause, min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1))
            if time.monotonic() + pause > deadline:
                raise EndpointError(
                    f"{self.name} did not respond within {self.patience:g} s at {address}: {fault}; "
                    "run the same command again later, and it continues from here"
                )
            await sleep(pause)
        raise AssertionError


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds in the header Retry-After; 0 if there are none."""
    written = response.headers.get("retry-after", "")
    if written.isdecimal():
        return float(written)
    try:
        return max(0.0, (parsedate_to_datetime(written) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _summary(response: httpx.Response) -> str:
    return f"{response.status_code} {' '.join(response.text.split())[:300]}".strip()
