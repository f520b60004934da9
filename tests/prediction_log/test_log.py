"""Logs in a folder and in a bucket."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from prediction_log import log, store
from prediction_log.log import Part, Unreadable
from prediction_log.store import LogError, StoreError
from tests.experiments.logs import MODEL, START, Row, write
from tests.model_server.s3 import Bucket, bucket

OTHER = "other-customers-5d9f7-b2k4m"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Return a bucket with the log of three hours, and other models' logs."""
    rows = [
        Row(request_id=f"{hour}", prediction="Yes", at=START + timedelta(hours=hour, minutes=30)) for hour in range(3)
    ]
    folder = write(tmp_path, rows)
    with bucket() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        for file in folder.rglob("*.parquet"):
            made.objects[f"{file.relative_to(folder)}"] = file.read_bytes()
        made.objects[f"predictions/model={MODEL}-2/version=1/date=2026-12-01/hour=00/pod.parquet"] = b"another model"
        yield made


def ids(uri: str, *, endpoint: str = "", since: float = 0, until: float = 24, version: int | None = None) -> list[str]:
    start, end = START + timedelta(hours=since), START + timedelta(hours=until)
    where = store.at(uri)
    found = log.files(where, Part(model=MODEL, start=start, end=end, endpoint=endpoint, version=version))
    tables = log.tables(where, found, lambda _: True, Unreadable())
    return [name for _, table in tables for name in table["request_id"].to_pylist()]


@pytest.mark.parametrize(
    "uri", ["s3://bucket", "s3://bucket/predictions", "s3://bucket/predictions/", "", "predictions"]
)
def test_a_log_is_read_in_the_order_of_its_hours_by_the_address_of_its_store_or_its_folder(
    made: Bucket, tmp_path: Path, uri: str
) -> None:
    made.listed = 2  # several pages
    place = uri if uri.startswith("s3:") else str(tmp_path / uri)
    assert ids(place) == ["0", "1", "2"]
    assert ids(place, since=1.25, until=2) == ["1"]


def test_a_log_that_cannot_be_read_names_what_to_write(made: Bucket, tmp_path: Path) -> None:
    del made
    with pytest.raises(LogError, match="is not a folder of this machine; write s3://BUCKET"):
        ids(str(tmp_path / "nothing"))
    with pytest.raises(LogError, match="ftp:// is not known"):
        ids("ftp://host/predictions")


def test_a_store_that_does_not_respond_may_be_tried_again(made: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(store, "S3", None)  # boto3's own retries wait for seconds
    made.down = True
    with pytest.raises(StoreError, match="cannot be read now"):
        ids("s3://bucket")


def test_a_file_that_the_store_deletes_meanwhile_is_left_out(made: Bucket) -> None:
    where = store.at("s3://bucket")
    found = log.files(where, Part(model=MODEL, start=START, end=START + timedelta(days=1)))
    del made.objects[found[1].key]
    assert [file.hour.hour for file, _ in log.tables(where, found, lambda _: True, Unreadable())] == [0, 2]


def test_a_file_that_is_half_written_is_named_and_the_others_are_read(made: Bucket) -> None:
    where = store.at("s3://bucket")
    found = log.files(where, Part(model=MODEL, start=START, end=START + timedelta(days=1)))
    made.objects[found[1].key] = made.objects[found[1].key][:-100]
    unreadable = Unreadable()
    assert [file.hour.hour for file, _ in log.tables(where, found, lambda _: True, unreadable)] == [0, 2]
    assert f"1 files of the log cannot be read and are left out; the first is {found[1].key}" in unreadable.notes[0]


def test_each_version_can_be_read_by_itself(tmp_path: Path) -> None:
    write(tmp_path, [Row(request_id=f"{version}", prediction="Yes", version=version) for version in (7, 8)])
    assert ids(str(tmp_path)) == ["7", "8"]
    assert ids(str(tmp_path), version=8) == ["8"]


def test_two_endpoints_of_one_model_are_never_mixed(tmp_path: Path) -> None:
    write(tmp_path, [Row(request_id="ours", prediction="Yes")])
    arm = Row(request_id="challenger", prediction="Yes", role="challenger")
    write(tmp_path, [arm], "churn-predictor-challenger-5d9f7-c4n6q")
    write(tmp_path, [Row(request_id="theirs", prediction="Yes")], OTHER)
    write(tmp_path, [Row(request_id="copied", prediction="Yes")], "by-hand")
    assert ids(str(tmp_path), endpoint="churn-predictor") == ["copied", "ours", "challenger"]
    assert ids(str(tmp_path), endpoint="other-customers") == ["copied", "theirs"]
    with pytest.raises(LogError, match="churn-predictor, other-customers; write --endpoint with one of them"):
        ids(str(tmp_path))


def test_an_endpoint_whose_name_ends_like_that_of_a_challenger_has_its_own_log(tmp_path: Path) -> None:
    write(tmp_path, [Row(request_id="ours", prediction="Yes")], "new-challenger-5d9f7-b2k4m")
    write(tmp_path, [Row(request_id="theirs", prediction="Yes")], "new-eu-5d9f7-c4n6q")
    assert ids(str(tmp_path), endpoint="new-challenger") == ["ours"]


def test_an_endpoint_named_like_the_challenger_of_another_one_is_told_apart_by_the_role_of_its_pods(
    tmp_path: Path,
) -> None:
    write(tmp_path, [Row(request_id="ours", prediction="Yes")], "new-5d9f7-b2k4m")
    write(tmp_path, [Row(request_id="arm", prediction="Yes", role="challenger")], "new-challenger-5d9f7-c4n6q")
    write(tmp_path, [Row(request_id="theirs", prediction="Yes")], "new-challenger-5d9f7-d4n6q")
    assert ids(str(tmp_path), endpoint="new") == ["ours", "arm"]
    assert ids(str(tmp_path), endpoint="new-challenger") == ["theirs"]


def test_columns_that_a_former_release_did_not_write_are_filled(tmp_path: Path) -> None:
    write(tmp_path, [Row(request_id="1", prediction="Yes", role=None)])
    where = store.at(str(tmp_path))
    found = log.files(where, Part(model=MODEL, start=START, end=START + timedelta(days=1)))
    (_, table), *_ = log.tables(where, found, {"role", "at"}.__contains__, Unreadable())
    assert table.select(["role"]).to_pylist() == [{"role": "champion"}]
