import numpy as np
import pytest

from drift import estimate
from tests.drift.examples import predictions, reference, rows


@pytest.mark.parametrize("largest", [15, 30, 1000])
def test_the_estimate_follows_a_shift_of_the_features(largest: int) -> None:
    about, table = reference(), rows(20_000, 50)
    assert about.calibration
    seen = predictions(table.loc[table["size"] < largest], seed=1)
    blocks = np.arange(len(seen.truth)) % 24
    found = estimate.estimate(about.calibration, seen.probability, blocks)
    true = seen.measure()["roc_auc"]
    assert found.roc_auc == pytest.approx(true, abs=0.03)
    assert found.low <= found.roc_auc <= found.high


def test_probabilities_that_are_too_large_are_corrected() -> None:
    about = reference()
    assert about.calibration
    halved = estimate.Calibration(
        probability=about.calibration.probability,
        rows=about.calibration.rows,
        positives=about.calibration.positives // 2,
    )
    assert estimate.calibrated(halved, np.array([0.8]))[0] == pytest.approx(0.4, abs=0.06)
