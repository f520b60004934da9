"""Reads from a model's endpoint which version it serves."""

import urllib.request
from http.client import HTTPException

SECONDS = 5
"""Timeout in seconds for one request."""


def served_version(url: str) -> int | None:
    """Return the version that the endpoint at the URL serves; None if it does not respond with a version number."""
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=SECONDS) as response:
            return int(response.headers.get("X-Model-Version", ""))
    except (OSError, HTTPException, ValueError):
        return None
