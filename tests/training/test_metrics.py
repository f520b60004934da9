import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from training import metrics
from training.metrics import Predictions

CHANCE = np.random.default_rng(5)


def predictions(rows: int = 300, noise: float = 0.6) -> Predictions:
    truth = CHANCE.random(rows) < 0.3
    probability = np.round(np.clip(truth * 0.4 + CHANCE.random(rows) * noise, 0, 1), 2)  # rounded: with ties
    return Predictions(truth=truth, predicted=probability > 0.5, probability=probability)


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_are_those_of_scikit_learn(*, weighted: bool) -> None:
    made = predictions()
    weights = CHANCE.integers(0, 4, 300) if weighted else None
    assert metrics.measure(made, weights) == pytest.approx(
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


def test_rows_of_one_label_have_no_roc_auc() -> None:
    alone = Predictions(truth=np.ones(3, bool), predicted=np.ones(3, bool), probability=np.ones(3))
    assert np.isnan(metrics.measure(alone)["roc_auc"])
    assert metrics.measure(alone)["accuracy"] == 1


def test_the_same_seed_draws_the_same_samples() -> None:
    one, other = ([list(drawn) for drawn in metrics.resamples(20, seed=4, count=3)] for _ in range(2))
    assert one == other
    assert all(sum(drawn) == 20 for drawn in one)
