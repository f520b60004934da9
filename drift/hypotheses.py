"""Tests of the hypothesis that a window has the distribution of the reference, and the decision over all of them.

A window drifted if a test is significant after Holm's correction for the number of tests, and if its effect is large
enough to matter. Each alone gives false alarms: with many rows any difference is significant, and with few rows large
differences are chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from drift.reference import Column, Numbers, Words
from drift.window import Counts, Window

Kind = Literal["distribution", "missing", "range", "new words", "prediction", "joint"]
FLOORS: dict[Kind, float] = {
    "distribution": 0.05,
    "missing": 0.02,
    "range": 0.005,
    "new words": 0.005,
    "prediction": 0.05,
    "joint": 0.55,
}
"""Smallest effect that raises an alarm: a share of the rows; for `joint` the area under the ROC curve."""
LEAST_EXPECTED = 5
"""Smallest expected number of rows of a category; rarer categories are compared together."""


class _Special(Protocol):
    """Typed part of scipy.special."""

    def kolmogorov(self, y: float) -> float: ...
    def chdtrc(self, v: float, x: float) -> float: ...
    def bdtrc(self, k: float, n: int, p: float) -> float: ...
    def ndtr(self, x: float) -> float: ...


class _Stats(Protocol):
    """Typed part of scipy.stats."""

    def fisher_exact(self, table: Sequence[Sequence[int]]) -> tuple[float, float]: ...


SPECIAL = cast("_Special", import_module("scipy.special"))
STATS = cast("_Stats", import_module("scipy.stats"))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one test."""

    column: str
    """Name of the column; empty for a test of all columns together."""
    kind: Kind
    test: str
    """Name of the statistical test."""
    effect: float
    """Size of the difference: a share of the rows, or the area under the ROC curve for `joint`."""
    p: float
    """Probability of so large a difference by chance, for this test alone."""
    said: str
    """Difference in words."""
    adjusted: float = 1.0
    """Probability after Holm's correction for all tests of the window."""
    is_drift: bool = False
    """True if the difference is significant and large enough."""


def decide(found: Sequence[Finding], level: float) -> list[Finding]:
    """Return the findings with adjusted probabilities and decisions, the most significant first.

    Args:
        found: results of all tests of one window.
        level: probability of at least one false alarm in a window without drift.
    """
    ordered = sorted(found, key=lambda one: (one.p, -one.effect))
    decided: list[Finding] = []
    adjusted = 0.0
    for position, one in enumerate(ordered):
        adjusted = min(1.0, max(adjusted, one.p * (len(ordered) - position)))
        is_drift = adjusted <= level and one.effect >= FLOORS[one.kind]
        decided.append(replace(one, adjusted=adjusted, is_drift=is_drift))
    return decided


def compare(window: Window) -> list[Finding]:
    """Return the tests of each feature, and of the predictions."""
    reference, found = window.reference, list[Finding]()
    features = [one for one in reference.features if one.name not in window.absent]
    # One column says little about dependence; rows that come together do so in all columns.
    usual = float(np.median([dependence(window.columns[one.name].bins) for one in features])) if features else 1.0
    for one in features:
        found += _column(one, window.columns[one.name], window, usual)
    if reference.prediction and window.prediction and window.prediction.bins.sum():
        shifted = _distribution(reference.prediction, window.prediction, usual)
        found.append(replace(shifted, kind="prediction"))
    return found


def dependence(blocks: NDArray[np.int64]) -> float:
    """Return the factor by which dependence within blocks multiplies the variance of shares; 1 for independent rows.

    `blocks` has a row for each block and a column for each bin. This is the design effect of survey statistics: the
    variance between the blocks, divided by that of independent rows, over all bins.
    """
    blocks = blocks[blocks.sum(axis=1) > 0]
    sizes = blocks.sum(axis=1, keepdims=True)
    rows, number = sizes.sum(), len(blocks)
    if number < 2:
        return 1.0
    share = blocks.sum(axis=0) / rows
    between = ((blocks - sizes * share) ** 2).sum() * number / (number - 1) / rows**2
    alone = (share * (1 - share)).sum() / rows
    return max(1.0, float(between / alone)) if alone > 0 else 1.0


def _column(one: Column, counts: Counts, window: Window, usual: float) -> Iterator[Finding]:
    present = int(counts.bins.sum())
    missing = int(counts.missing.sum())
    if one.missing or missing:
        gaps = np.column_stack([counts.missing, window.by_block - counts.missing])
        yield _missing(one, missing, window.rows, max(usual, dependence(gaps)))
    if not present:
        return
    yield _distribution(one, counts, usual)
    if isinstance(one, Numbers):
        if outside := counts.below + counts.above:
            yield _range(one, counts, outside, usual)
    elif one.is_complete and (new := int(counts.bins[:, -1].sum())):
        fresh = np.column_stack([counts.bins[:, -1], counts.bins[:, :-1].sum(axis=1)])
        yield _new_words(one, counts, new, max(usual, dependence(fresh)))


def _distribution(one: Column, counts: Counts, usual: float) -> Finding:
    if isinstance(one, Words) or one.is_discrete:
        return _chi_square(one, counts, usual)
    return _kolmogorov_smirnov(one, counts, usual)


