"""Compares a challenger with its champion while a release is on its way, by what their pods count."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from experiments.sequences import sample_ratio

CHAMPION, CHALLENGER = "champion", "challenger"
CHANCE = 0.001
"""Probability below which a difference is no chance, so that the release goes back before the hold is over."""
FEWEST = 5
"""Smallest number of bad requests that ends a hold early."""
SLOW_SHARE = 0.05
"""Share of the requests that may take longer than the limit of the 95th percentile."""
TIMES_SLOWER = 2.0
"""Limit of the challenger's 95th percentile as a multiple of the champion's, if the endpoint has no objective."""
LEAST_SHARE = 0.5
"""Part of its declared share that a challenger must have answered."""
REQUESTS, SECONDS = "serving_requests_total", "serving_request_seconds_bucket"
ASSIGNED, UNANSWERED = "envoy_vhost_route_upstream_rq_completed", "envoy_cluster_upstream_rq_retry"
REACHED = "envoy_cluster_upstream_rq_total"
COUNTED = (REQUESTS, SECONDS, ASSIGNED, UNANSWERED, REACHED)
"""Names of the counters that are read: the first two are of model servers, the others of routers."""
_LINE = re.compile(rf"^({'|'.join(COUNTED)})\{{(.*)\}} ([0-9.e+]+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Rule = Literal["errors", "refusals", "p95", "share"]
"""Guardrail that a challenger can break."""


@dataclass(frozen=True, kw_only=True)
class Counter:
    """Counter of one pod, as it is read at one moment."""

    pod: str
    """Name of the pod."""
    name: str
    """One of COUNTED."""
    labels: Mapping[str, str]
    """Labels of the counter."""
    value: float
    """Value since the pod started."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a challenger; a release in steps is taken back if one is exceeded."""

    errors: float = 0.01
    """Largest share of failed requests above the champion's, 0 to 1; for 5xx and for 4xx responses each."""
    p95_seconds: float | None = None
    """Largest 95th percentile of the response time in seconds; None: TIMES_SLOWER times the champion's."""
    least: int = 100
    """Smallest number of requests of the challenger by which a step is judged."""


@dataclass
class Arm:
    """Requests of one version since the start of the hold."""

    requests: int = 0
    """Responses to clients."""
    failed: int = 0
    """Responses with 5xx; of a challenger also requests that it did not answer, so that the champion did."""
    refused: int = 0
    """Responses with 4xx."""
    buckets: dict[float, float] = field(default_factory=dict[float, float])
    """Number of predictions that took at most so many seconds."""

    @property
    def p95(self) -> float | None:
        """95th percentile of the response time in seconds, as Prometheus estimates it; None without predictions."""
        total, low, below = self.buckets.get(math.inf, 0), 0.0, 0.0
        if not total:
            return None
        for bound, count in sorted(self.buckets.items()):
            if count >= (1 - SLOW_SHARE) * total:
                return (
                    low
                    if math.isinf(bound)
                    else low + (bound - low) * ((1 - SLOW_SHARE) * total - below) / (count - below)
                )
            low, below = bound, count
        return None

    def slower_than(self, seconds: float) -> float:
        """Return the number of predictions that took longer, interpolated as in `p95`."""
        low, below = 0.0, 0.0
        for bound, count in sorted(self.buckets.items()):
            if bound >= seconds:
                part = 0 if math.isinf(bound) else (seconds - low) / (bound - low)
                return self.buckets.get(math.inf, 0) - below - part * (count - below)
            low, below = bound, count
        return 0


@dataclass(frozen=True, kw_only=True)
class Breach:
    """Guardrail that the challenger broke."""

    rule: Rule
    sentence: str
    """Message with the measured figures and the limit."""


