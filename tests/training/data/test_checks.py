"""Tables whose target does not fit the task, and leaks, for several labels and for numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.data import reading, split
from training.data.reading import DataError
from training.project import (
    Column,
    Model,
    Parameters,
    Project,
    Rows,
    Split,
    Target,
    categories,
    integers,
    numbers,
    texts,
    times,
)

CHANCE = np.random.default_rng(4)
ROWS = 200
NUMBER = Target(name="y", at_least=-10)
LABELS = Target(name="y", labels=("a", "b", "c"))


def never(_rows: Rows, _parameters: Parameters) -> Model:
    raise AssertionError


def project(target: Target, *columns: Column, **more: Any) -> Project[Any]:
    tasks = {0: "regression", 2: "binary"}
    task: Any = tasks.get(len(target.labels), "multiclass")
    used = columns or tuple(numbers("x"))
    return Project(model="m", task=task, columns=used, target=target, parameters=Parameters, fit=never, **more)


def load(declared: Project[Any], folder: Path, **columns: object) -> pd.DataFrame:
    pd.DataFrame({"x": CHANCE.random(ROWS), **columns}).to_csv(folder / "table.csv", index=False)
    return reading.load(str(folder / "table.csv"), declared).table


def test_the_target_of_a_regression_is_read_as_numbers(tmp_path: Path) -> None:
    y = np.round(CHANCE.normal(size=ROWS), 3)
    assert load(project(NUMBER), tmp_path, y=y)["y"].tolist() == y.tolist()


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([1.5] * ROWS, "the column y holds 1.5 in all 200 rows, so there is nothing to predict"),
        (
            [*range(1, ROWS), None],
            "the column y has no value in 1 rows, first in row 200, and needs one because each row",
        ),
        ([*range(1, ROWS), "x"], "the column y holds 'x' and must be a number, in row 200"),
        ([*range(1, ROWS), "inf"], "the column y holds 'inf' and must be a finite number"),
        ([*range(1, ROWS), -11], "the column y holds '-11' and must be at least -10"),
    ],
)
def test_a_target_that_is_no_quantity_is_refused(tmp_path: Path, y: list[object], said: str) -> None:
    with pytest.raises(DataError) as told:
        load(project(NUMBER), tmp_path, y=y)
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("target", "y", "said"),
    [
        (LABELS, CHANCE.random(ROWS), "if it is a quantity, write task='regression' in the project, without labels"),
        (
            Target(name="y", labels=("a", "b")),
            [*"ab"] * 99 + ["c", "c"],
            "holds c, and may hold only a or b; correct the file, or write task='multiclass' in the project",
        ),
        (
            LABELS,
            [*"abd"] * 66 + ["c", "c"],
            "holds d, and may hold only a or b or c; correct the file, or add the label",
        ),
        (LABELS, ["a", "b"] * 100, "the column y never holds c, so there is nothing to predict; give rows of every"),
    ],
)
def test_labels_that_do_not_fit_the_task_are_reported_with_the_task_that_does(
    tmp_path: Path, target: Target, y: object, said: str
) -> None:
    with pytest.raises(DataError) as told:
        load(project(target), tmp_path, y=y)
    assert said in str(told.value)


def test_a_label_that_only_rows_held_out_have_is_refused(tmp_path: Path) -> None:
    declared = project(LABELS, *numbers("x"), split=Split(how="time", by="day"))
    days = pd.date_range("2026-01-01", periods=ROWS).astype(str)
    table = load(declared, tmp_path, y=["a", "b"] * 75 + ["c"] * 50, day=days)
    with pytest.raises(DataError, match="holds out all rows with the label c, so a model cannot learn it"):
        split.divide(declared, table)


def test_a_random_split_of_numbers_holds_out_the_share(tmp_path: Path) -> None:
    declared = project(NUMBER)
    table = load(declared, tmp_path, y=CHANCE.normal(size=ROWS))
    known, unseen = split.divide(declared, table)
    assert (len(known), len(unseen)) == (150, 50)


def test_a_forecast_holds_out_the_latest_numbers(tmp_path: Path) -> None:
    declared = project(NUMBER, *numbers("x"), split=Split(how="time", by="day"))
    days = pd.date_range("2026-01-01", periods=ROWS).astype(str)
    table = load(declared, tmp_path, y=np.arange(ROWS) * 1.0, day=days)
    known, unseen = split.divide(declared, table)
    assert (known["y"].max(), unseen["y"].min()) == (149, 150)


@pytest.mark.parametrize("kind", ["number", "category"])
@pytest.mark.parametrize("target", [NUMBER, LABELS])
def test_a_feature_that_tells_the_target_is_a_leak_and_a_good_one_is_not(
    tmp_path: Path, target: Target, kind: str
) -> None:
    codes = CHANCE.integers(0, 3, ROWS)
    y: Any = np.array(["a", "b", "c"])[codes] if target.labels else codes * 2.0
    other = np.where(CHANCE.random(ROWS) < 0.8, codes, CHANCE.integers(0, 3, ROWS))
    words = np.array(["u", "w", "v"])
    leak, good = (words[codes], words[other]) if kind == "category" else (codes**2, other)
    make = categories if kind == "category" else numbers
    declared = project(target, *numbers("x"), *make("leak", "good"))
    with pytest.raises(DataError) as told:
        load(declared, tmp_path, y=y, leak=leak, good=good)
    assert "the column leak predicts y on its own" in str(told.value)
    assert "the column good" not in str(told.value)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (
            [None, *[1] * (ROWS - 1)],
            "the column w has no value in 1 rows, first in row 1, and needs one because it says",
        ),
        ([-1, *[1] * (ROWS - 1)], "the column w holds '-1' and must be a finite number from 0 up, because it says how"),
        ([0] * ROWS, "the column w is 0 in all rows, so no row counts"),
    ],
)
def test_weights_that_count_nothing_are_refused(tmp_path: Path, weights: list[object], said: str) -> None:
    with pytest.raises(DataError) as told:
        load(project(NUMBER, weight="w"), tmp_path, y=CHANCE.normal(size=ROWS), w=weights)
    assert said in str(told.value)


def test_texts_are_read_as_they_are_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    words = ["two words", None, "NULL", "1.0"] * 50
    table = load(project(NUMBER, *numbers("x"), *texts("t")), tmp_path, y=CHANCE.normal(size=ROWS), t=words)
    assert table["t"].tolist() == ["two words", "", "", "1.0"] * 50


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_times_are_read_in_the_unit_in_which_a_served_model_gets_them(tmp_path: Path, ending: str) -> None:
    days = pd.date_range("2026-01-01", periods=ROWS, tz="Europe/Paris")
    rows = pd.DataFrame({"day": days, "y": CHANCE.normal(size=ROWS)})
    file = tmp_path / f"table.{ending}"
    rows.to_parquet(file) if ending == "parquet" else rows.to_csv(file, index=False)
    read = reading.load(str(file), project(NUMBER, *times("day"))).table["day"]
    assert read.dtype == "datetime64[ns]"
    assert read.tolist() == days.tz_convert("UTC").tz_localize(None).tolist()


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (times("c"), None, "the column c holds nothing and must be a time (ISO 8601), in row 1"),
        (times("c"), "1066-10-14", "the column c holds '1066-10-14 00:00:00' and must be from 1678 to 2261"),
        (integers("c"), None, "correct the file, or declare the column a number, which may be missing"),
    ],
)
def test_a_time_or_a_whole_number_that_a_request_could_not_have_is_refused(
    tmp_path: Path, column: list[Column], value: object, said: str
) -> None:
    usual = "2026-01-01" if column[0].kind == "time" else 1
    with pytest.raises(DataError) as told:
        load(project(NUMBER, *column), tmp_path, y=CHANCE.normal(size=ROWS), c=[value, *[usual] * (ROWS - 1)])
    assert said in str(told.value)


def test_a_time_that_tells_the_target_is_a_leak(tmp_path: Path) -> None:
    y = CHANCE.normal(size=ROWS)
    days = (pd.Timestamp("2026-01-01") + pd.to_timedelta(np.argsort(np.argsort(y)), unit="D")).astype(str)
    with pytest.raises(DataError, match=r"the column day predicts y on its own \(rank correlation 1.0000\)"):
        load(project(NUMBER, *times("day")), tmp_path, y=y, day=days)
