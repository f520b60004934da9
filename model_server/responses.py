"""Responses of the model server, and the errors that it reports itself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
NOT_BEGUN = b"x-mlops-not-begun"
"""Header of a response to a request that the server did not begin, so that any client may send it again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """HTTP status, body and headers of a response."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    closes: bool = False
    """True if the server closes the connection after this response."""


def error_response(status: int, code: str, message: str) -> Response:
    """Return an error in the JSON format of MLflow's server."""
    return Response(status=status, body=_error(code, message))


def internal_error(error: BaseException) -> Response:
    """Return 500 for a defect in the server."""
    return error_response(500, "INTERNAL_ERROR", f"The server failed on this request: {type(error).__name__}.")


def unwritable(error: Exception) -> Response:
    """Return 500 for a prediction that cannot be written as JSON."""
    fault = f"{type(error).__name__}: {error}"[:300]
    sentence = "The prediction cannot be written as JSON"
    return error_response(
        500, "INTERNAL_ERROR", f"{sentence} ({fault}); the model must return numbers, strings or a table."
    )


def compressed(coding: str) -> Response:
    """Return 415 for a body with a Content-Encoding; the server decompresses nothing."""
    response = error_response(
        415, "INVALID_PARAMETER_VALUE", f"Content-Encoding {coding!r} is not supported; send the body uncompressed."
    )
    return replace(response, headers=((b"accept-encoding", b"identity"),))


def ambiguous(kinds: Sequence[bytes]) -> Response:
    """Return 400 for a request with several content types."""
    listed = ", ".join(repr(kind.decode("latin-1")) for kind in kinds)
    return error_response(400, "BAD_REQUEST", f"The request has {len(kinds)} Content-Type headers, {listed}; send one.")


def too_large(limit: int) -> Response:
    """Return 413 for a body over the limit, in bytes."""
    message = f"The body exceeds {limit} bytes; send fewer rows in one request."
    return Response(status=413, body=_error("REQUEST_TOO_LARGE", message))


def too_slow(seconds: float) -> Response:
    """Return 408 for a client that did not send its body within this many seconds."""
    message = f"The body did not arrive within {seconds:g} seconds; send it at once."
    return Response(status=408, body=_error("REQUEST_TIMEOUT", message), closes=True)


def evicted() -> Response:
    """Return 408 for a client whose incomplete body was dropped to make room for others."""
    message = "The server has no room for this body, which arrived slowest of all; send it at once, or try again later."
    body = _error("REQUEST_TIMEOUT", message)
    return Response(status=408, body=body, headers=((b"retry-after", b"1"),), closes=True)


def no_room() -> Response:
    """Return 429 for a body that does not fit beside the bodies that wait for a prediction."""
    body = _error("RESOURCE_EXHAUSTED", "The queued requests use all memory for bodies; try again in 1 s.")
    return Response(status=429, body=body, headers=((b"retry-after", b"1"),))


def too_many(waiting: int, seconds: int) -> Response:
    """Return 429 for a request that would wait too long. `seconds` is the value of Retry-After."""
    body = _error("RESOURCE_EXHAUSTED", f"{waiting} requests are queued; try again in {seconds} s.")
    return Response(status=429, body=body, headers=((b"retry-after", str(seconds).encode()),))


def shutting_down(*, begun: bool) -> Response:
    """Return 503 for a request of a server that stops; a router sends one that was not begun to another pod."""
    body = _error("TEMPORARILY_UNAVAILABLE", "The server is stopping; try again in a second, on another connection.")
    headers = ((b"retry-after", b"1"), *(() if begun else ((NOT_BEGUN, b"true"),)))
    return Response(status=503, body=body, headers=headers, closes=True)


def too_late(seconds: float) -> Response:
    """Return 504 for a request without a prediction after this many seconds."""
    return error_response(
        504, "DEADLINE_EXCEEDED", f"There was no prediction within {seconds:g} seconds; send fewer rows, or try again."
    )


def _error(code: str, message: str) -> bytes:
    return json.dumps({"error_code": code, "message": message}).encode()
