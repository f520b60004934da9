from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from drift import hypotheses
from drift.hypotheses import Finding
from tests.drift.examples import START, reference, rows, times, window

LEVEL = 4 / 365


def drifted(table: pd.DataFrame, *, at: NDArray[np.int64] | None = None) -> list[str]:
    found = hypotheses.decide(hypotheses.compare(window(table, reference(), at)), LEVEL)
    return [f"{one.kind} of {one.column}" for one in found if one.is_drift]


def test_windows_like_the_training_raise_no_alarm() -> None:
    assert [drifted(rows(1_000, 500 + seed)) for seed in range(20)] == [[]] * 20


def some(every: int) -> NDArray[np.bool_]:
    """Return True for each row but every n-th."""
    return np.arange(1_000) % every > 0


CHANGES: dict[str, Callable[[pd.DataFrame], dict[str, Any]]] = {
    "distribution of size": lambda rows: {"size": rows["size"] + 4},
    "range of size": lambda rows: {"size": rows["size"] * 100},
    "missing of size": lambda rows: {"size": rows["size"].where(some(20))},
    "distribution of count": lambda rows: {"count": np.minimum(rows["count"], 2)},
    "distribution of word": lambda rows: {"word": rows["word"].astype(object).where(some(8), "c")},
    "new words of word": lambda rows: {"word": rows["word"].astype(object).where(some(50), "z")},
    "prediction of prediction": lambda rows: {"probability": rows["probability"] * 0.6},
}


@pytest.mark.parametrize("said", CHANGES)
def test_a_change_of_one_column_is_found_in_a_thousand_rows(said: str) -> None:
    table = rows(1_000, 77)
    assert said in drifted(table.assign(**CHANGES[said](table)))


def test_customers_who_ask_again_and_again_in_one_hour_raise_no_alarm() -> None:
    few = rows(1_000, 9).iloc[np.repeat(np.arange(24), 40)]
    hours = int(START.timestamp()) * 1_000_000 + np.repeat(np.arange(24), 40) * 3_600_000_000
    assert drifted(few, at=hours) == []
    assert drifted(few, at=times(len(few))[np.random.default_rng(1).permutation(len(few))]), "as independent rows"


def test_a_certain_but_small_difference_of_many_rows_is_no_drift() -> None:
    table = rows(30_000, 5)
    found = hypotheses.compare(window(table.assign(size=table["size"] * 1.05), reference()))
    size = next(one for one in hypotheses.decide(found, LEVEL) if (one.column, one.kind) == ("size", "distribution"))
    assert size.adjusted < LEVEL
    assert not size.is_drift


def test_more_tests_need_a_smaller_probability() -> None:
    one = Finding(column="size", kind="distribution", test="", effect=0.5, p=0.004, said="")
    others = [Finding(column=f"{n}", kind="distribution", test="", effect=0.5, p=0.5, said="") for n in range(9)]
    assert hypotheses.decide([one], LEVEL)[0].is_drift
    assert not hypotheses.decide([one, *others], LEVEL)[0].is_drift
