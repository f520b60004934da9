"""Pictures of the dashboards, from series as Prometheus returns them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monitoring import pictures
from monitoring.boards import Board, Panel, Query

BOARD = Board(
    title="Churn",
    of_endpoint=True,
    panels=[
        Panel(title="Requests", queries=[Query(expr='rate(a{endpoint="$endpoint"})', legend="version {{version}}")]),
        Panel(title="Age", queries=[Query(expr="age", legend="{{model}}")], unit="s", number=True),
        Panel(title="Failures", queries=[Query(expr="failures", legend="all")]),
    ],
)  # fmt: skip
ANSWERS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    'rate(a{endpoint="churn"})': [
        {"metric": {"version": "7"}, "values": [[1000, "1"], [1015, "2"]]},
        {"metric": {"version": "8"}, "values": [[1015, "NaN"]]},
    ],
    "age": [
        {"metric": {"model": "gone"}, "values": [[1000, "5"]]},
        {"metric": {"model": "churn"}, "values": [[1015, "7200"]]},
    ],
}


def drawn(folder: Path) -> tuple[list[str], str]:
    """Return the panels without a value, and the picture's text."""
    file = folder / "board.svg"
    empty = pictures.draw(BOARD, "churn", lambda expr: ANSWERS.get(expr, []), "1m", file)
    return empty, file.read_text()


def test_a_picture_names_the_endpoint_and_the_series_that_have_a_value(tmp_path: Path) -> None:
    _, text = drawn(tmp_path)
    assert "Churn churn" in text
    assert "version 7" in text
    assert "version 8" not in text


def test_a_number_is_the_last_value_of_what_exists_still(tmp_path: Path) -> None:
    _, text = drawn(tmp_path)
    assert "churn  2:00:00" in text
    assert "gone" not in text


def test_panels_without_a_value_are_named(tmp_path: Path) -> None:
    assert drawn(tmp_path)[0] == ["Failures"]
