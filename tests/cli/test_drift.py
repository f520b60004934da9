import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from contract.tags import DRIFT_STATUS, DRIFT_WINDOWS
from tests.command import Command
from tests.drift.examples import write_customers
from tests.registry import MODEL, Registry
from training.data import reading
from training.projects import churn

DAY = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def log(registry: Registry, tmp_path: Path) -> Path:
    """Log with one clean day of version 1: the customers of its own table, in the order of the hours."""
    table = reading.load(str(registry.dataset), churn.PROJECT).table
    table = pd.concat([table, table]).sample(frac=1, random_state=1)
    write_customers(tmp_path / "log", table, DAY, model=MODEL)
    return tmp_path / "log"


def look(
    mlops: Command, registry: Registry, log: Path, *more: object, end: str = "2026-11-25T00:00:00"
) -> tuple[int, str]:
    where = ("--version", 1, "--log", log, "--tracking-uri", registry.uri)
    return mlops("drift", MODEL, *where, "--end", end, *more)


def test_a_window_of_other_customers_is_refused_with_a_report(
    mlops: Command, registry: Registry, tmp_path: Path
) -> None:
    table = reading.load(str(registry.dataset), churn.PROJECT).table
    table = pd.concat([table, table])
    shifted = table.assign(monthly_charges=table["monthly_charges"] * 100)
    write_customers(tmp_path / "log", shifted, DAY, model=MODEL)
    code, said = look(mlops, registry, tmp_path / "log", "--out", tmp_path / "drift.html")
    assert code == 3
    assert said.startswith(f"drift  {MODEL} version 1, 11-24 00:00 to 11-25 00:00 UTC: drift in 800 rows of ")
    page = (tmp_path / "drift.html").read_text()
    assert "monthly_charges" in page
    assert "<svg" in page


def test_too_few_rows_say_how_long_a_window_must_be(mlops: Command, registry: Registry, log: Path) -> None:
    code, said = look(mlops, registry, log, "--hours", 6, end="2026-11-24T06:00:00")
    assert code == 0
    assert "200 rows, and 500 are needed; at this rate a window must have 15 hours" in said


def test_a_window_is_recorded_once(mlops: Command, registry: Registry, log: Path) -> None:
    code, said = look(mlops, registry, log, "--record", "--json")
    found = json.loads(said)
    tags = MlflowClient(registry.uri).get_model_version(MODEL, "1").tags
    assert tags[DRIFT_STATUS] == found["status"]
    assert tags[DRIFT_WINDOWS] in {"0", "1"}
    assert code in {0, 3}
    code, said = look(mlops, registry, log, "--record")
    assert code == 0
    assert "is recorded already" in said


def test_the_version_of_another_program_says_what_to_do(
    mlops: Command, registry: Registry, log: Path, tmp_path: Path
) -> None:
    client = MlflowClient(registry.uri)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "MLmodel").write_text("flavors: {}\n")
    client.create_registered_model("foreign")
    client.create_model_version("foreign", str(tmp_path / "other"))
    where = ("--version", 1, "--log", log, "--tracking-uri", registry.uri)
    code, said = mlops("drift", "foreign", *where)
    client.delete_registered_model("foreign")
    assert code == 2
    assert "foreign version 1 has no reference profile" in said
    assert "train it again with this platform" in said


def test_the_outcomes_of_a_model_are_shown_by_day_beside_the_training(
    mlops: Command, registry: Registry, log: Path, tmp_path: Path
) -> None:
    lines = [f"24-{n},{'Yes' if n % 3 == 0 else 'No'},2026-11-29T00:00:00Z" for n in range(400)]
    (tmp_path / "outcomes").mkdir()
    (tmp_path / "outcomes" / "week.csv").write_text("\n".join(["request_id,churn,at", *lines]))
    where = ("--version", 1, "--log", log, "--tracking-uri", registry.uri)
    joined = tmp_path / "joined.parquet"
    code, said = mlops("outcomes", MODEL, tmp_path / "outcomes", *where, "--days", 3000, "--out", joined, "--json")
    found = json.loads(said)
    assert code == 0
    assert (found["predictions"], found["outcomes"], found["coverage"]) == (800, 400, 0.5)
    assert set(found["metrics"]) == set(found["metrics_of_training"]) == {"accuracy", "f1", "roc_auc"}
    assert len(reading.load(str(joined), churn.PROJECT).table) == 400


@pytest.mark.parametrize(
    ("out", "wrong"),
    [
        ("", "is a folder"),
        ("no/joined.parquet", "is not in a folder of this machine"),
        ("s3://bucket/joined.parquet", "is not in a folder of this machine"),
    ],
)
def test_a_file_of_joined_rows_that_cannot_be_written_is_refused_before_mlflow_is_asked(
    mlops: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, wrong: str
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ("--version", 1, "--log", tmp_path, "--tracking-uri", "http://127.0.0.1:1")
    code, said = mlops("outcomes", MODEL, tmp_path, *where, "--out", Path(out))
    assert code == 2
    assert f"--out {Path(out)} {wrong}; write a path of a file on this machine" in said
