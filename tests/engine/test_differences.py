"""Differences, in the engine's words."""

import pytest

from tests.engine.recording.differences import Difference, differences, property_path
from tests.engine.recording.values import UNKNOWN, Path, Secret


def test_only_the_innermost_places_are_named() -> None:
    old = {"spec": {"replicas": 1, "gone": {"a": 1}, "same": [1, 2]}}
    new = {"spec": {"replicas": 2, "same": [1, 2, 3], "more": True}}
    assert list(differences(old, new)) == [
        Difference(("spec", "replicas"), "update"),
        Difference(("spec", "gone"), "delete"),
        Difference(("spec", "same", 2), "add"),
        Difference(("spec", "more"), "add"),
    ]


def test_a_secret_is_its_value_and_nothing_is_absence() -> None:
    assert not list(differences({"a": Secret("x"), "b": None}, {"a": "x"}))


def test_an_unknown_differs_from_all_that_is_known() -> None:
    assert list(differences({"a": "x"}, {"a": UNKNOWN})) == [Difference(("a",), "update")]


def test_true_is_not_one() -> None:
    assert list(differences({"a": 1}, {"a": True})) == [Difference(("a",), "update")]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("spec", "containers", 0, "image"), "spec.containers[0].image"),
        (("metadata", "labels", "app.kubernetes.io/name"), 'metadata.labels["app.kubernetes.io/name"]'),
        (("data", "2nd"), 'data["2nd"]'),
    ],
)
def test_a_path_is_written_as_the_engine_reads_it(path: Path, text: str) -> None:
    assert property_path(path) == text
