"""Checks side by side: time limits, checks that need others, and checks that fail."""

import threading
from collections.abc import Iterable, Iterator

from doctor.examination import Report, examine
from doctor.findings import Check, Finding, Level, UncheckedError, ok, problem
from runs.errors import ClusterError


def passes() -> Iterable[Finding]:
    return [ok("fine")]


def fails() -> Iterable[Finding]:
    return [problem("wrong", "it matters", "do this")]


def levels(reports: list[Report]) -> dict[str, list[Level]]:
    return {report.check: [each.level for each in report.findings] for report in reports}


def test_checks_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=20)

    def meets() -> Iterator[Finding]:
        meeting.wait()
        yield ok("met")

    found = examine([Check(name=str(number), run=meets) for number in range(3)])
    assert levels(found) == {"0": [Level.OK], "1": [Level.OK], "2": [Level.OK]}


def test_a_check_that_does_not_end_is_reported_and_the_others_are_made() -> None:
    for_ever = threading.Event()

    def hangs() -> Iterator[Finding]:
        for_ever.wait()
        yield ok("late")

    found = examine([Check(name="hangs", run=hangs), Check(name="passes", run=passes)], seconds=0.2)
    assert levels(found) == {"hangs": [Level.UNCHECKED], "passes": [Level.OK]}
    assert found[0].findings[0].why == "it did not finish within 0.2 s"
    for_ever.set()


def test_a_check_waits_for_the_one_that_it_needs() -> None:
    order = list[str]()

    def first() -> Iterator[Finding]:
        order.append("first")
        yield ok("fine")

    def second() -> Iterator[Finding]:
        order.append("second")
        yield ok("fine")

    found = examine([Check(name="second", run=second, needs="first"), Check(name="first", run=first)])
    assert order == ["first", "second"]
    assert [each.check for each in found] == ["second", "first"]


def test_a_check_whose_need_failed_is_named_and_not_made() -> None:
    found = examine(
        [
            Check(name="credentials", run=fails),
            Check(name="zones", run=passes, needs="credentials"),
            Check(name="pods", run=passes, needs="zones"),
        ]
    )
    assert levels(found) == {"credentials": [Level.PROBLEM, Level.UNCHECKED]}
    assert found[0].findings[1].what == "2 checks were not made (zones, pods)"


def test_what_does_not_exist_yet_ends_its_checks_without_a_word() -> None:
    def ends() -> Iterator[Finding]:
        yield ok("it does not exist yet", ends=True)

    found = examine([Check(name="cluster", run=ends), Check(name="pods", run=passes, needs="cluster")])
    assert levels(found) == {"cluster": [Level.OK]}


def raises(error: Exception) -> Check:
    def run() -> Iterable[Finding]:
        raise error

    return Check(name=type(error).__name__, run=run)


def test_a_check_that_cannot_be_made_is_no_pass_and_a_defect_is_reported_as_one() -> None:
    errors = [UncheckedError("it needs a permission", "allow it"), ClusterError("kubectl failed"), KeyError("zone")]
    found = {report.check: report.findings[0] for report in examine([raises(error) for error in errors])}
    assert found["UncheckedError"] == Finding(
        level=Level.UNCHECKED, what="could not be checked", why="it needs a permission", mend="allow it"
    )
    assert found["ClusterError"].level is Level.UNCHECKED
    assert (found["KeyError"].level, found["KeyError"].why) == (Level.DEFECT, "KeyError: 'zone'")


def test_the_watcher_gets_the_running_checks_and_the_finished_ones() -> None:
    seen = list[tuple[int, list[str]]]()
    examine(
        [Check(name="first", run=passes), Check(name="second", run=passes, needs="first")],
        watch=lambda reports, running: seen.append((len(reports), [*running])),
    )
    assert seen == [(0, ["first"]), (1, ["second"])]