def _kolmogorov_smirnov(one: Numbers, counts: Counts, usual: float) -> Finding:
    """Compare cumulative shares at the edges; the largest difference between them may be larger, so this is safe."""
    bins = counts.bins.sum(axis=0)
    rows = int(bins.sum())
    steps = np.cumsum(bins)[:-1] / rows - np.cumsum(one.counts)[:-1] / one.rows
    at = int(np.abs(steps).argmax())
    largest = float(abs(steps[at]))
    effective = rows / max(usual, _cumulative_dependence(counts))
    together = effective * one.rows / (effective + one.rows)
    p = SPECIAL.kolmogorov(largest * together**0.5)
    before, now = np.cumsum(one.counts)[at] / one.rows, np.cumsum(bins)[at] / rows
    sign = "<" if one.open_right else "<="
    said = f"{now:.1%} of the rows are {sign} {one.edges[at]:g}, {before:.1%} at the training"
    return Finding(column=one.name, kind="distribution", test="Kolmogorov-Smirnov", effect=largest, p=p, said=said)


def _cumulative_dependence(counts: Counts) -> float:
    """Return the factor of `dependence` for the cumulative shares of a number."""
    blocks = counts.bins[counts.bins.sum(axis=1) > 0]
    cumulative, sizes = blocks.cumsum(axis=1)[:, :-1], blocks.sum(axis=1)
    rows, number = sizes.sum(), len(sizes)
    if number < 2:
        return 1.0
    share = cumulative.sum(axis=0) / rows
    between = ((cumulative - sizes[:, None] * share) ** 2).sum() * number / (number - 1) / rows**2
    alone = (share * (1 - share)).sum() / rows
    return max(1.0, float(between / alone)) if alone > 0 else 1.0


def _chi_square(one: Column, counts: Counts, usual: float) -> Finding:
    bins, known = counts.bins.sum(axis=0), one.counts
    rows = int(bins.sum())
    expected = (bins + known) * min(rows, one.rows) / (rows + one.rows)
    rare = expected < LEAST_EXPECTED
    now = np.append(bins[~rare], bins[rare].sum())
    before = np.append(known[~rare], known[rare].sum())
    used = (now + before) > 0
    now, before = now[used], before[used]
    shares, reference = now / rows, before / one.rows
    effective = rows / max(usual, dependence(counts.bins))
    both = (effective * shares + before) / (effective + one.rows)
    together = effective * one.rows / (effective + one.rows)
    statistic = float((together * (shares - reference) ** 2 / both).sum())
    p = SPECIAL.chdtrc(len(now) - 1, statistic) if len(now) > 1 else 1.0
    effect = float(np.abs(bins / rows - known / one.rows).sum() / 2)
    at = int(np.abs(bins / rows - known / one.rows).argmax())
    name = _bin_name(one, at)
    said = f"{name}: {bins[at] / rows:.1%} of the rows, {known[at] / one.rows:.1%} at the training"
    return Finding(column=one.name, kind="distribution", test="chi-square", effect=effect, p=p, said=said)


def _bin_name(one: Column, at: int) -> str:
    if isinstance(one, Words):
        return one.words[at] if at < len(one.words) else "other words"
    return f"{one.edges[at]:g}" if at < len(one.edges) else f"above {one.edges[-1]:g}"


def _missing(one: Column, missing: int, rows: int, factor: float) -> Finding:
    total = one.rows + one.missing
    effective = max(1, round(rows / factor))
    now = round(missing / rows * effective)
    _, p = STATS.fisher_exact([[now, effective - now], [one.missing, total - one.missing]])
    before = one.missing / total
    said = f"{missing / rows:.1%} of the rows have no value, {before:.1%} at the training"
    effect = abs(missing / rows - before)
    return Finding(column=one.name, kind="missing", test="Fisher", effect=effect, p=float(p), said=said)


def _range(one: Numbers, counts: Counts, outside: int, usual: float) -> Finding:
    """Test the rows outside of the range: under exchange, the most extreme of all rows fall on each side by lot."""
    present = int(counts.bins.sum())
    effective = present / max(usual, _cumulative_dependence(counts))
    most = max(counts.below, counts.above) / present * effective
    p = min(1.0, 2 * (effective / (effective + one.rows)) ** most)
    said = (
        f"{outside / present:.1%} of the rows are outside of {one.least:g} to {one.most:g}, "
        f"the range of the training: {counts.below} below, {counts.above} above"
    )
    return Finding(column=one.name, kind="range", test="exchange", effect=outside / present, p=p, said=said)


def _new_words(one: Words, counts: Counts, new: int, factor: float) -> Finding:
    """Test the rows with new words: their expected share is that of the words that occurred once (Good-Turing)."""
    present = int(counts.bins.sum())
    effective = max(1, round(present / factor))
    expected = (int((one.counts == 1).sum()) + 1) / (one.rows + 1)
    p = SPECIAL.bdtrc(round(new / factor) - 1, effective, expected) if round(new / factor) else 1.0
    named = ", ".join(f"{word} ({number})" for word, number in counts.new.most_common(3))
    said = f"{new / present:.1%} of the rows have a word that the training did not have: {named}"
    return Finding(column=one.name, kind="new words", test="binomial", effect=new / present, p=p, said=said)
