from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from drift import outcomes as joins
from drift.outcomes import Joined
from prediction_log import outcomes, store
from prediction_log.log import Part
from prediction_log.store import LogError
from tests.drift.examples import DAY, PROJECT, START, logged, rows, write
from tests.training.test_project import declared
from training.data import reading
from training.fit import metrics
from training.fit.predictions import RegressionPredictions
from training.project import Project, Split, Target, numbers

PART = Part(model="model", version=1, start=START, end=START + DAY)
LATER = (START + 8 * DAY).isoformat()
TARGET = PROJECT.target.name
TIME = pa.timestamp("us", tz="UTC")


def altered(table: pa.Table, without: str = "", **columns: pa.Array) -> pa.Table:
    """Return a file of the log with other columns, and without one."""
    found = table.select([name for name in table.column_names if name not in {without, *columns}])
    for name, values in columns.items():
        found = found.append_column(name, values)
    return found


def join(folder: Path, text: str, count: int = 10) -> Joined:
    write(folder, logged(rows(count, 1)))
    return join_logged(folder, text.splitlines())


def join_logged(
    folder: Path,
    lines: Sequence[str],
    project: Project[Any] = PROJECT,
    expected: Mapping[str, tuple[float, float]] | None = None,
) -> Joined:
    """Join outcomes, a header and lines of CSV, to the log in the folder."""
    (folder / "outcomes").mkdir()
    (folder / "outcomes" / "week.csv").write_text("\n".join(lines))
    known = outcomes.read(str(folder / "outcomes"), project.target.name)
    return joins.join(store.at(str(folder)), PART, known, project=project, model=None, expected=expected or {})


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
    expected = {"accuracy": (0.8, 0.9), "f1": (0.0, 0.9)}
    found = join_logged(tmp_path, ["request_id,row,label,at", *lines], expected=expected)
    assert found.worse == ["accuracy"]


class Thirds:
    """Classifier of three labels, which is certain of the label that `size` names."""

    classes_ = np.array(["high", "low", "middle"])

    def predict(self, table: pd.DataFrame) -> np.ndarray[Any, Any]:
        return np.select([table["size"] < 10, table["size"] > 30], ["low", "high"], "middle")

    def predict_proba(self, table: pd.DataFrame) -> np.ndarray[Any, Any]:
        return (self.predict(table)[:, None] == self.classes_).astype(float)


def test_a_model_of_three_labels_is_measured_by_the_metrics_of_its_task(tmp_path: Path) -> None:
    project = replace(PROJECT, task="multiclass", target=Target(name="level", labels=("low", "middle", "high")))
    table = rows(300, 1)
    truth = Thirds().predict(table)
    served = np.where(np.arange(300) % 5 == 0, "low", truth)
    write(tmp_path, altered(logged(table), prediction=pa.array(served.tolist())))
    (tmp_path / "week.csv").write_text(
        "\n".join(["request_id,level", *(f"request-{n},{truth[n]}" for n in range(300))])
    )
    known = outcomes.read(str(tmp_path / "week.csv"), "level")
    found = joins.join(store.at(str(tmp_path)), PART, known, project=project, model=Thirds(), expected={})
    assert found.whole["accuracy"].value == np.mean(served == truth) < 1
    assert found.whole["roc_auc_ovr"].value == 1, "the model is certain of the truth"
    assert found.whole["f1_macro"].low < found.whole["f1_macro"].value < found.whole["f1_macro"].high
    assert found.days[0].metrics.keys() == found.whole.keys()


NUMBER = declared(
    task="regression", target=Target(name="price"), columns=[*numbers("size", "at")], split=Split(how="time", by="at")
)


def log_of_numbers(served: np.ndarray[Any, Any]) -> pa.Table:
    log = logged(rows(len(served), 1)).select(["request_id", "row", "at", "input_size"])
    return log.append_column("input_at", pa.array(range(len(served)))).append_column("prediction", pa.array(served))


def test_a_regression_is_measured_in_the_unit_of_its_target_and_a_larger_error_is_worse(tmp_path: Path) -> None:
    truth = np.linspace(10, 20, 200)
    served = truth + np.where(np.arange(200) % 2, 1.0, -3.0)
    write(tmp_path, log_of_numbers(served))
    lines = ["request_id,price", *(f"request-{number},{value}" for number, value in enumerate(truth))]
    expected = {"mae": (0.5, 0.6), "rmse": (1.0, 3.0), "r2": (-9.0, -8.0)}
    found = join_logged(tmp_path, [*lines, "other,many"], NUMBER, expected)
    assert found.whole == metrics.estimate(RegressionPredictions(truth=truth, predicted=served), seed=7)
    assert found.whole["mae"].value == pytest.approx(2)
    assert found.worse == ["mae"]
    assert found.refused.counts == {"label that is no finite number": 1}


def test_a_feature_with_the_name_of_a_column_of_the_log_keeps_its_values(tmp_path: Path) -> None:
    write(tmp_path, log_of_numbers(np.arange(60.0)))
    found = join_logged(tmp_path, ["request_id,price", "request-7,1.5"], NUMBER)
    assert found.table["at"].tolist() == [7]
    assert not found.missing


def test_a_prediction_that_is_not_one_of_the_labels_is_counted_and_not_measured(tmp_path: Path) -> None:
    write(tmp_path, altered(logged(rows(2, 1)), prediction=pa.array([None, "Maybe"])))
    found = join_logged(tmp_path, ["request_id,label", "request-0,Yes", "request-1,No"])
    assert found.refused.counts == {"prediction that is not logged as one value": 2}
    assert (found.outcomes, len(found.table)) == (0, 0)


