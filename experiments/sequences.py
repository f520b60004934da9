"""Statistics that stay valid when people look at a running experiment as often as they like, and stop when they like.

A fixed-horizon interval is valid for one look at a sample size that was chosen before. With daily looks, its 5 % of
false winners become 20 % and more (bench/experiments.py measures both).
"""

import math
from dataclasses import dataclass

ALPHA = 0.05
"""Probability that an interval misses the truth at any of all looks."""
TIGHTEST_AT = 5000
"""Number of units at which the intervals are tightest. It must not depend on the data; the width hardly depends on
it: at a tenth or at ten times as many units, an interval is at most 1.3 times as wide as the best one."""
LEAST_UNITS = 100
"""Smallest number of units in each arm for an interval, because its coverage is asymptotic."""
SHARE_PRECISION = 1000
"""Weight of the expected share in the sample-ratio test, in units: biases from about one percentage point are found."""


@dataclass(frozen=True)
class Sample:
    """Units of one arm: their number, and mean and variance of their values."""

    units: int
    mean: float
    variance: float


@dataclass(frozen=True)
class Interval:
    """Estimate of a difference with the ends of its confidence sequence."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Return whether the difference is certain."""
        return self.low > 0 or self.high < 0


def margin(units: int, alpha: float = ALPHA) -> float:
    """Return half the width of a confidence sequence for a mean of values with variance 1, after this many units.

    This is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central
    limit theory and asymptotic confidence sequences", Annals of Statistics 52 (2024), arXiv:2103.06476, theorem 2.2.
    """
    scale = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / TIGHTEST_AT
    growth = units * scale + 1
    return math.sqrt(2 * growth / (units * units * scale) * math.log(math.sqrt(growth) / alpha))


def difference(champion: Sample, challenger: Sample, alpha: float = ALPHA) -> Interval | None:
    """Return the challenger's mean minus the champion's with its confidence sequence; None if an arm is too small.

    The difference of two means of a randomized experiment is the paper's doubly robust estimator (section 3) without
    covariates: each of the N units contributes one value, and the variance of these values is N times that of the
    difference.
    """
    if min(champion.units, challenger.units) < LEAST_UNITS:
        return None
    estimate = challenger.mean - champion.mean
    half = deviation(champion, challenger) * margin(champion.units + challenger.units, alpha)
    return Interval(estimate, estimate - half, estimate + half)


def deviation(champion: Sample, challenger: Sample) -> float:
    """Return the standard deviation of one unit's contribution to the difference.

    An arm's variance counts as the pooled one if it is smaller. Otherwise a small arm in which a rare error has not
    happened yet, so without variance, would win (bench/experiments.py: 18 % of experiments without a difference).
    """
    arms = (champion, challenger)
    units = champion.units + challenger.units
    pooled = sum((arm.units - 1) * arm.variance for arm in arms) / (units - 2)
    return math.sqrt(units * sum(max(arm.variance, pooled) / arm.units for arm in arms))


def units_to_decide(effect: float, one: float, alpha: float = ALPHA) -> int:
    """Return the number of units of both arms at which a difference of this size is certain.

    Args:
        effect: difference of the means, not 0.
        one: standard deviation of one unit's contribution (see `deviation`).
        alpha: probability of a wrong decision.
    """
    low, high = 1, 2 * LEAST_UNITS
    while one * margin(high, alpha) >= abs(effect):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if one * margin(middle, alpha) < abs(effect) else (middle, high)
    return high


def sample_ratio(champion: int, challenger: int, share: float) -> float:
    """Return the p-value of these numbers of units if each unit is in the challenger's arm with the given probability.

    The p-value is valid at every look: the inverse of the Bayes factor of Lindon and Malek, "Anytime-valid inference
    for multinomial count data", NeurIPS 2022, arXiv:2011.03567, with a prior around the expected share.
    """
    first, second = SHARE_PRECISION * (1 - share), SHARE_PRECISION * share
    evidence = (
        _log_beta(first + champion, second + challenger)
        - _log_beta(first, second)
        - champion * math.log1p(-share)
        - challenger * math.log(share)
    )
    return math.exp(min(0.0, -evidence))


def _log_beta(first: float, second: float) -> float:
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)
