"""Runs checks side by side, each with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from queue import Empty, SimpleQueue

from doctor.findings import Check, Finding, Level, UncheckedError, unchecked
from runs.errors import RunsError

LIMIT = 30.0
"""Time limit of one check in seconds."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Findings of one check."""

    check: str
    """Name of the check."""
    findings: Sequence[Finding]
    """Findings of the check, at least one."""

    @property
    def passed(self) -> bool:
        """Whether the checks that need this one can be made."""
        return not any(each.ends or each.level not in {Level.OK, Level.WARNING} for each in self.findings)


Watcher = Callable[[Sequence[Report], Sequence[str]], None]
"""Function that gets the finished reports and the names of the running checks after each change."""


def _ignore(_: Sequence[Report], __: Sequence[str]) -> None:
    """Watch nothing."""


def examine(checks: Sequence[Check], *, seconds: float = LIMIT, watch: Watcher = _ignore) -> list[Report]:
    """Make all checks and return their reports, in the order of the checks.

    A check that needs a failed one is not made; the report of the failed check names it. A check that exceeds the time
    limit is reported as unchecked, and its thread is left to end by itself.
    """
    done = SimpleQueue[tuple[str, list[Finding] | BaseException]]()
    deadlines = dict[str, float]()
    reports = dict[str, Report]()
    # The threads of this pool are daemons: a check that hangs does not keep the process alive.
    with ThreadPool(max(len(checks), 1)) as pool:

        def start(several: Iterable[Check]) -> None:
            for check in several:
                deadlines[check.name] = time.monotonic() + seconds
                report = partial(_put, done, check.name)
                pool.apply_async(_made, (check,), callback=report, error_callback=report)

        start(check for check in checks if check.needs is None)
        while deadlines:
            watch([*reports.values()], [*deadlines])
            try:
                name, outcome = done.get(timeout=max(min(deadlines.values()) - time.monotonic(), 0))
            except Empty:
                name, outcome = min(deadlines, key=lambda each: deadlines[each]), _late(seconds)
            if deadlines.pop(name, None) is None:  # its time limit was reported before
                continue
            reports[name] = Report(check=name, findings=outcome if isinstance(outcome, list) else [_failed(outcome)])
            if reports[name].passed:
                start(check for check in checks if check.needs == name)
            elif (left_out := _dependents(checks, name)) and not any(each.ends for each in reports[name].findings):
                reports[name] = Report(check=name, findings=[*reports[name].findings, _without(name, left_out)])
    return [reports[check.name] for check in checks if check.name in reports]


def _made(check: Check) -> list[Finding]:
    return list(check.run())


def _put(
    done: SimpleQueue[tuple[str, list[Finding] | BaseException]], name: str, outcome: list[Finding] | BaseException
) -> None:
    done.put((name, outcome))


def _late(seconds: float) -> UncheckedError:
    return UncheckedError(f"it did not finish within {seconds:g} s", "run mlops doctor again; look at the network")


def _failed(error: BaseException) -> Finding:
    match error:
        case UncheckedError():
            return unchecked(str(error), error.mend)
        case RunsError():
            return unchecked(str(error))
        case _:
            return Finding(
                level=Level.DEFECT,
                what="the check itself failed",
                why=f"{type(error).__name__}: {' '.join(str(error).split())}",
                mend="report this line as a defect of mlops doctor",
            )


def _dependents(checks: Sequence[Check], name: str) -> list[str]:
    direct = [check.name for check in checks if check.needs == name]
    return [each for one in direct for each in [one, *_dependents(checks, one)]]


def _without(name: str, left_out: Sequence[str]) -> Finding:
    count = "1 check was" if len(left_out) == 1 else f"{len(left_out)} checks were"
    return unchecked(f"they need the check {name} to pass", what=f"{count} not made ({', '.join(left_out)})")