def test_a_log_without_predictions_says_what_to_change(tmp_path: Path) -> None:
    write(tmp_path, altered(logged(rows(5, 1)), without="prediction"))
    with pytest.raises(LogError, match=r"has no column prediction.*remove prediction from prediction_log\.redact"):
        join_logged(tmp_path, ["request_id,label", "request-0,Yes"])


def test_rows_of_all_versions_are_joined_and_those_of_one_are_measured(tmp_path: Path) -> None:
    write(tmp_path, logged(rows(60, 1)))
    write(tmp_path, logged(rows(70, 2), ids="former"), version=3)
    write(tmp_path, altered(logged(rows(80, 3), ids="narrow"), without="input_size"), version=2)
    of = {"request": 60, "former": 70, "narrow": 80}
    lines = [f"{name}-{n},{'Yes' if n % 2 else 'No'}" for name, count in of.items() for n in range(count)]
    found = join_logged(tmp_path, ["request_id,label", *lines])
    assert (found.predictions, found.outcomes, found.days[0].outcomes) == (60, 60, 60)
    assert found.table["version"].value_counts().to_dict() == {3: 70, 1: 60}
    (note,) = found.notes
    assert note.startswith("1 files of version 2 are not joined, because they have other columns or types than ")


def test_files_of_one_version_with_other_types_than_its_newest_are_counted_and_the_others_are_joined(
    tmp_path: Path,
) -> None:
    numbers = pa.array([1.0] * 5)
    for hour in range(2):
        write(tmp_path, altered(logged(rows(5, hour), ids=f"number{hour}"), prediction=numbers), hour=hour)
    write(tmp_path, logged(rows(5, 2), ids="text"), hour=2)
    write(tmp_path, logged(rows(5, 3), ids="other"), version=2, hour=3)
    lines = [f"{name}-{n},Yes" for name in ("number0", "number1", "text", "other") for n in range(5)]
    found = join_logged(tmp_path, ["request_id,label", *lines])
    assert (found.outcomes, found.table["version"].value_counts().to_dict()) == (5, {1: 5, 2: 5})
    (note,) = found.notes
    assert note.startswith("2 files of version 1 are not joined, because they have other columns or types than ")


@pytest.mark.parametrize("shadow", [1, 2])
def test_of_a_request_that_a_shadow_answered_too_the_clients_row_is_in_the_table_and_the_versions_own_is_measured(
    tmp_path: Path, shadow: int
) -> None:
    for version, answer in ((1, "Yes"), (2, "No")):
        role, at = ("shadow", START + DAY / 3) if version == shadow else ("champion", START + DAY / 2)
        answers = altered(logged(rows(100, 1)), prediction=pa.array([answer] * 100), role=pa.array([role] * 100))
        write(tmp_path, altered(answers, at=pa.array([at] * 100, TIME)), version=version)
    lines = [f"request-{n},{'No' if n else 'Yes'}" for n in range(100)]
    found = join_logged(tmp_path, ["request_id,label", *lines])
    assert found.table["version"].tolist() == [3 - shadow] * 100
    assert (found.outcomes, found.whole["accuracy"].value) == (100, 0.01)


def test_an_outcome_that_is_joined_to_no_answer_of_two_versions_is_counted_once(tmp_path: Path) -> None:
    for version in (1, 2):
        write(tmp_path, altered(logged(rows(1, 1)), prediction=pa.array(["Maybe"])), version=version)
    found = join_logged(tmp_path, ["request_id,label", "request-0,Yes"])
    assert found.refused.counts == {"prediction that is not logged as one value": 1}


def test_a_training_reads_the_joined_rows_as_its_table(tmp_path: Path) -> None:
    lines = [f"request-{number},{'Yes' if number % 3 else 'No'},{LATER}" for number in range(0, 60, 2)]
    found = join(tmp_path, "\n".join(["request_id,label,at", *lines]), count=60)
    file = tmp_path / "joined.parquet"
    file.write_bytes(joins.as_parquet(found))
    table = reading.load(str(file), PROJECT).table
    expected = rows(60, 1).iloc[::2].reset_index(drop=True)
    assert table["size"].tolist() == expected["size"].tolist()
    assert table["word"].tolist() == expected["word"].tolist()
    assert table[TARGET].tolist() == ["Yes" if number % 3 else "No" for number in range(0, 60, 2)]
    by_time = replace(PROJECT, split=Split(how="time", by="at"))
    assert reading.load(str(file), by_time).table["at"].is_monotonic_increasing


@pytest.mark.parametrize("wanted", [{"weight": "amount"}, {"split": Split(how="group", by="household")}])
def test_columns_that_requests_do_not_have_are_named(tmp_path: Path, wanted: Mapping[str, Any]) -> None:
    write(tmp_path, logged(rows(5, 1)))
    found = join_logged(tmp_path, ["request_id,label", "request-0,Yes"], replace(PROJECT, **wanted))
    assert found.missing in (["amount"], ["household"])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_outcomes_may_be_csv_or_parquet(tmp_path: Path, suffix: str) -> None:
    table = pd.DataFrame({"request_id": ["a"], "row": [0], "label": ["Yes"], "at": [LATER]})
    file = tmp_path / f"week.{suffix}"
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    assert outcomes.read(str(tmp_path), TARGET).table["request_id"].to_pylist() == ["a"]
