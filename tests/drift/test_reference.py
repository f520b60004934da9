import re

import numpy as np
import pytest

from drift import hypotheses, reference
from tests.drift.examples import profile, rows, window
from training.ending import BadInputError


def former() -> dict[str, object]:
    """Return a profile as former releases wrote it, without bins of equal mass and without calibration."""
    made = profile()
    for column in made["features"].values():
        column.pop("bins", None)
    made["prediction"].pop("calibration")
    return made


def test_a_profile_of_a_former_release_still_finds_drift() -> None:
    about = reference.parse(former(), "model version 1")
    assert about.is_old
    assert about.calibration is None
    table = rows(1_000, 5)
    clean = hypotheses.decide(hypotheses.compare(window(table, about)), 0.01)
    shifted = hypotheses.decide(hypotheses.compare(window(table.assign(size=table["size"] + 6), about)), 0.01)
    assert not any(one.is_drift for one in clean)
    assert [one.column for one in shifted if one.is_drift][:1] == ["size"]


def test_the_bins_of_a_skewed_column_have_equal_mass() -> None:
    size = next(one for one in reference.parse(profile(), "").features if one.name == "size")
    assert isinstance(size, reference.Numbers)
    assert size.rows == 4_000
    assert len(size.edges) == 101
    assert np.ptp(size.counts[1:-1]) <= 1


def test_a_feature_without_values_at_the_training_is_not_compared() -> None:
    made = profile()
    made["features"]["size"] = {"kind": "number", "missing": 4_000}
    assert reference.parse(made, "").empty == ["size"]


@pytest.mark.parametrize(("text", "said"), [("{", "is not JSON"), ("{}", "rows: Field required")])
def test_a_profile_that_cannot_be_read_says_what_to_do(text: str, said: str) -> None:
    with pytest.raises(BadInputError, match=f"model version 1: .*{re.escape(said)}.*; train the model again"):
        reference.read(text, "model version 1")
