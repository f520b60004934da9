"""The endpoint that serves a model in the stack, asked for the version that it serves."""

import urllib.request
from http.client import HTTPException

SECONDS = 5
"""Timeout for one request."""


def served_version(url: str) -> int | None:
    """Return the version that the endpoint at the URL serves; None where nothing answers with a version's number."""
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=SECONDS) as answer:
            return int(answer.headers.get("X-Model-Version", ""))
    except (OSError, HTTPException, ValueError):
        return None
