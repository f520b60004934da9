"""Tables whose target does not fit the task, and leaks, for several labels and for numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.data import reading, split
from training.data.reading import DataError
from training.project import Column, Model, Parameters, Project, Rows, Split, Target, categories, numbers

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
def test_labels_that_do_not_fit_the_task_are_told_with_the_task_that_does(
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
