"""Table of the endpoints as Prometheus sees them now: traffic, failures, response times, versions and pods."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

WINDOW = "1m"
BY = "endpoint, version, role"
SERVED = f"group by ({BY}, model) (serving_requests_in_flight)"
RATE = f"sum by ({BY}) (rate(serving_requests_total{{}}[{WINDOW}]))"
Series = Sequence[Mapping[str, Any]]
"""Result of an instant query of Prometheus, as decoded JSON."""
Key = tuple[str, str, str]
"""Endpoint, role and version of a row."""
QUERIES: Mapping[str, str] = {
    "rate": RATE,
    "failing": f'sum by ({BY}) (rate(serving_requests_total{{code=~"5.."}}[{WINDOW}])) / ({RATE} > 0)',
    "refused": f'sum by ({BY}) (rate(serving_requests_total{{code="429"}}[{WINDOW}])) / ({RATE} > 0)',
    **{
        name: f"histogram_quantile({quantile}, sum by ({BY}, le) (rate(serving_request_seconds_bucket[{WINDOW}])))"
        for name, quantile in {"p50": 0.5, "p95": 0.95}.items()
    },
    "pods": f"count by ({BY}) (serving_requests_in_flight)",
    "in_flight": f"sum by ({BY}) (serving_requests_in_flight)",
}
"""Query of each column with one value for each version and role of an endpoint."""
STATUS = f"{SERVED} * on (model, version) group_left (status) max by (model, version, status) (mlops_model_drift)"
LOOKED = f"{SERVED} * on (model, version) group_left () max by (model, version) (mlops_model_drift_timestamp_seconds)"
"""Queries of the last recorded look for drift at each served version: its status as a label, and its window's end."""
ALERTS = 'ALERTS{alertstate="firing"}'
SUBJECTS = ("endpoint", "model", "training", "namespace")
"""Labels that name the object of an alert, the most important first."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Last recorded look for drift at a version."""

    status: str
    """Result: drift, none, or that there were too few rows."""
    at: float
    """End of the window in seconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One version of an endpoint in one role."""

    endpoint: str
    """Name of the endpoint."""
    version: str
    """Version that the pods serve."""
    role: str
    """Role of the pods: champion, challenger or shadow."""
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    """Value by the name of its query; a value that Prometheus does not know is absent."""
    share: float | None = None
    """Share of the endpoint's requests, shadows apart; None without requests."""
    drift: Drift | None = None
    """Last recorded look for drift at the version; None if there was none, or nothing measures it."""


def read(query: Callable[[str], Series]) -> list[Row]:
    """Return the rows in the order of endpoint, role and version; `query` runs a query of Prometheus."""
    found: dict[Key, dict[str, float]] = defaultdict(dict)
    for name, expr in QUERIES.items():
        for each in query(expr):
            value = float(each["value"][1])
            if "endpoint" in each["metric"] and not math.isnan(value):
                found[_key(each)][name] = value
    ends = {_key(each): float(each["value"][1]) for each in query(LOOKED)}
    drifts = {
        key: Drift(status=each["metric"]["status"], at=ends[key])
        for each in query(STATUS)
        if (key := _key(each)) in ends
    }
    totals: dict[str, float] = defaultdict(float)
    for (endpoint, role, _), values in found.items():
        totals[endpoint] += values.get("rate", 0) if role != "shadow" else 0
    return [
        Row(
            endpoint=endpoint,
            version=version,
            role=role,
            values=values,
            share=values.get("rate", 0) / totals[endpoint] if totals[endpoint] and role != "shadow" else None,
            drift=drifts.get((endpoint, role, version)),
        )
        for (endpoint, role, version), values in sorted(found.items())
    ]


def _key(series: Mapping[str, Any]) -> Key:
    labels = series["metric"]
    return labels.get("endpoint", ""), labels.get("role", ""), labels.get("version", "")


def firing(query: Callable[[str], Series]) -> list[str]:
    """Return each alert that fires, as `severity alert object`; the object is the first of SUBJECTS that it has."""
    return sorted(
        " ".join(
            [labels.get("severity", ""), labels["alertname"], *(labels[one] for one in SUBJECTS if one in labels)][:3]
        )
        for labels in (each["metric"] for each in query(ALERTS))
    )


def table(rows: Sequence[Row]) -> Table:
    """Return the table for a terminal."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("endpoint", no_wrap=True)
    made.add_column("version", justify="right")
    made.add_column("role")
    for heading in ("share", "requests/s", "5xx", "429", "p50", "p95", "in flight", "pods", "drift"):
        made.add_column(heading, justify="right")
    before = ""
    for row in rows:
        made.add_row(
            Text(row.endpoint if row.endpoint != before else ""), Text(row.version), Text(row.role), *_cells(row)
        )
        before = row.endpoint
    return made


def _cells(row: Row) -> list[Text]:
    def shown(name: str, form: Callable[[float], str], bad: float = math.inf) -> Text:
        value = row.values.get(name)
        return Text("-", "dim") if value is None else Text(form(value), "red" if value > bad else "")

    return [
        Text("-", "dim") if row.share is None else Text(f"{row.share:.0%}"),
        shown("rate", lambda value: f"{value:,.1f}"),
        shown("failing", lambda value: f"{value:.1%}", 0),
        shown("refused", lambda value: f"{value:.1%}", 0),
        shown("p50", _time),
        shown("p95", _time),
        shown("in_flight", lambda value: f"{value:.0f}"),
        shown("pods", lambda value: f"{value:.0f}"),
        _drift(row.drift),
    ]


def _drift(last: Drift | None) -> Text:
    """Return the status of the last look, and how long ago its window ended."""
    if last is None:
        return Text("-", "dim")
    hours = (time.time() - last.at) / 3600
    age = f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} d"
    return Text(f"{last.status}, {age} ago", "red" if last.status == "drift" else "")


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
