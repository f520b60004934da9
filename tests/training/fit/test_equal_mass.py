import numpy as np

from training.fit import equal_mass


def test_a_column_with_few_values_has_a_bin_for_each() -> None:
    found = equal_mass.bins(np.array([3.0, 1.0, 1.0, 2.0]))
    assert found == {"edges": [1.0, 2.0, 3.0], "counts": [2, 1, 1]}


def test_a_skewed_column_has_a_hundred_bins_of_equal_mass() -> None:
    found = equal_mass.bins(np.random.default_rng(1).lognormal(0, 2, 10_000))
    assert len(found["edges"]) == 101
    assert sum(found["counts"]) == 10_000
    assert {99, 100, 101} >= set(found["counts"][1:])


def test_calibration_counts_all_rows_in_groups_of_rising_probability() -> None:
    probability = np.random.default_rng(1).random(1_000)
    found = equal_mass.calibration(probability, probability > 0.5)
    assert sum(found["rows"]) == 1_000
    assert sum(found["positives"]) == (probability > 0.5).sum()
    assert found["probability"] == sorted(found["probability"])
