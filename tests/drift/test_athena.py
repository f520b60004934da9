"""The same windows, counted by this program and by DuckDB with the statements that Athena gets."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drift import hypotheses, joint
from drift.athena import Athena
from drift.look import Known, Request, look
from drift.window import SAMPLE, Window
from prediction_log import log, store
from prediction_log.log import Part
from prediction_log.store import LogError
from tests.drift import athena_server
from tests.drift.examples import DAY, START, logged, reference, rows, write
from tests.model_server.s3 import Bucket, bucket

POD = "{}-5d9f7-x7k2p-20261124T00-0f-00001"


@dataclass
class Place:
    """Folder with a log, and the bucket and Athena that have the same."""

    folder: Path
    bucket: Bucket
    athena: athena_server.Athena

    def write(self, table: pd.DataFrame, *, endpoint: str = "model", version: int = 1, ids: str = "r") -> None:
        file = write(self.folder, logged(table, ids=ids), version=version)
        file = file.rename(file.with_stem(POD.format(endpoint)))
        self.bucket.objects[file.relative_to(self.folder).as_posix()] = file.read_bytes()

    def windows(self, endpoint: str = "") -> tuple[Window, Window]:
        """Return the window as this program and as Athena counts it."""
        where, part = store.at("s3://bucket"), Part(model="model", start=START, end=START + DAY, endpoint=endpoint)
        files = log.files(where, part)
        ours, theirs = (Window(reference(), START, START + DAY) for _ in range(2))
        for _, table in log.tables(where, files, ours.is_read, log.Unreadable()):
            ours.add(table)
        Athena(workgroup="mlops_prod").fill(theirs, where, files, model="model", endpoint=endpoint)
        return ours, theirs


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with bucket() as made, athena_server.athena(made, tmp_path) as server:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL_ATHENA", f"http://127.0.0.1:{server.port}")
        yield Place(tmp_path, made, server)


def odd(count: int) -> pd.DataFrame:
    """Return rows with drift, gaps, values out of the training's range and new words."""
    table = rows(count, 5)
    table["size"] = table["size"] * 1.4 - 3
    table.loc[::7, "weight"] = np.nan
    table["word"] = table["word"].astype(object).where(table.index % 9 > 0, 'it\'s "new", really')
    table.loc[::10, "word"] = ""
    table.loc[::11, "word"] = None
    return table


def test_both_engines_count_the_same_and_find_the_same_drift(place: Place) -> None:
    place.write(odd(3 * SAMPLE))
    ours, theirs = place.windows()
    assert theirs.rows == ours.rows == 3 * SAMPLE
    assert np.array_equal(theirs.by_block, ours.by_block)
    assert ours.prediction
    assert theirs.prediction
    pairs = [(ours.columns[name], theirs.columns[name]) for name in ours.columns]
    for here, there in [*pairs, (ours.prediction, theirs.prediction)]:
        assert np.array_equal(there.bins, here.bins)
        assert np.array_equal(there.missing, here.missing)
        assert (there.below, there.above, there.new) == (here.below, here.above, here.new)
    (here, blocks_here), (there, blocks_there) = ours.sample(), theirs.sample()
    assert np.array_equal(blocks_here, blocks_there)
    assert here.equals(there[here.columns])
    decided = [hypotheses.decide(hypotheses.compare(one), 0.01) for one in (ours, theirs)]
    assert decided[0] == decided[1]
    assert any(one.is_drift for one in decided[0])
    known = rows(2_000, 1)
    assert joint.compare(reference(), known, *ours.sample()) == joint.compare(reference(), known, *theirs.sample())


def test_both_engines_count_the_predictions_of_one_endpoint(place: Place) -> None:
    place.write(rows(600, 1))
    place.write(rows(500, 2), endpoint="other", ids="o")
    assert [one.rows for one in place.windows("model")] == [600, 600]
    assert [one.rows for one in place.windows("other")] == [500, 500]


def test_a_look_with_athena_finds_what_a_look_without_it_finds(place: Place) -> None:
    place.write(rows(600, 1))
    request = Request(model="model", version=1, start=START, end=START + DAY)
    where, about = store.at("s3://bucket"), Known(reference=reference())
    found = [look(where, about, request, engine) for engine in (None, Athena(workgroup="mlops_prod"))]
    assert found[0].findings == found[1].findings
    assert found[1].window.rows == 600


def test_a_statement_that_fails_is_one_sentence_with_athenas_reason(place: Place) -> None:
    place.write(rows(600, 1))
    for file in place.folder.rglob("*.parquet"):
        file.write_bytes(b"no Parquet any more")
    with pytest.raises(LogError, match=r"Athena ended a statement in the workgroup mlops_prod: .*; correct the"):
        place.windows()


def test_athena_cannot_read_a_folder_of_this_machine(place: Place) -> None:
    place.write(rows(600, 1))
    where = store.at(str(place.folder))
    window = Window(reference(), START, START + DAY)
    with pytest.raises(LogError, match=r"write --log s3://BUCKET, or --engine local"):
        Athena(workgroup="mlops_prod").fill(window, where, [], model="model", endpoint="")
