"""Reads from Prometheus what the prediction log does not have: responses without a prediction."""

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx

from prediction_log.store import LogError, StoreError

TIMEOUT = 30
"""Seconds to wait for Prometheus."""


def responses(url: str, model: str, since: datetime, until: datetime) -> Mapping[str, Mapping[str, int]]:
    """Return the number of responses by role and status code.

    Raises:
        LogError: there is no Prometheus at the URL, or it refused the query.
        StoreError: Prometheus did not respond.
    """
    seconds = max(60, round((until - since).total_seconds()))
    query = f"sum by (role, code) (increase(serving_requests_total{{model={json.dumps(model)}}}[{seconds}s]))"
    try:
        response = httpx.get(
            f"{url.rstrip('/')}/api/v1/query", params={"query": query, "time": until.timestamp()}, timeout=TIMEOUT
        )
    except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise StoreError(f"Prometheus at {url} did not respond ({error}); check --prometheus, and try again") from error
    try:
        found: Any = response.raise_for_status().json()["data"]["result"]
        counts = defaultdict[str, dict[str, int]](dict)
        for series in found:
            labels: Mapping[str, str] = series["metric"]
            counts[labels.get("role", "")][labels.get("code", "")] = round(float(series["value"][1]))
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
        raise LogError(
            f"{url} does not answer as Prometheus does (status {response.status_code}); write --prometheus with its "
            "address, such as http://localhost:9090"
        ) from error
    return counts
