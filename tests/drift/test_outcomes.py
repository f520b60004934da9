import io
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from drift import outcomes as joins
from drift.outcomes import Joined
from prediction_log import outcomes, store
from prediction_log.log import Part
from tests.drift.examples import DAY, PROJECT, START, logged, rows, write

PART = Part(model="model", version=1, start=START, end=START + DAY)
LATER = (START + 8 * DAY).isoformat()
TARGET = PROJECT.target.name


def join(folder: Path, text: str, count: int = 10) -> Joined:
    write(folder, logged(rows(count, 1)))
    (folder / "outcomes").mkdir()
    (folder / "outcomes" / "week.csv").write_text(text)
    known = outcomes.read(str(folder / "outcomes"), TARGET)
    return joins.join(store.at(str(folder)), PART, known, project=PROJECT, model=None, expected={})


def test_outcomes_are_joined_by_request_and_row_with_their_lag(tmp_path: Path) -> None:
    lines = [f"request-{number},0,Yes,{LATER}" for number in range(4)]
    found = join(tmp_path, "\n".join(["request_id,row,label,at", *lines]))
    assert found.coverage == 0.4
    assert sorted(found.table["request_id"]) == [f"request-{number}" for number in range(4)]
    assert found.lag
    assert timedelta(days=7) < found.lag[0] < timedelta(days=8)


def test_outcomes_that_cannot_be_true_are_counted_and_named(tmp_path: Path) -> None:
    lines = [
        f"request-0,0,Yes,{LATER}",
        f"request-0,0,Yes,{LATER}",
        f"request-1,0,Yes,{LATER}",
        f"request-1,0,No,{LATER}",
        f"request-2,0,Yes,{(START - DAY).isoformat()}",
        f"stranger,0,Yes,{LATER}",
        f"request-3,0,Perhaps,{LATER}",
    ]
    found = join(tmp_path, "\n".join([f"request_id,row,{TARGET},at", *lines]))
    assert found.table["request_id"].tolist() == ["request-0"]
    assert found.refused.counts == {
        "repeated with the same label (counted once)": 1,
        "repeated with another label": 2,
        "before the prediction": 1,
        "unknown request": 1,
        "label other than No and Yes": 1,
    }
    assert found.refused.examples["unknown request"] == ["stranger row 0"]


def test_a_clock_that_is_slow_by_seconds_loses_no_outcome(tmp_path: Path) -> None:
    write(tmp_path, logged(rows(1, 1)))
    at = logged(rows(1, 1)).column("at").to_pylist()[0] - timedelta(seconds=20)
    found = join(tmp_path, f"request_id,row,label,at\nrequest-0,0,Yes,{at.isoformat()}", count=1)
    assert len(found.table) == 1


def test_a_file_that_holds_no_outcomes_is_named(tmp_path: Path) -> None:
    found = join(tmp_path, "customer,churned\n7,Yes")
    assert found.predictions == 10
    assert f"outcomes/week.csv has no column request_id and no column {TARGET}" in found.notes[0]


def test_a_performance_below_that_of_the_training_is_named(tmp_path: Path) -> None:
    lines = [f"request-{number},0,{'Yes' if number % 2 else 'No'},{LATER}" for number in range(400)]
    write(tmp_path, logged(rows(400, 1)))
    where = store.at(str(tmp_path))
    (tmp_path / "outcomes").mkdir()
    (tmp_path / "outcomes" / "week.csv").write_text("\n".join(["request_id,row,label,at", *lines]))
    found = joins.join(
        where,
        PART,
        outcomes.read(str(tmp_path / "outcomes"), TARGET),
        project=PROJECT,
        model=None,
        expected={"accuracy": (0.8, 0.9), "f1": (0.0, 0.9)},
    )
    assert found.worse == ["accuracy"]


def test_the_joined_rows_are_a_table_with_features_and_label(tmp_path: Path) -> None:
    found = join(tmp_path, f"request_id,row,label,at\nrequest-0,0,Yes,{LATER}")
    table = pd.read_parquet(io.BytesIO(joins.as_parquet(found)))
    assert {*PROJECT.features, TARGET, "request_id", "prediction", "outcome_at"} <= set(table)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_outcomes_may_be_csv_or_parquet(tmp_path: Path, suffix: str) -> None:
    table = pd.DataFrame({"request_id": ["a"], "row": [0], "label": ["Yes"], "at": [LATER]})
    file = tmp_path / f"week.{suffix}"
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    assert outcomes.read(str(tmp_path), TARGET).table["request_id"].to_pylist() == ["a"]
