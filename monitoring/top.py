"""Table of the endpoints as Prometheus sees them now: traffic, failures, response times, versions and pods."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

WINDOW = "1m"
BY = "endpoint, version, role"
RATE = f"sum by ({BY}) (rate(serving_requests_total{{}}[{WINDOW}]))"
Series = Sequence[Mapping[str, Any]]
"""Result of an instant query of Prometheus, as decoded JSON."""
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
ALERTS = 'ALERTS{alertstate="firing"}'
SUBJECTS = ("endpoint", "model", "training", "namespace")
"""Labels that name the object of an alert, the most important first."""


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


def read(query: Callable[[str], Series]) -> list[Row]:
    """Return the rows in the order of endpoint, role and version; `query` runs a query of Prometheus."""
    found: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for name, expr in QUERIES.items():
        for each in query(expr):
            labels, value = each["metric"], float(each["value"][1])
            if "endpoint" in labels and not math.isnan(value):
                found[labels["endpoint"], labels.get("role", ""), labels.get("version", "")][name] = value
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
        )
        for (endpoint, role, version), values in sorted(found.items())
    ]


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
    for heading in ("share", "requests/s", "5xx", "429", "p50", "p95", "in flight", "pods"):
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
    ]


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
