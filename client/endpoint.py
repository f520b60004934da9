"""One endpoint, asked with patience: a prediction changes nothing, so whatever failed may be asked again."""

import random
import time
from asyncio import sleep
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any, Protocol

import httpx
from pydantic import BaseModel, ValidationError

from client.columns import Json
from client.errors import EndpointError, InputError

AGAIN = frozenset({429, 502, 503, 504})
"""Statuses that go away with time."""
PARTED = frozenset({400, 413, 422, 500, 504})
"""Statuses that fewer rows may not meet, and that in the end tell which row is to blame."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
TIMEOUT = httpx.Timeout(60, connect=10)
"""Seconds; the server gives a request up after 30."""
JSON = {"content-type": "application/json"}


class Way(Protocol):
    """How to get there."""

    address: str

    def renew(self, failed: str) -> None:
        """Another way, if the address is still the one that failed."""
        ...


@dataclass
class Direct:
    """A URL, which is the same whatever happens."""

    address: str

    def renew(self, failed: str) -> None:
        """There is no other."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What stands before and after the rows in a body."""

    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """`text` is what is sent of it; `place` says where it stands in the file."""

    place: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One prediction a row, and what the answer said of itself."""

    predictions: Sequence[Json]
    model_version: str
    request_id: str


class _Said(BaseModel):
    predictions: list[Json]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """`patience`, in seconds, is how long one request is tried again; `name` is what people call the endpoint."""

    http: httpx.AsyncClient
    way: Way
    name: str
    patience: float

    async def schema(self) -> Mapping[str, Any]:
        """What it says at /schema."""
        answer = await self._patiently(lambda address: self.http.get(f"{address}/schema", timeout=TIMEOUT))
        try:
            if answer.is_success:
                return answer.json()
        except ValueError:
            pass
        raise EndpointError(
            f"{self.name} does not tell what it takes: GET /schema answers {_said(answer)}; "
            "check that the address is that of an endpoint, without a path"
        )

    async def predict(self, form: Form, rows: Sequence[Row]) -> Sequence[Answered]:
        """The answers about the rows, in order; several where one request would have been too much.

        Raises:
            InputError: it refuses a row.
            EndpointError: it does not answer as it should.
        """
        body = f"{form.before}{','.join(row.text for row in rows)}{form.after}".encode()
        answer = await self._patiently(
            lambda address: self.http.post(f"{address}/invocations", content=body, headers=JSON, timeout=TIMEOUT),
            at_once=frozenset({504}) if len(rows) > 1 else frozenset(),
        )
        if answer.status_code in PARTED and len(rows) > 1:
            half = len(rows) // 2
            return [*await self.predict(form, rows[:half]), *await self.predict(form, rows[half:])]
        if not answer.is_success:
            if answer.status_code in PARTED - {500, 504}:
                raise InputError(f"{rows[0].place} is refused by {self.name}: {_said(answer)}")
            raise EndpointError(f"{self.name} failed at {rows[0].place}: {_said(answer)}")
        return [self._answered(answer, len(rows))]

    def _answered(self, answer: httpx.Response, rows: int) -> Answered:
        try:
            predictions = _Said.model_validate_json(answer.content).predictions
        except ValidationError:
            predictions = None
        if predictions is None or len(predictions) != rows:
            raise EndpointError(
                f"{self.name} did not answer {rows} rows with {rows} predictions, but with {_said(answer)}; "
                "the model must give one for each row"
            )
        return Answered(
            predictions=predictions,
            model_version=answer.headers.get("x-model-version", ""),
            request_id=answer.headers.get("x-request-id", ""),
        )

    async def _patiently(self, ask: Callable[[str], Any], *, at_once: frozenset[int] = frozenset()) -> httpx.Response:
        """The first answer that another try would not change, or one whose status is in `at_once`."""
        deadline = time.monotonic() + self.patience
        for attempt in count():
            address, told = self.way.address, 0.0
            try:
                answer: httpx.Response = await ask(address)
            except (httpx.TransportError, httpx.TooManyRedirects) as error:
                fault = str(error) or type(error).__name__
                self.way.renew(address)
            else:
                if answer.status_code not in AGAIN - at_once:
                    return answer
                fault, told = _said(answer), _retry_after(answer)
            pause = max(told, min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1))
            if time.monotonic() + pause > deadline:
                raise EndpointError(
                    f"{self.name} did not answer within {self.patience:g} s at {address}: {fault}; "
                    "run the same command again when it does, and it goes on from here"
                )
            await sleep(pause)
        raise AssertionError


def _retry_after(answer: httpx.Response) -> float:
    """Seconds that the answer asks to wait; 0 where it does not."""
    written = answer.headers.get("retry-after", "")
    if written.isdecimal():
        return float(written)
    try:
        return max(0.0, (parsedate_to_datetime(written) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _said(answer: httpx.Response) -> str:
    return f"{answer.status_code} {' '.join(answer.text.split())[:300]}".strip()
