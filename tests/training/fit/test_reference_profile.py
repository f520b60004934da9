import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.training.test_project import declared
from training.fit import reference_profile
from training.fit.predictions import BinaryPredictions
from training.project import categories, integers, numbers

ROWS = 200
PREDICTIONS = BinaryPredictions(
    truth=np.arange(4) < 2, predicted=np.arange(4) < 1, probability=np.array([0.9, 0.4, 0.1, 0.1])
)


def describe(**columns: object) -> dict[str, Any]:
    """Return the profile of the columns as read from JSON; check that the columns are not changed."""
    known, before = pd.DataFrame(columns), pd.DataFrame(columns)
    project = declared(columns=[*numbers("size"), *categories("word")])
    kept = json.loads(json.dumps(reference_profile.describe(project, known, PREDICTIONS)))
    pd.testing.assert_frame_equal(known, before)
    return kept


def test_many_words_are_counted_up_to_a_hundred_and_the_rest_together() -> None:
    words = [f"word {number % 150}" if number else None for number in range(ROWS)]
    kept = describe(size=1.0, word=pd.Categorical(words))["features"]["word"]
    assert len(kept["counts"]) == 100
    assert kept["missing"] == 1
    assert sum(kept["counts"].values()) + kept["others"] + kept["missing"] == ROWS


def test_numbers_are_kept_where_there_are_any() -> None:
    size = np.where(np.arange(ROWS) % 4, np.random.default_rng(1).normal(5, 2, ROWS), np.nan)
    kept = describe(size=size, word=pd.Categorical(["a"] * ROWS))["features"]["size"]
    assert kept["missing"] == 50
    assert kept["mean"] == pytest.approx(np.nanmean(size))
    assert kept["quantiles"]["0.5"] == np.nanmedian(size)
    assert sum(kept["histogram"]["counts"]) == 150


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**53, 2**53 + 2, 2**53 + 2], dtype="int64"),
        np.array([1e17, 1e17, 1e17]),
        np.array([1.0, np.nextafter(1.0, 2.0), 1.0]),
        np.array([10**18, 10**18, 10**18], dtype="int64"),
    ],
)
def test_large_numbers_that_are_near_to_each_other_have_a_histogram(values: object) -> None:
    kept = describe(size=values, word=pd.Categorical(["a"] * 3))["features"]["size"]["histogram"]
    assert sum(kept["counts"]) == 3
    assert len(kept["edges"]) == len(kept["counts"]) + 1
    assert kept["edges"] == sorted(set(kept["edges"]))


def test_the_range_of_a_large_whole_number_is_exact() -> None:
    known = pd.DataFrame({"size": [2**53 + 1, 2**62 + 1]})
    assert reference_profile.ranges(declared(columns=integers("size")), known) == {"size": [2**53 + 1, 2**62 + 1]}


def test_a_feature_without_a_value_is_kept_as_missing() -> None:
    assert describe(size=np.nan, word=pd.Categorical(["a"] * 9))["features"]["size"] == {"kind": "number", "missing": 9}


def test_predictions_are_kept_by_label_and_by_probability() -> None:
    kept = describe(size=1.0, word=pd.Categorical(["a"] * 9))["prediction"]
    assert kept["label"]["counts"] == {"No": 3, "Yes": 1}
    assert kept["probability"]["histogram"]["counts"][2] == 2
    assert kept["rows"] == 4
