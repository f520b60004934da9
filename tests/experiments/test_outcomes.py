"""Files of outcomes, good and bad."""

from pathlib import Path

import pandas as pd
import pytest

from experiments import outcomes
from experiments.log import LogError

GOOD = pd.DataFrame(
    {"request_id": ["1", "2"], "row": [0, 0], "label": ["Yes", "No"], "at": ["2026-12-01T09:30:00Z"] * 2}
)


def test_files_of_a_folder_are_one_table(tmp_path: Path) -> None:
    GOOD.to_csv(tmp_path / "a.csv", index=False)
    GOOD.assign(request_id=["3", "1"]).to_parquet(tmp_path / "b.parquet")
    found = outcomes.read(str(tmp_path))
    assert found.table["request_id"].to_pylist() == ["1", "2", "3"]
    assert found.repeated == 1
    assert not found.binary


def test_row_and_time_may_be_absent_and_a_number_as_an_id_stays_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,request_id\n1,007\n,8\n0,9\n")
    found = outcomes.read(str(tmp_path / "a.csv"))
    assert found.table.to_pydict() == {"request_id": ["007", "9"], "row": [0, 0], "label": [1, 0]}
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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"nothing\.csv cannot be read"):
        outcomes.read(str(tmp_path / "nothing.csv"))
