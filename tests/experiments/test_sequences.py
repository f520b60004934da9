"""Daily looks at simulated experiments: few false winners, real differences found, biased splits found."""

import pytest

from bench.experiments import Shares, World, shares
from experiments.sequences import (
    LEAST_UNITS,
    Sample,
    deviation,
    difference,
    sample_ratio,
    units_to_decide,
)

SMALL = {"days": 14, "new_units": 120}


@pytest.fixture(scope="module")
def same() -> Shares:
    return shares(World(**SMALL, share=0.5), 200)


def test_at_most_one_in_twenty_experiments_without_a_difference_finds_a_winner_on_any_day(same: Shares) -> None:
    assert same.sequence <= 0.05
    assert same.fixed > 0.15  # what the same looks do with an interval for one look


def test_a_rare_error_that_a_small_arm_has_not_seen_yet_is_no_winner() -> None:
    assert shares(World(**SMALL, share=0.1, error=0.02), 100).sequence <= 0.05


def test_a_real_difference_is_found_with_the_right_winner() -> None:
    found = shares(World(**SMALL, share=0.5, effect=-0.12), 50)
    assert found.better == found.sequence > 0.9


def test_a_biased_split_is_found_and_a_fair_one_is_not(same: Shares) -> None:
    assert same.ratio <= 0.01
    assert shares(World(**SMALL, share=0.5, biased_share=0.6), 50).ratio > 0.9


def test_the_announced_number_of_units_decides_and_one_unit_less_does_not() -> None:
    first, second = Sample(5000, 0.80, 0.16), Sample(5000, 0.82, 0.15)
    one = deviation(first, second)
    units = units_to_decide(0.02, one)
    assert units > 10_000
    for number, decided in ((units, True), (units - 2, False)):
        half = number // 2
        arms = (Sample(half, 0.80, 0.16), Sample(number - half, 0.82, 0.15))
        interval = difference(*arms)
        assert interval is not None
        assert interval.excludes_zero == decided


def test_an_arm_with_few_units_has_no_interval() -> None:
    assert difference(Sample(5000, 0.5, 0.2), Sample(LEAST_UNITS - 1, 0.9, 0.1)) is None


@pytest.mark.parametrize(("units", "percent"), [(100, 1), (10_000, 10), (1_000_000, 50)])
def test_an_exact_split_is_no_evidence(units: int, percent: int) -> None:
    challenger = units * percent // 100
    assert sample_ratio(units - challenger, challenger, percent / 100) == 1
