"""Simulates experiments whose results are read every day, and counts wrong and right conclusions.

    python -m bench.experiments

Customers come back: each has a rate of visits, and each visit has an outcome, so the values of one customer are alike.
The same daily looks are judged by the confidence sequence of `mlops compare` and by a fixed-horizon interval (95 %).
"""

import argparse
import math
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.report import LEAST_RATIO_P
from experiments.sequences import Sample, deviation, difference, sample_ratio


@dataclass(frozen=True, kw_only=True)
class World:
    """Simulated experiment."""

    days: int = 28
    new_units: int = 200
    """Units that come for the first time, each day."""
    share: float = 0.1
    """Declared probability that a unit is in the challenger's arm."""
    biased_share: float | None = None
    """The true probability, if it is another."""
    error: float = 0.2
    """Mean share of wrong predictions of the champion."""
    effect: float = 0.0
    """Challenger's error minus the champion's."""
    returning: float = 0.3
    """Mean number of further visits of a unit on each later day."""


@dataclass(frozen=True)
class Verdict:
    """Conclusions of one experiment."""

    sequence: int
    """First day on which the confidence sequence found a winner; 0 if there is none."""
    fixed: int
    """First day on which the fixed-horizon interval found one; 0 if there is none."""
    last: bool
    """True if the fixed-horizon interval finds a winner on the last day."""
    better: bool
    """True if the confidence sequence finds that the challenger is better."""
    ratio: float
    """Least p-value of the sample ratio on all days."""


def run(world: World, seed: int) -> Verdict:
    """Simulate one experiment with one look a day."""
    rng = np.random.default_rng(seed)
    units = world.days * world.new_units
    first_day = np.repeat(np.arange(world.days), world.new_units)
    challenger = rng.random(units) < (world.biased_share or world.share)
    # Customers differ: a beta distribution of each one's probability of a wrong prediction.
    wrong = rng.beta(2 * world.error, 2 * (1 - world.error), units)
    wrong = np.clip(wrong + world.effect * challenger, 0, 1)
    totals, visits = np.zeros(units), np.zeros(units)
    sequence = fixed = 0
    last, better, least = False, False, 1.0
    for day in range(world.days):
        here = (day + 1) * world.new_units
        today = np.where(first_day[:here] == day, 1, rng.poisson(world.returning, here))
        visits[:here] += today
        totals[:here] += rng.binomial(today, wrong[:here])
        arms = _arms(totals[:here] / visits[:here], challenger[:here])
        interval = difference(*arms)
        least = min(least, sample_ratio(arms[0].units, arms[1].units, world.share))
        if interval is None:
            continue
        if interval.excludes_zero and not sequence:
            sequence, better = day + 1, interval.estimate < 0
        last = abs(interval.estimate) > 1.96 * deviation(*arms) / math.sqrt(here)
        if last and not fixed:
            fixed = day + 1
    return Verdict(sequence, fixed, last, better, least)


def sample(values: NDArray[np.float64]) -> Sample:
    """Return number, mean and variance of the values."""
    return Sample(len(values), float(values.mean()), float(values.var(ddof=1)))


def _arms(values: NDArray[np.float64], challenger: NDArray[np.bool_]) -> tuple[Sample, Sample]:
    first, second = (values[challenger == arm] for arm in (False, True))
    return sample(first), sample(second)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Shares of the experiments with each conclusion."""

    sequence: float
    """Share in which the confidence sequence found a winner on any day."""
    fixed: float
    """Share in which the fixed-horizon interval found one on any day."""
    last: float
    """Share in which the fixed-horizon interval found one on the last day, the only look that it allows."""
    better: float
    """Share in which the confidence sequence found that the challenger has fewer errors."""
    ratio: float
    """Share in which the sample ratio was refused on any day."""
    day: float
    """Median day of the confidence sequence's winner."""


def shares(world: World, times: int) -> Shares:
    """Simulate the world this many times."""
    verdicts = [run(world, seed) for seed in range(times)]
    days = [each.sequence for each in verdicts if each.sequence]
    return Shares(
        sequence=len(days) / times,
        fixed=sum(each.fixed > 0 for each in verdicts) / times,
        last=sum(each.last for each in verdicts) / times,
        better=sum(each.sequence > 0 and each.better for each in verdicts) / times,
        ratio=sum(each.ratio < LEAST_RATIO_P for each in verdicts) / times,
        day=float(np.median(days)) if days else math.nan,
    )


WORLDS = {
    "no difference, 50 %": World(share=0.5),
    "no difference, 10 %": World(),
    "no difference, 10 %, rare errors (2 %)": World(error=0.02),
    "no difference, 1 % of 2,000 a day": World(share=0.01, new_units=2000, returning=0),
    "no difference, no customer comes back": World(share=0.5, returning=0),
    "2 points better, 50 %": World(share=0.5, effect=-0.02),
    "4 points better, 50 %": World(share=0.5, effect=-0.04),
    "4 points better, 10 %": World(effect=-0.04),
    "4 points worse, 10 %": World(effect=0.04),
    "no difference, 50 % declared, 52 % come": World(share=0.5, biased_share=0.52),
    "no difference, 10 % declared, 12 % come": World(biased_share=0.12),
}


def main() -> None:
    """Print one line for each world. The exit code is 1 if a world without a difference has more than 5 % winners."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1000, help="experiments in each world (default: 1000)")
    options = parser.parse_args()
    print(
        "| world | winners, any day | day | fixed horizon, any day | fixed horizon, last day | sample ratio refused |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    wrong = False
    for name, world in WORLDS.items():
        found = shares(world, options.times)
        day = "" if math.isnan(found.day) else f"{found.day:.0f}"
        cells = (f"{found.sequence:.1%}", day, f"{found.fixed:.1%}", f"{found.last:.1%}", f"{found.ratio:.1%}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        wrong |= not world.effect and world.biased_share is None and found.sequence > 0.05
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
