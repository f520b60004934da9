"""Batches over an S3 server in memory: each row once, whatever is killed."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from model_server.batch.run import main
from tests.model_server import s3
from tests.model_server.s3 import Bucket
from tests.model_server.zoo import save_sklearn, table, trees

PARTITIONS, ROWS = 6, 40
Batch = Callable[..., int]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for version in (1, 2):
        save_sklearn(folder / "tree" / str(version), trees.DecisionTreeClassifier(max_depth=3, random_state=1))
    return folder


@pytest.fixture
def store() -> Iterator[Bucket]:
    with s3.bucket() as made:
        for number in range(PARTITIONS):
            put(made, number)
        made.objects["batch/in/_SUCCESS"] = b""
        made.objects["batch/in/old/part-9.parquet"] = b"in a folder below"
        yield made


def put(store: Bucket, number: int, **columns: str) -> None:
    """Write a partition whose rows have numbers of their own."""
    content = io.BytesIO()
    ids = range(number * ROWS, (number + 1) * ROWS)
    table(ROWS)[0].assign(id=ids, **columns).to_parquet(content, index=False)
    store.objects[f"batch/in/part-{number}.parquet"] = content.getvalue()


def environment(store: Bucket, models: Path, **more: object) -> dict[str, str]:
    values = {
        "MODEL": "tree",
        "MODEL_VERSION": 1,
        "MODEL_DIR": models,
        "MODEL_DIGEST": "d1",
        "BATCH_INPUT": "s3://bucket/batch/in/part-*.parquet",
        "BATCH_OUTPUT": "s3://bucket/batch/out",
        "TERMINATION_LOG": models / "why",
        **more,
    }
    return {**store.environment, **{name: str(value) for name, value in values.items()}}


@pytest.fixture
def batch(store: Bucket, models: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Run a batch in this process, and return its exit code."""
    (models / "why").write_text("")

    def run(**more: object) -> int:
        for name, value in environment(store, models, **more).items():
            monkeypatch.setenv(name, value)
        return main()

    return run


def results(store: Bucket, version: int = 1) -> dict[str, pd.DataFrame]:
    folder = f"batch/out/version={version}/"
    found = {key.removeprefix(folder): body for key, body in store.objects.items() if key.startswith(folder)}
    return {name: pd.read_parquet(io.BytesIO(body)) for name, body in found.items()}


def ids(store: Bucket) -> list[int]:
    return sorted(one for made in results(store).values() for one in made.id)


def test_each_index_predicts_its_own_partitions_and_all_together_predict_every_row_once(
    store: Bucket, batch: Batch
) -> None:
    made = list[set[str]]()
    for index in range(3):
        before = results(store).keys()
        assert batch(BATCH_WORKERS=3, JOB_COMPLETION_INDEX=index) == 0
        made.append(results(store).keys() - before)
    assert sum(map(len, made)) == PARTITIONS
    assert ids(store) == list(range(PARTITIONS * ROWS))
    assert store.puts == PARTITIONS


@pytest.mark.long
def test_a_batch_that_is_killed_twice_has_every_row_once(store: Bucket, models: Path) -> None:
    reached = threading.Event()
    store.before_answer = reached.set
    command, values = [sys.executable, "-m", "model_server.batch"], {**os.environ, **environment(store, models)}
    for kill in (1, 2):
        reached.clear()
        process = subprocess.Popen(command, env=values, stdout=subprocess.DEVNULL)
        assert reached.wait(120)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert kill <= len(results(store)) <= PARTITIONS
    finished = subprocess.run(command, env=values, stdout=subprocess.PIPE, check=True)
    assert ids(store) == list(range(PARTITIONS * ROWS))
    assert b"without a result" in finished.stdout


def test_only_new_and_changed_partitions_are_predicted_again(store: Bucket, batch: Batch) -> None:
    assert batch() == 0
    assert batch() == 0
    assert store.puts == PARTITIONS, "the second run found all results"
    put(store, 0, note="changed")
    put(store, PARTITIONS)
    assert batch() == 0
    assert store.puts == PARTITIONS + 2
    assert "note" in results(store)["part-0.parquet"]


def test_another_version_has_results_of_its_own_and_other_files_of_a_version_replace_them(
    store: Bucket, batch: Batch
) -> None:
    assert batch() == 0
    assert batch(MODEL_VERSION=2) == 0
    assert len(results(store, 1)) == len(results(store, 2)) == PARTITIONS
    assert batch(MODEL_DIGEST="d2") == 0
    assert store.puts == 3 * PARTITIONS


def test_a_partition_with_another_schema_is_named_and_the_others_are_done(
    store: Bucket, batch: Batch, models: Path
) -> None:
    put(store, 2, a="text")
    assert batch() == 2
    assert results(store).keys() == {f"part-{number}.parquet" for number in (0, 1, 3, 4, 5)}
    why = (models / "why").read_text()
    assert "1 of 6 partitions do not fit tree version 1: part-2.parquet has the type " in why
    assert "in column a, and the model takes double" in why


def test_a_store_that_does_not_respond_is_worth_another_try(store: Bucket, batch: Batch) -> None:
    store.down = True
    assert batch() == 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("BATCH_INPUT", "s3://bucket/batch/none/*.parquet"),
        ("BATCH_INPUT", "s3://bucket/batch/in/"),
        ("BATCH_INPUT", "s3://bucket/*/in/part.parquet"),
        ("BATCH_OUTPUT", "/tmp/out"),
        ("MODEL_VERSION", "latest"),
    ],
)
def test_an_input_without_partitions_or_a_wrong_address_is_bad_input(batch: Batch, setting: str, value: str) -> None:
    assert batch(**{setting: value}) == 2
