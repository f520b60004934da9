import os
from pathlib import Path

import pytest

from model_server import body_budget
from model_server.body_budget import BodyBudget, memory_limit

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("file", ["memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize(("text", "limit"), [("1048576\n", 1 << 20), (f"{1 << 62}\n", MACHINE)])
def test_the_memory_limit_is_that_of_the_container_and_never_more_than_the_machine(
    tmp_path: Path, file: str, text: str, limit: int
) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / file).write_text(text)
    assert memory_limit(tmp_path) == limit


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) == MACHINE
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit(tmp_path) == MACHINE


class Clock:
    """A clock that each test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(body_budget, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def evicted_of_two(budget: BodyBudget, clock: Clock, steps: str) -> list[str]:
    """Let two senders send 10 bytes at each of their letters; a dot is a second. Return those that were cut."""
    cut: list[str] = []
    with budget.receiving(lambda: cut.append("a")) as a, budget.receiving(lambda: cut.append("b")) as b:
        for step in steps:
            if step == ".":
                clock.now += 1
            else:
                budget.add(a if step == "a" else b, 10)
    return cut


@pytest.mark.parametrize(
    ("steps", "evicted"),
    [("ab", []), ("aaaaa.bbbbb.b", ["a"]), ("bbbbb.aaaaa.a", ["b"]), ("aaaaaaaaa.b.b.b", ["a"])],
    ids=["room", "the first stopped", "the second stopped", "a large body that stopped"],
)
def test_the_sender_that_stopped_makes_room(clock: Clock, steps: str, evicted: list[str]) -> None:
    budget = BodyBudget(100)
    assert evicted_of_two(budget, clock, steps) == evicted
    assert budget.used == 0


def test_a_sender_has_a_moment_before_it_counts_as_slow(clock: Clock) -> None:
    budget, cut = BodyBudget(100), list[str]()
    with budget.receiving(lambda: cut.append("a")):
        assert not budget.free_connection(1000)
        assert cut == []
        clock.now += 1
        assert budget.free_connection(1000)
        assert cut == ["a"]
