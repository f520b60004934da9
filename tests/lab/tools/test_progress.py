"""Progress output while tools are built."""

import io

import pytest
from rich.console import Console

from images import board
from images.board import Board
from lab.tools.build import Pending
from lab.tools.catalog import CATALOG
from lab.tools.progress import Compilation, clock, expected_seconds

CNI = CATALOG["cni"]


def test_seconds_read_as_a_clock() -> None:
    assert [clock(5), clock(75.9), clock(3605)] == ["0:05", "1:15", "60:05"]


def test_a_build_that_go_has_half_done_is_expected_to_take_less_long() -> None:
    assert expected_seconds(Pending([CNI], 1000, 500)) < expected_seconds(Pending([CNI], 1000, 1000))


def test_the_estimate_begins_with_what_is_expected_and_then_follows_the_pace_of_this_machine() -> None:
    with Board(Console(file=io.StringIO())).line("building") as line:
        building = Compilation(line, Pending([CNI], packages=90, stale=1000))
    expected = expected_seconds(building.pending)
    assert building.seconds_left(building.began) == expected
    building.done = 500  # half is done in twice the time expected for all: as much again is left
    assert building.seconds_left(building.began + 2 * expected) == pytest.approx(2 * expected)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_and_a_log_show_packages_done_of_how_many(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    monkeypatch.setattr(board, "PLAIN_INTERVAL", 0)
    output = io.StringIO()
    screen = Board(Console(file=output, force_terminal=terminal, width=200))
    with screen.line("building cni") as line:
        building = Compilation(line, Pending([CNI], packages=90, stale=40))
        for _ in range(40):
            building.compiled("example.invalid/a")
        line.live.refresh()
    assert "40/40, about 0:00 left: example.invalid/a" in output.getvalue()
