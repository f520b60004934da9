"""Description of what is monitored: the part of a stack that rules, boards and scrapers depend on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contract import names

SERVERS, ROUTERS, EXPORTER, TRACKING = "model-servers", "model-routers", names.EXPORTER, "mlflow"
"""Names of the scrape jobs."""
ROUTER = "model-router"
"""Label `app.kubernetes.io/name` of the routers' pods (components/router/router.py)."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Endpoint with its objectives."""

    name: str
    """Name of the endpoint."""
    availability: float | None = None
    """Objective for the percentage of requests that get no 5xx response; None for no objective."""
    p95_seconds: float | None = None
    """Objective for the time in seconds within which 95 % of requests are answered; a bound of the server's histogram.
    None for no objective."""
    spool_bytes: int | None = None
    """Limit in bytes of the prediction log that waits on a node; None if predictions are not logged."""
    is_routed: bool = False
    """True if routers stand before the endpoint's pods, because it has a challenger, a shadow or `auth`."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Part of a stack that is monitored."""

    endpoints: Sequence[Endpoint] = ()
    """Endpoints of the stack."""
    scheduled: Mapping[str, float] = field(default_factory=dict[str, float])
    """Longest time in seconds from one start to the next, by name of the training job with a schedule."""
    validated: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds without a successful validation after which one is late, by name of the training job."""
