import numpy as np
import pandas as pd

from drift import hypotheses, joint
from drift.hypotheses import Finding
from tests.drift.examples import reference, rows, window


def together(table: pd.DataFrame) -> Finding:
    about = reference()
    found = joint.compare(about, rows(2_000, 900), *window(table, about).sample())
    assert found
    return hypotheses.decide([found], 0.01)[0]


def test_columns_that_no_longer_belong_together_are_found() -> None:
    table = rows(1_000, 40)
    assert not together(table).is_drift
    mixed = together(table.assign(weight=np.random.default_rng(1).permutation(table["weight"].to_numpy())))
    assert mixed.is_drift
    assert "weight" in mixed.said


def test_too_few_rows_are_not_compared() -> None:
    about = reference()
    assert joint.compare(about, rows(2_000, 900), *window(rows(60, 1), about).sample()) is None
