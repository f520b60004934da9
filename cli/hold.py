"""Watches a challenger at one share, by the counters of an endpoint's pods."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from rich.console import Console

from cli.errors import CommandError
from cli.watch import Query
from contract import names
from contract.exit_codes import ExitCode
from contract.untyped import mapping
from experiments import guardrails
from experiments.guardrails import Arm, Counter, Limits, Watch
from pull_requests.stack_file import StackFile
from runs import pod_metrics
from runs.cluster import Cluster
from runs.errors import ClusterError

SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=2)
"""Shortest and longest hold."""
LOOKS, LOOK_SECONDS = 30, 15
"""Number of looks in a short hold, and largest number of seconds between two looks in a long one."""
PATIENCE_SECONDS = 120
"""Seconds after the start and the end of a hold within which the counters must be readable."""
Read = Callable[[], Sequence[Counter]]
_TIME = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Figures of one hold, as the JSON report has them."""

    percent: int
    seconds: float
    champion: Mapping[str, float | None]
    challenger: Mapping[str, float | None]
    assigned: int
    """Requests with a key."""
    reached: int
    """Requests with a key that routers sent to the challenger."""
    figures: str
    """All of this in words."""
    breaches: Sequence[str] = ()
    """Guardrails that the challenger broke, each as a sentence."""

    @property
    def requests(self) -> int:
        """Requests of the challenger."""
        return int(self.challenger["requests"] or 0)


def duration(text: str) -> timedelta:
    """Return the time of a hold. CommandError if it is no time, or too short or too long."""
    found = _TIME.fullmatch(text)
    hours, minutes, seconds = (int(each or 0) for each in found.groups()) if found else (0, 0, 0)
    hold = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if SHORTEST <= hold <= LONGEST:
        return hold
    raise CommandError(
        f"--hold {text} is not a time from {SHORTEST.seconds}s to {LONGEST.days * 24}h; the challenger is watched for "
        "so long at each share; write it as in 10m, 90s or 1h30m"
    )


def watch(read: Read, share: int, length: float, limits: Limits, console: Console) -> Seen:
    """Watch a challenger, and return what was seen when the time is over, or when it has broken a guardrail.

    Args:
        read: function that reads the counters.
        share: declared share of the challenger, in percent.
        length: time of the hold in seconds.
        limits: what the challenger may do. With fewer requests than `least`, it breaks nothing at the end.
        console: terminal for the progress.
    """
    start = time.monotonic()
    every = min(LOOK_SECONDS, max(1.0, length / LOOKS))
    seen = Watch(_patiently(read))
    with console.status("") as status:
        while (left := start + length - time.monotonic()) > 0:
            status.update(f"{share} %, {short(left)} left: {_figures(seen)}")
            time.sleep(min(every, left))
            seen.add(_if_readable(read))
            if broken := seen.breaches(limits, share, early=True):
                break
        else:
            seen.add(_patiently(read))
            broken = [] if seen.challenger.requests < limits.least else seen.breaches(limits, share, early=False)
    return Seen(
        percent=share,
        seconds=round(time.monotonic() - start, 1),
        champion=_arm(seen.champion),
        challenger=_arm(seen.challenger),
        assigned=seen.assigned,
        reached=seen.reached,
        figures=_figures(seen),
        breaches=[each.sentence for each in broken],
    )


def counters(cluster: Cluster, endpoint: str, query: Query | None) -> Read:
    """Return the function that reads all counters of an endpoint, after it has worked once.

    Routers are always read from their pods, and model servers too if there is no `query` of Prometheus. CommandError if
    nothing counts.
    """
    servers = ",".join((names.SERVERS[guardrails.CHAMPION], names.SERVERS[guardrails.CHALLENGER]))

    def pods(kinds: str) -> list[Counter]:
        texts = pod_metrics.read(cluster, endpoint, kinds)
        return [counter for pod, text in texts.items() for counter in guardrails.parsed(pod, text)]

    def read() -> list[Counter]:
        if query is None:
            return pods(f"{names.ROUTERS},{servers}")
        return [*pods(names.ROUTERS), *guardrails.of_prometheus(query(guardrails.query(endpoint)))]

    if not read():
        raise CommandError(
            f"no pod of {endpoint} counts requests, so nothing could be watched; run `pulumi up` first, or name "
            "another cluster with --context or --prometheus",
            ExitCode.FAILED,
        )
    return read


def limits(file: StackFile, endpoint: str, given: Limits) -> Limits:
    """Return the limits with the endpoint's objective for the 95th percentile, if none is given."""
    objective = mapping(file.written(endpoint).get("objectives")).get("p95_ms")
    if given.p95_seconds is None and isinstance(objective, int | float):
        return replace(given, p95_seconds=objective / 1000)
    return given


def context(file: StackFile) -> str | None:
    """Return the context of the kubeconfig that the stack file names; None: the current one."""
    found = mapping(file.config().get("mlops:foundation")).get("context")
    return found if isinstance(found, str) else None


def has_prometheus(file: StackFile) -> bool:
    """Return whether the stack runs a Prometheus in the cluster."""
    return mapping(file.config().get("mlops:monitoring")).get("kind") == "cluster"


def short(seconds: float) -> str:
    """Return a time as in 1h30m."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def _if_readable(read: Read) -> Sequence[Counter]:
    """Return the counters; none if they cannot be read now, because the next look counts the same requests."""
    try:
        return read()
    except (ClusterError, CommandError):
        return ()


def _patiently(read: Read) -> Sequence[Counter]:
    """Return the counters at the end of a hold. CommandError if they cannot be read for PATIENCE_SECONDS."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return read()
        except (ClusterError, CommandError) as error:
            if time.monotonic() > end:
                raise CommandError(
                    f"the requests cannot be counted ({error}), so the step is not judged and the share stays; run the "
                    "same command again",
                    ExitCode.FAILED,
                ) from error
            time.sleep(1)


def _figures(seen: Watch) -> str:
    arms = {"champion": seen.champion, "challenger": seen.challenger}
    return ", ".join(
        f"{role} {arm.requests:,} requests, {arm.failed:,} failed, {arm.refused:,} refused"
        + (f", p95 {1000 * arm.p95:.1f} ms" if arm.p95 is not None else "")
        for role, arm in arms.items()
    )


def _arm(found: Arm) -> Mapping[str, float | None]:
    p95 = None if found.p95 is None else round(1000 * found.p95, 3)
    return {"requests": found.requests, "failed": found.failed, "refused": found.refused, "p95_ms": p95}
