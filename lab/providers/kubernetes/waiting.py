"""Waiting for an object to become ready, or to be gone."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lab.providers.kubernetes.cluster import Cluster, RefusedError, why_still_there
from lab.providers.kubernetes.objects import SKIP_AWAIT, TIMEOUT_SECONDS, annotation, title
from lab.providers.kubernetes.readiness import check_of, explain
from lab.providers.plugin import RefusalError
from lab.providers.values import Tree, section

DEFAULT_SECONDS: Final = 600
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.5
QUIET_SECONDS: Final = 3  # before the Pods are looked at for the status line


class InterruptedWaitError(RefusalError):
    """The engine asked to stop."""


class NotReadyError(Exception):
    """The object exists and is not ready."""

    def __init__(self, live: Tree, reasons: list[str]) -> None:
        self.live = live
        self.reasons = reasons
        super().__init__("; ".join(reasons))


@dataclass(frozen=True)
class Patience:
    """How long to wait, whether to go on, and where to say what for."""

    seconds: float
    go_on: Callable[[], bool]
    say: Callable[[str], None]


def seconds_for(tree: Tree, custom: float) -> float:
    """`customTimeouts` (0: none), else the annotation, else 10 minutes."""
    told = annotation(tree, TIMEOUT_SECONDS)
    if custom:
        return custom
    return float(told) if told and told.isdigit() else DEFAULT_SECONDS


def is_awaited(tree: Tree) -> bool:
    """False with `pulumi.com/skipAwait: "true"`."""
    return annotation(tree, SKIP_AWAIT) != "true"


def until_ready(cluster: Cluster, live: Tree, patience: Patience) -> Tree:
    """The object once it is ready; NotReadyError with what stands in the way."""
    check = check_of(live)
    start, pause, said = time.monotonic(), FIRST_PAUSE, ""
    while check:
        progress = check(live, cluster)
        if progress.ready:
            break
        waited = time.monotonic() - start
        if progress.failure or waited >= patience.seconds:
            raise NotReadyError(live, _reasons(cluster, live, progress.failure, progress.waits_for, patience.seconds))
        if not patience.go_on():
            raise NotReadyError(live, [f"{title(live)}: waiting was interrupted; it waits for {progress.waits_for}"])
        message = f"Waiting for {progress.waits_for}"
        if waited > QUIET_SECONDS:
            message = "; ".join([message, *explain(live, cluster, deep=False)])
        if message != said:
            patience.say(message)
            said = message
        time.sleep(min(pause, max(0.05, patience.seconds - waited)))
        pause = min(LONGEST_PAUSE, pause * 1.4)
        found = cluster.get_like(live)
        if found is None:
            raise NotReadyError(live, [f"{title(live)} was deleted by someone else while it was waited for"])
        live = found
    if said:
        patience.say("")
    return live


def not_ready(cluster: Cluster, live: Tree) -> list[str]:
    """Why it is not ready right now; empty when it is."""
    check = check_of(live)
    progress = check(live, cluster) if check else None
    if progress is None or progress.ready:
        return []
    first = f"{title(live)} is not ready: {progress.failure or f'it waits for {progress.waits_for}'}"
    return [first, *explain(live, cluster, deep=True)]


def _reasons(cluster: Cluster, live: Tree, failure: str, waits_for: str, seconds: float) -> list[str]:
    after = f"after {seconds:.0f} s it still waits for {waits_for}"
    return [f"{title(live)} did not become ready: {failure or after}", *explain(live, cluster, deep=True)]


def until_gone(cluster: Cluster, tree: Tree, patience: Patience) -> None:
    """Returns when no object of that name is left, or one that is new; RefusedError says what holds it back."""
    start, pause, said = time.monotonic(), FIRST_PAUSE, ""
    uid: str | None = None
    while True:
        live = cluster.get_like(tree)
        if live is None or (uid and section(live, "metadata").get("uid") != uid):
            return
        uid = section(live, "metadata").get("uid")
        if time.monotonic() - start > patience.seconds:
            raise RefusedError(
                f"{title(tree)} is still there {patience.seconds:.0f} s after its deletion: {why_still_there(live)}"
            )
        if not patience.go_on():
            raise InterruptedWaitError(f"{title(tree)} is being deleted; waiting for it was interrupted")
        message = f"Waiting for it to be gone ({why_still_there(live)})"
        if message != said and time.monotonic() - start > QUIET_SECONDS:
            patience.say(message)
            said = message
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 1.4)
