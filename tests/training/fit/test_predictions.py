from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as judge

from training.fit import metrics
from training.fit.predictions import (
    BinaryPredictions,
    CustomPredictions,
    MulticlassPredictions,
    Predictions,
    RegressionPredictions,
)
from training.project import Metric, Predicted, ProjectError

CHANCE = np.random.default_rng(3)


def regression(rows: int = 300, noise: float = 10) -> RegressionPredictions:
    truth = CHANCE.normal(100, 30, rows)
    return RegressionPredictions(truth=truth, predicted=truth + CHANCE.normal(0, noise, rows))


def multiclass(rows: int = 300, labels: int = 4) -> MulticlassPredictions:
    truth = CHANCE.integers(0, labels, rows)
    score = np.round(CHANCE.random((rows, labels)) + 0.4 * np.eye(labels)[truth], 2)  # rounded: with ties
    probabilities = score / score.sum(axis=1, keepdims=True)
    return MulticlassPredictions(truth=truth, predicted=probabilities.argmax(axis=1), probabilities=probabilities)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_metrics_of_a_regression_are_those_of_scikit_learn(*, weighted: bool) -> None:
    made, weights = regression(), CHANCE.integers(0, 4, 300) if weighted else None
    assert made.measure(weights) == pytest.approx(
        {
            "mae": judge.mean_absolute_error(made.truth, made.predicted, sample_weight=weights),
            "r2": judge.r2_score(made.truth, made.predicted, sample_weight=weights),
            "rmse": judge.root_mean_squared_error(made.truth, made.predicted, sample_weight=weights),
        }
    )


def test_the_metrics_of_several_labels_are_those_of_scikit_learn() -> None:
    made = multiclass()
    assert made.measure() == pytest.approx(
        {
            "accuracy": judge.accuracy_score(made.truth, made.predicted),
            "f1_macro": judge.f1_score(made.truth, made.predicted, average="macro"),
            "roc_auc_ovr": judge.roc_auc_score(made.truth, made.probabilities, multi_class="ovr"),
        }
    )
    counts = judge.confusion_matrix(made.truth, made.predicted)
    assert made.confusion.tolist() == counts.tolist()


def test_weights_count_rows_of_several_labels_more_than_once() -> None:
    made, weights = multiclass(), CHANCE.integers(0, 3, 300)
    again = np.repeat(np.arange(300), weights)
    repeated = MulticlassPredictions(
        truth=made.truth[again], predicted=made.predicted[again], probabilities=made.probabilities[again]
    )
    assert made.measure(weights) == pytest.approx(repeated.measure())


def test_a_label_that_does_not_occur_is_left_out_of_the_means() -> None:
    made = multiclass(labels=3)
    two = made.only(made.truth < 2)
    assert two.rarer == min(np.bincount(two.truth))
    assert np.isfinite([*two.measure().values()]).all()
    alone = made.only(made.truth == 1)
    assert (alone.rarer, alone.is_constant) == (0, True)
    assert np.isnan(alone.measure()["roc_auc_ovr"])


def test_the_interval_of_many_rows_is_that_of_all_rows_although_a_part_is_drawn() -> None:
    many = regression(60_000)
    groups, counts = many.groups()
    assert counts.sum() == len(groups) == 20_000
    found = metrics.estimate(many, seed=1)["mae"]
    missed = np.abs(many.truth - many.predicted)
    assert found.value == pytest.approx(missed.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * missed.std() / 60_000**0.5, rel=0.2)


def test_predictions_of_one_value_are_constant() -> None:
    assert RegressionPredictions(truth=np.full(3, 2.0), predicted=np.arange(3.0)).is_constant
    assert not regression(3).is_constant
    assert BinaryPredictions(truth=np.ones(2, bool), predicted=np.ones(2, bool), probability=np.ones(2)).is_constant


def binary(rows: int = 300) -> BinaryPredictions:
    truth = CHANCE.random(rows) < 0.4
    probability = np.round(np.clip(CHANCE.random(rows) + 0.2 * truth, 0, 1), 2)
    return BinaryPredictions(truth=truth, predicted=probability > 0.5, probability=probability)


@pytest.mark.parametrize("make", [binary, multiclass, regression])
def test_a_row_of_weight_three_counts_as_three_rows_in_each_metric(make: Callable[[], Predictions]) -> None:
    made, weights = make(), CHANCE.integers(0, 4, 300)
    weighted = replace(made, weights=weights.astype(float))
    assert weighted.measure() == pytest.approx(made.only(np.repeat(np.arange(300), weights)).measure())
    part = CHANCE.random(300) < 0.5
    assert weighted.only(part).measure() == pytest.approx(made.only(part).measure(weights[part]))


def cost(rows: Predicted) -> float:
    return float(np.average(np.abs(rows.truth - rows.predicted) * rows.table["price"], weights=rows.weights))


def test_a_metric_of_a_projects_own_has_an_interval_beside_those_of_the_task() -> None:
    table = pd.DataFrame({"price": CHANCE.random(300)})
    made = replace(regression(), own={"cost": Metric(cost, "smaller")}, table=table)
    found = metrics.estimate(made, seed=7)
    expected = np.mean(np.abs(made.truth - made.predicted) * table["price"])
    assert list(found) == ["mae", "r2", "rmse", "cost"]
    assert found["cost"].value == pytest.approx(expected)
    assert found["cost"].low < expected < found["cost"].high


def test_a_custom_task_has_the_metrics_of_its_project_alone() -> None:
    words = np.array(["a", "b", "b"], dtype=object)
    made = CustomPredictions(
        truth=words,
        predicted=np.array(["a", "b", "c"], dtype=object),
        own={"same": Metric(lambda rows: float((rows.truth == rows.predicted).mean()), "larger")},
        table=pd.DataFrame({"x": [1, 2, 3]}),
    )
    assert made.measure() == {"same": pytest.approx(2 / 3)}
    assert made.measure(np.array([3, 0, 0])) == {"same": 1}


def fails(_rows: Predicted) -> float:
    raise ZeroDivisionError("no rows")


def is_nan(_rows: Predicted) -> float:
    return float("nan")


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (fails, "the metric odd fails on the 300 rows held out (ZeroDivisionError: no rows)"),
        (is_nan, "the metric odd is nan on the 300 rows held out, so versions cannot be compared"),
    ],
)
def test_a_metric_that_measures_nothing_ends_the_run_with_its_name(
    measure: Callable[[Predicted], float], said: str
) -> None:
    own = {"odd": Metric(measure, "larger")}
    made = replace(regression(), own=own, table=pd.DataFrame({"x": range(300)}))
    with pytest.raises(ProjectError) as told:
        metrics.check_own(made)
    assert said in str(told.value)
