from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from contract.tasks import Side
from training.fit.predictions import BinaryPredictions, RegressionPredictions
from training.project import Metric, Predicted
from training.validation.comparison import Scores, advantage, compare
from training.validation.verdict import changed

ROWS = 1000
CHANCE = np.random.default_rng(7)
TRUTH = CHANCE.random(ROWS) < 0.3
HARD = CHANCE.normal(size=ROWS)


def predictions(noise: float) -> BinaryPredictions:
    """Return predictions of a model: the truth, plus the difficulty of each row, plus the model's own noise."""
    score = TRUTH + HARD + CHANCE.normal(scale=noise, size=ROWS)
    probability = 1 / (1 + np.exp(-score))
    return BinaryPredictions(truth=TRUTH, predicted=probability > 0.6, probability=probability)


GOOD, WORSE = predictions(0.1), predictions(2)


def test_a_model_beside_itself_differs_by_nothing() -> None:
    difference = compare(GOOD, GOOD, samples=100, seed=7).difference
    assert {(one.low, one.value, one.high) for one in difference.values()} == {(0, 0, 0)}


def test_a_worse_model_is_certainly_worse() -> None:
    scores = compare(WORSE, GOOD, samples=200, seed=7)
    assert scores.difference["roc_auc"].high < 0
    assert scores.difference["roc_auc"].value == scores.own["roc_auc"].value - scores.other["roc_auc"].value


def test_the_interval_of_a_difference_is_a_paired_one() -> None:
    """Rows that are hard for both models widen each model's interval, but not the interval of the difference."""
    scores = compare(predictions(0.1), GOOD, samples=200, seed=7)
    own, difference = scores.own["roc_auc"], scores.difference["roc_auc"]
    assert difference.high - difference.low < (own.high - own.low) / 3


def test_the_interval_of_a_metric_is_the_textbook_one_at_both_ends() -> None:
    found = compare(WORSE, None, samples=4000, seed=7).own["accuracy"]
    deviation = (found.value * (1 - found.value) / ROWS) ** 0.5
    for end in (found.value - found.low, found.high - found.value):
        assert end == pytest.approx(1.96 * deviation, abs=0.1 * deviation)


def test_a_smaller_error_is_an_advantage_and_counts_as_a_share_of_the_other_models() -> None:
    truth = HARD * 1000
    good, worse = (RegressionPredictions(truth=truth, predicted=truth + noise) for noise in (HARD * 50, HARD * 100))
    scores = compare(good, worse, samples=100, seed=7)
    assert scores.difference["rmse"].low > 0 < scores.difference["mae"].low
    assert scores.difference["rmse"].value == scores.other["rmse"].value - scores.own["rmse"].value
    assert advantage(scores, "rmse").value == pytest.approx(0.5)
    assert advantage(scores, "r2") == scores.difference["r2"]


def test_the_rarer_label_is_the_other_one_where_most_rows_have_the_label_of_interest() -> None:
    most = TRUTH.copy()
    most[np.flatnonzero(~TRUTH)[:20]] = True
    assert compare(WORSE.only(most), None, samples=100, seed=7).rarer == 20


def test_samples_without_one_of_the_labels_are_left_out() -> None:
    few = np.zeros(ROWS, dtype=bool)
    few[:20] = True
    scores = compare(WORSE.only(few), None, samples=200, seed=7)
    assert scores.rows == 20
    assert scores.rarer == TRUTH[:20].sum() < 10
    assert scores.own["roc_auc"].low <= scores.own["roc_auc"].value <= scores.own["roc_auc"].high
    assert scores.difference == {}


def lost(rows: Predicted) -> float:
    """Return the money that wrong predictions lose."""
    return 1000 * float((rows.truth != rows.predicted).mean())


def compared(side: Side) -> Scores:
    own = {"money": Metric(lost if side == "smaller" else lambda rows: -lost(rows), side)}
    table = pd.DataFrame({"x": range(ROWS)})
    return compare(*(replace(one, own=own, table=table) for one in (WORSE, GOOD)), samples=100, seed=7)


@pytest.mark.parametrize("side", ["smaller", "larger"])
def test_a_loss_in_a_metric_of_the_projects_own_is_a_share_of_the_champions_value(side: Side) -> None:
    scores = compared(side)
    own, other = (abs(found["money"].value) for found in (scores.own, scores.other))
    assert own > other > 0
    assert scores.difference["money"].value == pytest.approx(other - own)
    assert advantage(scores, "money").value == pytest.approx((other - own) / other)
    assert changed(scores, "money").startswith("+" if side == "smaller" else "-")
