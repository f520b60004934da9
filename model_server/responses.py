"""What a client gets, and the refusals that are ours."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A status, a body and what the body is."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    closes: bool = False
    """The connection cannot be used again."""


def refusal(status: int, code: str, message: str) -> Answer:
    """An error in the shape that MLflow's server gives them."""
    return Answer(status=status, body=_error(code, message))


def failed(error: BaseException) -> Answer:
    """To a request that met a defect of ours."""
    return refusal(500, "INTERNAL_ERROR", f"The server failed on this request: {type(error).__name__}.")


def unwritable(error: Exception) -> Answer:
    """To a request that the model answered with something that JSON has no form for."""
    fault = f"{type(error).__name__}: {error}"[:300]
    sentence = "The model's answer cannot be written as JSON"
    return refusal(500, "INTERNAL_ERROR", f"{sentence} ({fault}); its predict must return numbers, texts or a table.")


def compressed(coding: str) -> Answer:
    """To a body with a content coding, which is never unpacked."""
    answer = refusal(
        415, "INVALID_PARAMETER_VALUE", f"Content-Encoding {coding!r} is not read; send the body as it is."
    )
    return replace(answer, headers=((b"accept-encoding", b"identity"),))


def ambiguous(kinds: Sequence[bytes]) -> Answer:
    """To a request with several content types."""
    said = ", ".join(repr(kind.decode("latin-1")) for kind in kinds)
    return refusal(400, "BAD_REQUEST", f"There are {len(kinds)} Content-Type headers, {said}; send one.")


def too_large(limit: int) -> Answer:
    """To a body over the limit, in bytes."""
    message = f"The body is over {limit} bytes; send fewer rows at a time."
    return Answer(status=413, body=_error("REQUEST_TOO_LARGE", message), closes=True)


def too_slow(seconds: float) -> Answer:
    """To a client that does not send its body."""
    message = f"The body did not come within {seconds:g} seconds."
    return Answer(status=408, body=_error("REQUEST_TIMEOUT", message), closes=True)


def too_many(waiting: int, seconds: int) -> Answer:
    """To a request that found the queue full, or would wait for too much of its time."""
    body = _error("RESOURCE_EXHAUSTED", f"{waiting} requests wait already; try again in {seconds} s.")
    return Answer(status=429, body=body, headers=((b"retry-after", str(seconds).encode()),))


def leaving() -> Answer:
    """To a request that came after the order to stop."""
    body = _error("TEMPORARILY_UNAVAILABLE", "This server stops; try again in a second, on another connection.")
    return Answer(status=503, body=body, headers=((b"retry-after", b"1"),), closes=True)


def too_late(seconds: float) -> Answer:
    """To a request that was not predicted in time."""
    return refusal(
        504, "DEADLINE_EXCEEDED", f"No prediction within {seconds:g} seconds; send fewer rows, or try again."
    )


def _error(code: str, message: str) -> bytes:
    return json.dumps({"error_code": code, "message": message}).encode()
