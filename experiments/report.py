"""Report of a comparison of two versions, and the recommendation that follows from it."""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from experiments.sequences import LEAST_UNITS

LEAST_RATIO_P = 0.001
"""p-value of the sample ratio below which nothing may be concluded."""
MOST_IN_BOTH = 0.01
"""Largest share of units that saw both versions; above it nothing may be concluded."""
MOST_REPEATED = 0.01
"""Share of requests with the inputs of another key above which the report warns of a client that changes its key."""


class Frozen(BaseModel):
    """Base of all parts of the report."""

    model_config = ConfigDict(frozen=True)


class Decision(StrEnum):
    """Recommendation of the report; the value is for programs."""

    DO_NOT_CONCLUDE = "do-not-conclude"
    PROMOTE = "promote"
    ABORT = "abort"
    CONTINUE = "continue"
    NO_OUTCOMES = "no-outcomes"
    NO_CHALLENGER = "no-challenger"


class Spread(Frozen):
    """Distribution of numbers, by quantiles."""

    mean: float
    p5: float
    p50: float
    p95: float


class Latency(Frozen):
    """Quantiles of the server's time for a request, in milliseconds."""

    p50: float
    p95: float
    p99: float


class Arm(Frozen):
    """Traffic of one role."""

    role: str
    versions: tuple[int, ...]
    """Versions that answered in this role; more than one if the version was changed meanwhile."""
    requests: int
    rows: int
    units: int
    """Units that saw this version alone; 0 for a shadow."""
    latency: Latency
    numbers: Spread | None
    """Predictions, if they are numbers."""
    classes: Mapping[str, float]
    """Share of each predicted class, if the predictions are classes; the most frequent first."""
    errors: Mapping[str, int] | None = None
    """Number of responses by status code, from Prometheus; None if it was not asked. The log has only predictions."""


class Ratio(Frozen):
    """Test of the numbers of units against the declared share."""

    champion: int
    challenger: int
    percent: float
    """Declared share of the challenger."""
    p: float
    """p-value, valid at every look."""

    @property
    def passes(self) -> bool:
        """Return whether the numbers agree with the declared share."""
        return self.p >= LEAST_RATIO_P


class Keys(Frozen):
    """Callers' keys."""

    unassigned: int
    """Requests without a key in the hours of the experiment; the champion answered them."""
    once: int
    """Units with one request."""
    units: int
    in_both: int
    """Units that saw both versions; they are in no figure of an arm's metric."""
    repeated_requests: int
    """Requests with inputs that came under many keys."""
    repeated: Mapping[str, int]
    """Number of keys with the same inputs, by the ID of one of their requests; the largest first."""


class Comparison(Frozen):
    """Metric of both arms, for all units or for those of one slice."""

    slice: str
    """Column and value, such as `contract = Two year`; empty for all units."""
    champion: float
    challenger: float
    champion_units: int
    challenger_units: int
    difference: float
    low: float | None
    """Lower end of the always-valid interval of the difference; None if an arm has too few units."""
    high: float | None

    @property
    def decided(self) -> bool:
        """Return whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Metric(Frozen):
    """Metric by unit: the mean over the units of the mean over a unit's rows."""

    name: Literal["accuracy", "Brier score", "absolute error"]
    overall: Comparison
    slices: tuple[Comparison, ...]
    """Slices with their own intervals; all of them together hold with 95 %."""
    units_to_decide: int | None
    """Units at which a difference as large as the present one would be certain; None if it is certain or zero."""
    days_to_decide: float | None
    """Further days until then, at the present rate."""

    @property
    def more_is_better(self) -> bool:
        """Return whether a larger value is better."""
        return self.name == "accuracy"


class Joined(Frozen):
    """Result of joining the outcomes to the log."""

    outcomes: int
    joined: int
    """Rows of the log with an outcome."""
    repeated: int
    """Outcomes that repeat the key of an earlier one."""
    unknown: int
    """Outcomes of rows that are not in the log, or in no arm because their request carried no key."""
    early: int
    """Outcomes that are older than their prediction; they are left out."""


class Shadow(Frozen):
    """Shadow's predictions against the champion's, for the same rows."""

    joined: int
    """Rows that both predicted."""
    alone: int
    """Rows of the shadow without an answer of the champion in the log: answered by the challenger, refused, or lost."""
    equal: float
    """Share of rows with equal predictions."""
    shift: Spread | None
    """Shadow's number minus the champion's; None if the predictions are classes."""
    largest: float | None
    """95th percentile of the absolute difference; None if the predictions are classes."""
    slower_ms: Latency
    """Quantiles of the shadow's latency minus the champion's, request by request."""


