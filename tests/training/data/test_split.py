from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from tests.training.test_project import declared
from training.data import split
from training.data.source import DataError
from training.project import Split, Target, numbers


def table(rows: int = 400) -> pd.DataFrame:
    chance = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "age": np.arange(rows),
            "plan": pd.Categorical(chance.choice(["a", "b"], rows)),
            "seen": pd.Timestamp("2026-01-01") + pd.to_timedelta(chance.permutation(rows) // 10, unit="D"),
            "house": [f"house {number}" for number in chance.integers(0, 60, rows)],
            "left": pd.Categorical(np.where(chance.random(rows) < 0.2, "Yes", "No")),
        }
    )


RANDOM, TIME, GROUP = Split(), Split(how="time", by="seen"), Split(how="group", by="house")
ROW = Split(how="row")


@pytest.mark.parametrize("how", [RANDOM, TIME, GROUP, ROW])
def test_what_is_held_out_is_what_no_model_learns_from_and_always_the_same(how: Split) -> None:
    project, whole = declared(split=how), table()
    held_out = split.held_out(project, whole)
    known, unseen = split.divide(project, table())
    pd.testing.assert_frame_equal(held_out, unseen)
    assert sorted([*known["age"], *unseen["age"]]) == list(range(400))
    assert 0.15 < len(unseen) / 400 < 0.35


@pytest.mark.parametrize("how", ["random", "row"])
def test_another_seed_holds_out_other_rows(how: Literal["random", "row"]) -> None:
    one, other = (
        set(split.held_out(declared(split=Split(how=how, seed=seed)), table()[["age", "left"]])["age"])
        for seed in (1, 2)
    )
    assert len(one & other) < 0.4 * len(one)


def test_a_random_split_keeps_the_balance_of_labels() -> None:
    known, unseen = split.divide(declared(), table())
    assert (known["left"] == "Yes").mean() == pytest.approx((unseen["left"] == "Yes").mean(), abs=0.01)


def test_a_split_by_time_holds_out_the_latest_and_parts_no_moment() -> None:
    known, unseen = split.divide(declared(split=TIME), table())
    assert known["seen"].max() < unseen["seen"].min()


def test_a_split_by_group_parts_no_group_and_moves_none_when_the_table_grows() -> None:
    project = declared(split=GROUP)
    early, late = split.divide(project, table(200)), split.divide(project, table())
    known, unseen = (set(one["house"]) | set(other["house"]) for one, other in zip(early, late, strict=True))
    assert not known & unseen


def test_a_split_by_row_moves_no_row_when_others_are_added_or_removed() -> None:
    project = declared(split=ROW)
    whole = split.held_out(project, table())
    part = split.held_out(project, table().iloc[50:300].sample(frac=1, random_state=1))
    assert sorted(part["age"]) == [age for age in whole["age"] if 50 <= age < 300]


def test_a_split_by_row_holds_out_the_same_rows_whatever_the_order_of_the_columns() -> None:
    project = declared(split=ROW)
    whole, reordered = (split.held_out(project, one) for one in (table(), table().iloc[:, ::-1]))
    assert list(whole["age"]) == list(reordered["age"])


def test_dividing_lets_go_of_the_table() -> None:
    whole = table()
    split.divide(declared(), whole)
    assert not len(whole.columns)


@pytest.mark.parametrize("how", [RANDOM, TIME, GROUP, ROW])
def test_rows_to_learn_from_are_divided_once_more_in_the_same_way(how: Split) -> None:
    project = declared(split=how)
    known, _ = split.divide(project, table())
    rest, share = split.rows(project, known).divide(0.2)
    assert list(rest.features) == ["age", "plan"]
    assert len(rest.features) + len(share.features) == len(known)
    assert len(share.labels) == len(share.features)


@pytest.mark.parametrize(
    ("change", "how", "said"),
    [
        ({"left": ["Yes"] + ["No"] * 19}, RANDOM, "1 of 20 rows have the label Yes, too few to hold out 25% of them"),
        ({"seen": pd.Timestamp("2026-01-01")}, TIME, "leaves no row to learn from"),
        ({"house": "one"}, GROUP, "of 20; give more rows, or another split"),
    ],
)
def test_a_table_that_cannot_be_divided_is_reported(change: dict[str, Any], how: Split, said: str) -> None:
    with pytest.raises(DataError, match=said):
        split.held_out(declared(split=how), table(20).assign(**change))


def test_the_rows_of_a_fit_count_by_their_column_and_by_their_label() -> None:
    made = table().assign(nights=np.arange(400) % 5)
    known, _ = split.divide(declared(weight="nights"), made.copy())
    rows = split.rows(declared(weight="nights"), known)
    assert not rows.used
    assert rows.weights.tolist() == known["nights"].tolist()
    assert rows.used == {"weights"}

    given = Target(name="left", labels=("No", "Yes"), class_weights={"Yes": 3})
    both = split.rows(declared(weight="nights", target=given), known).weights
    assert both.tolist() == (known["nights"] * np.where(known["left"] == "Yes", 3, 1)).tolist()

    balanced = Target(name="left", labels=("No", "Yes"), class_weights="balanced")
    weights = split.rows(declared(target=balanced), known).weights
    assert weights.groupby(known["left"].astype(str)).sum().tolist() == pytest.approx([150, 150])
    assert split.rows(declared(), known).weights.eq(1).all()


def test_a_fit_gets_the_further_columns_and_divides_them_with_the_rows() -> None:
    project = declared(further=numbers("price"))
    known, _ = split.divide(project, table().assign(price=np.arange(400.0)))
    rows = split.rows(project, known)
    rest, share = rows.divide(0.2)
    assert list(rows.features) == ["age", "plan"]
    assert sorted([*rest.further["price"], *share.further["price"]]) == sorted(known["price"])
    assert len(share.weights) == len(share.labels)
    assert rows.used == {"weights"}
