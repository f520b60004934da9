"""Logs in a folder and in a bucket."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from experiments import log
from experiments.log import LogError, StoreError
from tests.experiments.logs import MODEL, START, Row, write
from tests.model_server.s3 import Bucket, bucket

END = START + timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Return a bucket with the log of three hours, and other models' logs."""
    rows = [
        Row(request_id=f"{hour}", prediction="Yes", at=START + timedelta(hours=hour, minutes=30)) for hour in range(3)
    ]
    folder = write(tmp_path / "predictions", rows)
    with bucket() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        for file in folder.rglob("*.parquet"):
            made.objects[f"predictions/{file.relative_to(folder)}"] = file.read_bytes()
        made.objects[f"predictions/model={MODEL}-2/version=1/date=2026-12-01/hour=00/pod.parquet"] = b"another model"
        yield made


def ids(uri: str, **hours: int) -> list[str]:
    since, until = START + timedelta(hours=hours.get("since", 0)), START + timedelta(hours=hours.get("until", 24))
    tables = log.tables(log.files(uri, MODEL, since, until))
    return [name for _, table in tables if table is not None for name in table["request_id"].to_pylist()]


@pytest.mark.parametrize("uri", ["s3://bucket/predictions", "s3://bucket/predictions/", "folder"])
def test_a_log_is_read_in_the_order_of_its_hours(store: Bucket, tmp_path: Path, uri: str) -> None:
    store.listed = 2  # several pages
    place = str(tmp_path / "predictions") if uri == "folder" else uri
    assert ids(place) == ["0", "1", "2"]
    assert ids(place, since=1, until=1) == ["1"]


def test_a_log_that_does_not_exist_names_what_to_check(store: Bucket, tmp_path: Path) -> None:
    del store
    with pytest.raises(LogError, match="s3://bucket/other has no predictions of churn-predictor from 2026-12-01 00:00"):
        ids("s3://bucket/other")
    with pytest.raises(LogError, match="is not a folder; write the folder that holds model="):
        ids(str(tmp_path / "nothing"))
    with pytest.raises(LogError, match="ftp:// is not known"):
        ids("ftp://host/predictions")


def test_a_store_that_does_not_respond_may_be_tried_again(store: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(log, "S3", None)  # boto3's own retries wait for seconds
    store.down = True
    with pytest.raises(StoreError, match="cannot be read now"):
        ids("s3://bucket/predictions")