class Report(Frozen):
    """Comparison of the versions of an endpoint."""

    model: str
    experiment: str
    """Name of the experiment; empty if there is none."""
    since: datetime
    """Time of the first prediction that was read."""
    until: datetime
    """Time of the last one."""
    arms: tuple[Arm, ...]
    ratio: Ratio | None
    keys: Keys | None
    joined: Joined | None
    metric: Metric | None
    shadow: Shadow | None
    notes: tuple[str, ...] = ()
    """Sentences about the log: other experiments, unreadable files."""

    def arm(self, role: str) -> Arm | None:
        """Return the arm of this role."""
        return next((arm for arm in self.arms if arm.role == role), None)

    @computed_field
    @property
    def problems(self) -> tuple[str, ...]:
        """Reasons why nothing may be concluded."""
        return tuple(_problems(self))

    @computed_field
    @property
    def decision(self) -> Decision:
        """Recommendation, for programs."""
        if not self.arm("challenger"):
            return Decision.NO_CHALLENGER
        if self.problems:
            return Decision.DO_NOT_CONCLUDE
        if not self.metric:
            return Decision.NO_OUTCOMES
        if not self.metric.overall.decided:
            return Decision.CONTINUE
        better = (self.metric.overall.difference > 0) == self.metric.more_is_better
        return Decision.PROMOTE if better else Decision.ABORT

    @computed_field
    @property
    def recommendation(self) -> str:
        """Recommendation in words."""
        return _recommendation(self)

    @computed_field
    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what a reader should know before using the figures."""
        return (*_warnings(self), *self.notes)


def _problems(report: Report) -> Iterator[str]:
    ratio, keys = report.ratio, report.keys
    if ratio and not ratio.passes:
        units = ratio.champion + ratio.challenger
        yield (
            f"{ratio.challenger:,} of {units:,} units ({ratio.challenger / units:.2%}) saw the challenger and "
            f"{ratio.percent:g} % were declared (p = {ratio.p:.1g}), so something other than chance chose who is "
            "counted; look for requests that were lost in one arm, or a changed percent (then write --since)"
        )
    if keys and keys.in_both > MOST_IN_BOTH * keys.units:
        yield (
            f"{keys.in_both:,} of {keys.units:,} units saw both versions; if the percent was changed, write --since "
            "with that time, else look for failures of the challenger"
        )
    for arm in report.arms:
        if len(arm.versions) > 1 and arm.role != "shadow":
            versions = " and ".join(map(str, arm.versions))
            yield (
                f"the {arm.role} was versions {versions} in this period; write --since with the time of the last change"
            )


def _warnings(report: Report) -> Iterator[str]:
    keys = report.keys
    requests = sum(arm.requests for arm in report.arms if arm.role != "shadow")
    if keys and keys.repeated_requests > MOST_REPEATED * requests:
        examples = ", ".join(f"{name} ({count:,} keys)" for name, count in keys.repeated.items())
        yield (
            f"{keys.repeated_requests:,} requests have inputs that came under many keys: {examples}; if one customer "
            "is behind them, that client changes its key with each request and sees both versions"
        )
    if keys and keys.unassigned > (requests + keys.unassigned) / 2:
        yield f"most requests ({keys.unassigned:,}) carry no key and are in no arm; let the clients send it"
    for arm in report.arms:
        if arm.errors is not None and (failed := sum(n for code, n in arm.errors.items() if code >= "500")):
            yield f"the {arm.role} failed {failed:,} requests (5xx)"
    champion, challenger = report.arm("champion"), report.arm("challenger")
    if champion and challenger and challenger.latency.p95 > 1.2 * champion.latency.p95:
        yield (
            f"the challenger is slower: p95 {challenger.latency.p95:.1f} ms, and {champion.latency.p95:.1f} ms for the "
            "champion"
        )


def _recommendation(report: Report) -> str:
    challenger, champion, metric = report.arm("challenger"), report.arm("champion"), report.metric
    new = challenger.versions[0] if challenger else 0
    match report.decision:
        case Decision.DO_NOT_CONCLUDE:
            return "Do not conclude anything from this experiment."
        case Decision.NO_CHALLENGER:
            return "There is no challenger; a shadow can agree or disagree, and cannot be better."
        case Decision.PROMOTE if metric:
            return (
                f"Promote version {new}: its {metric.name} is better. Write version: {new} in the stack file, and "
                "remove the challenger."
            )
        case Decision.ABORT if metric and champion:
            return (
                f"Keep version {champion.versions[0]}: the {metric.name} of version {new} is worse. Remove the "
                "challenger from the stack file."
            )
        case _:
            return _next(metric)


def _next(metric: Metric | None) -> str:
    """Return what an experiment needs that has no winner yet."""
    if not metric:
        return (
            "Nothing says yet which version is better: the log has predictions and no outcomes. "
            "Write --outcomes with what really happened."
        )
    overall = metric.overall
    if overall.low is None:
        least = min(overall.champion_units, overall.challenger_units)
        return f"Go on: an arm has {least:,} units with outcomes, and an interval needs {LEAST_UNITS}."
    if metric.units_to_decide is None:
        return "Go on: there is no difference so far."
    units = overall.champion_units + overall.challenger_units
    days = metric.days_to_decide
    when = f", in about {math.ceil(days):,} day{'s' if days > 1 else ''}" if days is not None and days < 10_000 else ""
    return (
        f"Go on: the difference is not certain. If it stays as large as it is, {metric.units_to_decide:,} units with "
        f"outcomes decide ({units:,} now){when}. You may look again at any time."
    )
