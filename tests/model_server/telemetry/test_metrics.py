"""Metrics as a scraper reads them."""

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from model_server.predict.scoring import Request
from model_server.responses import Response
from model_server.telemetry.metrics import LONGEST_LABEL, Metrics


def counted(predictions: Sequence[Any], classes: Sequence[str]) -> dict[str, float]:
    """Return how often each predicted class was counted, by its label."""
    metrics = Metrics({"model": "m", "version": "1", "role": "champion"}, classes=classes)
    response = Response(status=200, body=b"")
    metrics.answered(
        [Request(content_type=None, body=b"", request_id="a", rows=[()], predictions=predictions, response=response)]
    )
    families = text_string_to_metric_families(metrics.text().decode())
    samples = [sample for family in families for sample in family.samples]
    return {one.labels["value"]: one.value for one in samples if one.name == "serving_predictions_total"}


def test_classes_that_the_model_does_not_name_are_counted_together() -> None:
    assert counted(["No", "Ada Example", "No", "Bob Sample"], ["No", "Yes"]) == {"No": 2, "other": 2}


@pytest.mark.parametrize("number", [7, 4_012_888])
def test_a_number_that_the_model_does_not_name_is_not_shown(number: int) -> None:
    assert counted([number], []) == {"other": 1}


def test_truth_values_are_always_shown() -> None:
    assert counted([True, False, True], []) == {"True": 2, "False": 1}


def test_a_long_class_is_not_shown() -> None:
    names = ["x" * LONGEST_LABEL, "x" * (LONGEST_LABEL + 1)]
    assert counted(names, names) == {names[0]: 1, "other": 1}


def test_of_many_classes_the_first_are_shown() -> None:
    names = [str(number) for number in range(5000)]
    found = counted(names, names)
    assert found["0"] == 1
    assert len(found) < 200
    assert sum(found.values()) == 5000
