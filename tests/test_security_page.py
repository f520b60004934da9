"""Tables in docs/security.md against the tests that they name."""

import re
from pathlib import Path

from tests.e2e.test_network_policies import FLOWS, TARGETS

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "security.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its first two lines."""
    lines = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0].splitlines()
    table = [line for line in lines if line.startswith("|")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in [table[0], *table[2:]]]


def test_the_flows_on_the_page_are_those_that_the_lab_tries() -> None:
    (_, *targets), *flows = rows("Network flows")
    assert set(targets) == {*TARGETS, "host"}
    shown = {
        source: {each for each, cell in zip(targets, cells, strict=True) if cell == "yes"} for source, *cells in flows
    }
    assert shown == FLOWS


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE))
    assert len(named) > 30
    sources = {file: (TESTS / file).read_text() if (TESTS / file).is_file() else "" for file, _ in named}
    assert not {f"{file}::{name}" for file, name in named if f"def {name}(" not in sources[file]}


def test_a_finding_without_a_test_is_open() -> None:
    outcomes = {outcome for _, test, outcome in rows("Findings and tests")[1:] if not test}
    assert all(outcome.startswith("open") for outcome in outcomes)
