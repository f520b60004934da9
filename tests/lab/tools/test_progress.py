"""What a person reads while tools are built."""

import io

from rich.console import Console

from lab.tools.build import Pending
from lab.tools.catalog import CNI, PULUMI_ENGINE
from lab.tools.progress import Estimate, seconds, watching


def test_seconds_read_as_a_clock() -> None:
    assert [seconds(5), seconds(75.9), seconds(3605)] == ["0:05", "1:15", "60:05"]


def test_a_build_that_go_has_half_done_is_expected_to_take_half_as_long() -> None:
    whole, half = (Pending(PULUMI_ENGINE, 1000, stale).seconds for stale in (1000, 500))
    assert (whole, half) == (PULUMI_ENGINE.cold_seconds, PULUMI_ENGINE.cold_seconds / 2)


def test_the_estimate_begins_with_the_catalogs_figures() -> None:
    queue = [Pending(PULUMI_ENGINE, 1000, 1000), Pending(CNI, 100, 100)]
    assert Estimate(queue, clock=0).left(now=0) == PULUMI_ENGINE.cold_seconds + CNI.cold_seconds


def test_the_estimate_follows_the_pace_of_this_machine() -> None:
    """Half is done in twice the time expected for all: as much again is left, and the next takes four times as long."""
    slow = Estimate([Pending(PULUMI_ENGINE, 1000, 1000), Pending(CNI, 100, 100)], clock=0, done=500)
    expected = PULUMI_ENGINE.cold_seconds
    assert slow.left(now=2 * expected) == 2 * expected + 4 * CNI.cold_seconds


def test_a_log_gets_whole_lines_that_say_what_how_many_and_how_long() -> None:
    log = io.StringIO()
    queue = [Pending(CNI, 90, 40)]
    with watching(Console(file=log, width=200), queue) as watch:
        watch.begin(queue[0])
        watch.compiled("example.invalid/a")
        watch.end()
    assert log.getvalue().splitlines() == ["building cni: 40 of 90 packages to compile", "built cni in 0:00"]


def test_a_terminal_shows_packages_done_of_how_many_and_an_estimate() -> None:
    screen = io.StringIO()
    queue = [Pending(CNI, 90, 40)]
    with watching(Console(file=screen, force_terminal=True, width=160), queue) as watch:
        watch.begin(queue[0])
        for _ in range(39):
            watch.compiled("example.invalid/a")
        watch.end()
    assert "40/40" in screen.getvalue()
    assert "built" in screen.getvalue()