class Watch:
    """Sums of the increments of all pods' counters. Pods may start, restart and end while it runs."""

    def __init__(self, first: Iterable[Counter] = ()) -> None:
        self.arms = {CHAMPION: Arm(), CHALLENGER: Arm()}
        self.assigned = self.reached = 0
        """Requests with a key, which routers split, and those of them that routers sent to the challenger."""
        self._last = {_identity(counter): counter.value for counter in first}

    @property
    def champion(self) -> Arm:
        """Served version."""
        return self.arms[CHAMPION]

    @property
    def challenger(self) -> Arm:
        """Version that is released."""
        return self.arms[CHALLENGER]

    def add(self, counters: Iterable[Counter]) -> None:
        """Add what was counted since the last call. A pod that is absent keeps its counters for a later call."""
        for counter in counters:
            key = _identity(counter)
            before = self._last.get(key, 0)
            self._last[key] = counter.value
            # A container that was restarted counts from zero.
            self._count(counter, counter.value - before if counter.value >= before else counter.value)

    def _count(self, counter: Counter, more: float) -> None:
        arm = self.arms.get(counter.labels.get("role", ""))
        if counter.name == ASSIGNED:
            self.assigned += int(more) * (counter.labels.get("envoy_route") == "assigned")
        elif counter.name == REACHED:
            self.reached += int(more) * (counter.labels.get("envoy_cluster_name") == CHALLENGER)
        elif counter.name == UNANSWERED:
            unanswered = int(more) * (counter.labels.get("envoy_cluster_name") == "challenger-or-champion")
            self.challenger.requests += unanswered
            self.challenger.failed += unanswered
        elif arm and counter.name == REQUESTS:
            arm.requests += int(more)
            arm.failed += int(more) * counter.labels["code"].startswith("5")
            arm.refused += int(more) * counter.labels["code"].startswith("4")
        elif arm and counter.name == SECONDS:
            bound = float(counter.labels["le"])
            arm.buckets[bound] = arm.buckets.get(bound, 0) + more

    def breaches(self, limits: Limits, percent: int, *, early: bool) -> list[Breach]:
        """Return the guardrails that the challenger has broken.

        Args:
            limits: what it may do.
            percent: declared share of the challenger, in percent.
            early: the hold is not over, so only what is no chance counts.
        """
        found = [
            self._bad("errors", "failed", "5xx, or no answer", limits, early=early),
            self._bad("refusals", "refused", "4xx", limits, early=early),
            self._slow(limits, early=early),
            self._missing(percent),
        ]
        return [each for each in found if each]

    def _bad(
        self, rule: Rule, kind: Literal["failed", "refused"], codes: str, limits: Limits, *, early: bool
    ) -> Breach | None:
        ours, theirs = self.challenger, self.champion
        bad, usual = getattr(ours, kind), _share(getattr(theirs, kind), theirs.requests)
        if not _exceeds(bad, ours.requests, usual + limits.errors, early=early):
            return None
        return Breach(
            rule=rule,
            sentence=f"{bad:,} of the challenger's {ours.requests:,} requests {kind} ({codes}), "
            f"{_share(bad, ours.requests):.1%}, and {usual:.1%} of the champion's; at most {limits.errors:.1%} more "
            "are allowed",
        )

    def _slow(self, limits: Limits, *, early: bool) -> Breach | None:
        ours, theirs = self.challenger.p95, self.champion.p95
        limit = limits.p95_seconds or (TIMES_SLOWER * theirs if theirs else None)
        if ours is None or limit is None:
            return None
        slow, total = self.challenger.slower_than(limit), self.challenger.buckets[math.inf]
        if not _exceeds(slow, total, SLOW_SHARE, early=early):
            return None
        beside = f", the champion's {1000 * theirs:.1f} ms" if theirs else ""
        return Breach(
            rule="p95",
            sentence=f"the challenger's p95 of {total:,.0f} response times is {1000 * ours:.1f} ms{beside}; "
            f"{1000 * limit:.1f} ms are allowed",
        )

    def _missing(self, percent: int) -> Breach | None:
        """Return the breach of a challenger that gets much less than its share, because routers do not reach it.

        Both numbers are of the routers: model servers are read at other moments.
        """
        got, share = min(self.reached, self.assigned), percent / 100
        if got >= LEAST_SHARE * share * self.assigned or sample_ratio(self.assigned - got, got, share) >= CHANCE:
            return None
        return Breach(
            rule="share",
            sentence=f"the challenger got {got:,} of {self.assigned:,} requests with a key, "
            f"{_share(got, self.assigned):.1%}, and its share is {percent} %; its pods are not ready, or a few callers "
            "send most of the requests",
        )


def parsed(pod: str, text: str) -> list[Counter]:
    """Return the counters in what a pod answers to a scraper, in Prometheus' text format."""
    return [
        Counter(pod=pod, name=name, labels=dict(_LABEL.findall(labels)), value=float(value))
        for name, labels, value in _LINE.findall(text)
    ]


def of_prometheus(series: Sequence[Mapping[str, Any]]) -> list[Counter]:
    """Return the counters in the result of an instant query of Prometheus."""
    return [
        Counter(
            pod=each["metric"].get("pod", ""),
            name=each["metric"]["__name__"],
            labels=each["metric"],
            value=float(each["value"][1]),
        )
        for each in series
    ]


def query(endpoint: str) -> str:
    """Return the query of Prometheus for the counters of an endpoint's model servers."""
    return f'{{__name__=~"{REQUESTS}|{SECONDS}", endpoint="{endpoint}"}}'


def _identity(counter: Counter) -> tuple[object, ...]:
    return counter.pod, counter.name, *sorted(counter.labels.items())


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _exceeds(bad: float, total: float, allowed: float, *, early: bool) -> bool:
    """Return whether the share of bad requests is above the allowed one; `early`: whether that is no chance.

    The bound of Chernoff and Hoeffding limits the probability of so many bad requests at the allowed share.
    """
    share = _share(bad, total)
    if share <= allowed:
        return False
    if not early:
        return True
    evidence = share * math.log(share / allowed)
    evidence += (1 - share) * math.log((1 - share) / (1 - allowed)) if share < 1 else 0
    return bad >= FEWEST and total * evidence > -math.log(CHANCE)
