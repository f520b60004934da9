"""Progress output while tools are built."""

import io

import pytest
from rich.console import Console

from lab.tools.build import Pending
from lab.tools.catalog import CATALOG
from lab.tools.progress import Compilation, clock, expected_seconds

CNI = CATALOG["cni"]


def compilation(file: io.StringIO, *, stale: int, terminal: bool = False) -> Compilation:
    console = Console(file=file, force_terminal=terminal, width=200)
    return Compilation(console, Pending([CNI], packages=90, stale=stale))


def test_seconds_read_as_a_clock() -> None:
    assert [clock(5), clock(75.9), clock(3605)] == ["0:05", "1:15", "60:05"]


def test_a_build_that_go_has_half_done_is_expected_to_take_less_long() -> None:
    assert expected_seconds(Pending([CNI], 1000, 500)) < expected_seconds(Pending([CNI], 1000, 1000))


def test_the_estimate_begins_with_what_is_expected_and_then_follows_the_pace_of_this_machine() -> None:
    building = compilation(io.StringIO(), stale=1000)
    expected = expected_seconds(building.pending)
    assert building.seconds_left(building.began) == expected
    building.done = 500  # half is done in twice the time expected for all: as much again is left
    assert building.seconds_left(building.began + 2 * expected) == pytest.approx(2 * expected)


def test_a_log_gets_whole_lines_that_say_what_how_many_and_how_long() -> None:
    log = io.StringIO()
    with compilation(log, stale=40) as building:
        building.compiled("example.invalid/a")
    first, *_, last = log.getvalue().splitlines()
    assert (first, last) == ("building cni: 40 of 90 packages to compile", "built cni in 0:00")


def test_a_terminal_shows_packages_done_of_how_many() -> None:
    screen = io.StringIO()
    with compilation(screen, stale=40, terminal=True) as building:
        for _ in range(40):
            building.compiled("example.invalid/a")
        building.bar.refresh()
    assert "40/40" in screen.getvalue()
    assert "built cni in" in screen.getvalue()
