from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, cast

import numpy as np
import pandas as pd

from drift.window import SAMPLE, Window, aligned
from tests.drift.examples import DAY, START, logged, reference, rows, times, window

pa = cast("Any", import_module("pyarrow"))  # it has no type annotations
KINDS = (pa.string(), pa.large_string())


def test_many_small_files_count_like_a_large_one() -> None:
    table = rows(900, 3)
    whole, parts = window(table, reference()), Window(reference(), START, START + DAY)
    for start in range(0, 900, 90):
        parts.add(logged(table.iloc[start : start + 90], times(900)[start : start + 90]))
    assert parts.rows == whole.rows == 900
    for name, counts in whole.columns.items():
        np.testing.assert_array_equal(counts.bins, parts.columns[name].bins)
    assert len(parts.sample()[0]) == 900


def test_rows_of_other_days_are_left_out() -> None:
    made = window(rows(10, 1), reference(), times(10) - DAY // timedelta(microseconds=1))
    assert (made.rows, made.outside) == (0, 10)


def test_missing_values_and_new_words_are_counted() -> None:
    table = rows(100, 1)
    table["size"] = table["size"].where(np.arange(100) >= 7)
    table["word"] = pd.Series(["z"] * 3 + ["a"] * 96 + [None], dtype=object)
    made = window(table, reference())
    assert made.columns["size"].missing.sum() == 7
    assert made.columns["word"].missing.sum() == 1
    assert made.columns["word"].new == {"z": 3}


def test_the_sample_of_a_large_window_is_small_and_from_all_of_it() -> None:
    made = Window(reference(), START, START + DAY)
    for seed in range(12):
        made.add(logged(rows(2_500, seed), times(2_500, seed)))
    sample, block = made.sample()
    assert len(sample) == len(block) == SAMPLE
    assert set(block) == set(range(24))


def test_files_that_another_program_wrote_with_large_strings_are_sampled_with_the_others() -> None:
    made, table = Window(reference(), START, START + DAY), cast("Any", logged(rows(10, 1)))
    place = table.schema.get_field_index("input_word")
    for kind in KINDS:
        made.add(table.set_column(place, "input_word", table.column(place).cast(kind)))
    assert sorted(made.sample()[0]["word"]) == sorted([*rows(10, 1)["word"]] * 2)


def test_a_column_that_the_log_does_not_have_is_named() -> None:
    made = Window(reference(), START, START + DAY)
    made.add(logged(rows(10, 1)).drop(["input_size"]))
    assert made.absent == {"size"}


def test_windows_do_not_overlap() -> None:
    now = datetime(2026, 11, 24, 13, 5, tzinfo=UTC)
    assert aligned(now, DAY) == (START - DAY, START)
    assert aligned(now + timedelta(hours=3), DAY) == (START - DAY, START)
    assert aligned(now + DAY, DAY) == (START, START + DAY)
