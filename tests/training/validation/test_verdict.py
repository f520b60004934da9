"""Summary of a validation in one line."""

from datetime import UTC, datetime
from typing import Literal

import pytest

from training.fit.metrics import Estimate
from training.validation.comparison import Scores
from training.validation.limits import Limits
from training.validation.verdict import Check, Report

OWN = {"roc_auc": Estimate(value=0.8, low=0.75, high=0.85), "f1": Estimate(value=0.5, low=0.4, high=0.6)}
LESS = {"roc_auc": Estimate(value=-0.012, low=-0.03, high=0.006)}
ALONE = Scores(rows=500, rarer=100, own=OWN, other={}, difference={})
BESIDE = Scores(rows=500, rarer=100, own=OWN, other=OWN, difference=LESS)


def report(champion: int | None, scores: Scores | None, **outcomes: Literal["passed", "refused", "noted"]) -> Report:
    return Report(
        model="churn",
        version=2,
        champion=champion,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        dataset="s3://b/k.csv",
        dataset_digest="",
        model_digest="",
        limits=Limits(compared=("roc_auc",)),
        checks=[Check(name=name, outcome=outcome, said=f"{name} is {outcome}") for name, outcome in outcomes.items()],
        scores=scores,
        slices=(),
        size_mb=1,
        latency_ms=None,
    )


@pytest.mark.parametrize(
    ("champion", "scores", "said"),
    [
        (None, ALONE, "without a champion to compare with: roc_auc 0.800 (0.750 to 0.850)"),
        (2, ALONE, "as the champion: roc_auc 0.800 (0.750 to 0.850)"),
        (1, BESIDE, "against version 1: roc_auc 0.800 (0.750 to 0.850), -0.012 (-0.030 to +0.006)"),
        (1, None, "against version 1: no metric was measured"),
    ],
)
def test_a_version_that_passed_is_reported_with_its_champion_and_the_numbers(
    champion: int | None, scores: Scores | None, said: str
) -> None:
    told = report(champion, scores, size="passed", rows="noted")
    assert (told.status, told.summary) == ("passed", f"churn version 2 passed {said}")


def test_a_version_that_is_refused_is_reported_with_every_reason_and_what_is_noted_is_none() -> None:
    told = report(1, BESIDE, size="refused", rows="noted", packages="passed", slices="refused")
    assert told.status == "refused"
    assert told.summary == "churn version 2 is refused: size is refused; slices is refused"
