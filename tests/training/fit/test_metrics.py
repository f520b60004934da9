from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from training.fit import metrics
from training.fit.predictions import BinaryPredictions
from training.project import numbers
from training.projects import churn

CHANCE = np.random.default_rng(5)
DECLARED = replace(churn.PROJECT, columns=numbers("size"), slices=())


def predictions(rows: int = 300, noise: float = 0.6) -> BinaryPredictions:
    truth = CHANCE.random(rows) < 0.3
    probability = np.round(np.clip(truth * 0.4 + CHANCE.random(rows) * noise, 0, 1), 2)  # rounded: with ties
    return BinaryPredictions(truth=truth, predicted=probability > 0.5, probability=probability)


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_are_those_of_scikit_learn(*, weighted: bool) -> None:
    made = predictions()
    weights = CHANCE.integers(0, 4, 300) if weighted else None
    assert made.measure(weights) == pytest.approx(
        {
            "accuracy": accuracy_score(made.truth, made.predicted, sample_weight=weights),
            "f1": f1_score(made.truth, made.predicted, sample_weight=weights, pos_label=True),
            "roc_auc": roc_auc_score(made.truth, made.probability, sample_weight=weights),
        }
    )


def test_an_interval_holds_its_value_and_narrows_with_more_rows() -> None:
    few, many = (metrics.estimate(predictions(rows), seed=1) for rows in (100, 10_000))
    for name in ("accuracy", "f1", "roc_auc"):
        assert few[name].low < few[name].value < few[name].high
        assert many[name].high - many[name].low < (few[name].high - few[name].low) / 3


def test_the_interval_is_the_textbook_one() -> None:
    found = metrics.estimate(predictions(5_000), seed=1)["accuracy"]
    deviation = (found.value * (1 - found.value) / 5_000) ** 0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.2)


def test_the_interval_is_that_of_rows_drawn_one_by_one() -> None:
    rough = predictions(20_000)
    probability = rough.probability + CHANCE.random(20_000) / 100  # no two alike
    made = BinaryPredictions(truth=rough.truth, predicted=probability > 0.5, probability=probability)
    one_by_one = [made.measure(weights) for weights in metrics.resamples(20_000, seed=1)]
    for name, found in metrics.estimate(made, seed=1).items():
        low, high = np.quantile([drawn[name] for drawn in one_by_one], [0.025, 0.975])
        width = high - low
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.15 * width)


class Classifier:
    """Predicts Yes above a threshold and records the number of rows of each call."""

    classes_ = np.array(["No", "Yes"])

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.asked: list[int] = []

    def predict(self, table: pd.DataFrame) -> NDArray[Any]:
        self.asked.append(len(table))
        return self.classes_[(table["size"] > self.threshold).to_numpy().astype(int)]

    def predict_proba(self, table: pd.DataFrame) -> NDArray[Any]:
        return np.column_stack([1 - table["size"], table["size"]])


def labels(model: Classifier, table: pd.DataFrame) -> NDArray[np.bool_]:
    made = metrics.predict(DECLARED, model, table)
    assert isinstance(made, BinaryPredictions)
    return made.predicted


@pytest.mark.parametrize(("rows", "threshold", "asked"), [(99, 0.4, [99]), (50_000, 0.4, [10_000, 50_000])])
def test_a_model_with_a_threshold_of_its_own_is_asked_for_every_label(
    rows: int, threshold: float, asked: list[int]
) -> None:
    model = Classifier(threshold)
    table = pd.DataFrame({"size": CHANCE.random(rows), "churn": "No"})
    assert np.array_equal(labels(model, table), table["size"] > threshold)
    assert model.asked == asked


def test_the_likelier_label_of_many_rows_is_not_asked_for_again() -> None:
    model = Classifier(0.5)
    table = pd.DataFrame({"size": CHANCE.random(50_000), "churn": "No"})
    assert np.array_equal(labels(model, table), table["size"] > 0.5)
    assert model.asked == [10_000]


def test_rows_of_one_label_have_no_roc_auc() -> None:
    alone = BinaryPredictions(truth=np.ones(3, bool), predicted=np.ones(3, bool), probability=np.ones(3))
    assert np.isnan(alone.measure()["roc_auc"])
    assert alone.measure()["accuracy"] == 1


def test_the_same_seed_draws_the_same_samples() -> None:
    one, other = ([list(drawn) for drawn in metrics.resamples(20, seed=4, count=3)] for _ in range(2))
    assert one == other
    assert all(sum(drawn) == 20 for drawn in one)
