from dataclasses import replace

from contract.tags import DRIFT_WINDOWS
from drift import hypotheses
from drift.look import Look, Request
from drift.record import windows_in_a_row
from tests.drift.examples import DAY, START, reference, rows, window

REQUEST = Request(model="model", version=1, start=START, end=START + DAY)


def look(probability: float = 1.0, size: float = 1.0) -> Look:
    table = rows(1_000, 4)
    table = table.assign(size=table["size"] * size, probability=table["probability"] * probability)
    made = window(table, reference())
    return Look(request=REQUEST, window=made, findings=hypotheses.decide(hypotheses.compare(made), 0.01), notes=())


def test_windows_with_an_effect_on_the_predictions_are_counted_in_a_row() -> None:
    worse = look(probability=0.6)
    assert worse.has_effect
    assert [windows_in_a_row({DRIFT_WINDOWS: str(before)}, worse) for before in (0, 1, 2)] == [1, 2, 3]
    assert windows_in_a_row({}, worse) == 1


def test_drift_without_an_effect_on_the_predictions_ends_the_row() -> None:
    harmless = look(size=100)
    assert harmless.status == "drift"
    assert windows_in_a_row({DRIFT_WINDOWS: "2"}, harmless) == 0


def test_a_window_with_too_few_rows_changes_nothing() -> None:
    assert windows_in_a_row({DRIFT_WINDOWS: "2"}, replace(look(), findings=())) == 2
