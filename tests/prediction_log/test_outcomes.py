"""Files of outcomes, good and bad."""

from pathlib import Path

import pandas as pd
import pytest

from prediction_log import outcomes
from prediction_log.store import LogError

GOOD = pd.DataFrame(
    {"request_id": ["1", "2"], "row": [0, 0], "label": ["Yes", "No"], "at": ["2026-12-01T09:30:00Z"] * 2}
)


def test_files_of_a_folder_are_one_table(tmp_path: Path) -> None:
    GOOD.to_csv(tmp_path / "a.csv", index=False)
    GOOD.assign(request_id=["3", "1"], label=["No", "Yes"]).to_parquet(tmp_path / "b.parquet")
    found = outcomes.read(str(tmp_path))
    assert found.table["request_id"].to_pylist() == ["1", "2", "3"]
    assert found.refused.counts == {"repeated with the same label (counted once)": 1}
    assert not found.binary


def test_row_and_time_may_be_absent_and_a_number_as_an_id_stays_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,request_id\n1,007\n,8\n0,9\n")
    found = outcomes.read(str(tmp_path / "a.csv"))
    assert found.table.to_pydict() == {
        "request_id": ["007", "9"],
        "row": [0, 0],
        "label": [1, 0],
        "at": [None, None],
    }
    assert found.binary


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "id,label\n1,2\n", "has no column request_id; its columns are id, label; write request_id, row"),
        ("a.csv", "request_id,row,label\n1,first,2\n", "wrong value in the column row"),
        ("a.csv", "request_id,label,at\n1,2,yesterday\n", "wrong value in the column at"),
        ("a.parquet", "no Parquet", "is no table"),
        ("a.csv", "", "is no table"),
    ],
)
def test_a_wrong_file_is_named_with_the_reason(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(LogError, match=message) as told:
        outcomes.read(str(tmp_path / name))
    assert name in str(told.value)


def test_a_folder_without_outcomes_yet_says_so_and_its_wrong_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "a.csv").write_text("customer,churned\n7,Yes\n")
    found = outcomes.read(str(tmp_path))
    assert not len(found.table)
    assert "a.csv has no column request_id and no column label" in found.notes[0]
    assert "has no outcomes; write CSV or Parquet" in found.notes[1]


def test_a_key_with_two_labels_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("request_id,label\na,Yes\na,No\na,No\nb,Yes\n")
    found = outcomes.read(str(tmp_path / "a.csv"))
    assert found.table["request_id"].to_pylist() == ["b"]
    assert found.refused.counts == {
        "repeated with the same label (counted once)": 1,
        "repeated with another label": 2,
    }
    assert found.refused.examples["repeated with another label"] == ["a row 0"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"nothing\.csv cannot be read"):
        outcomes.read(str(tmp_path / "nothing.csv"))
