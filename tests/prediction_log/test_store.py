from pathlib import Path

import pytest

from prediction_log import store
from prediction_log.store import LogError
from tests.model_server.s3 import bucket


def test_a_bucket_and_a_folder_list_the_same_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [
        "predictions/model=m/version=1/b.parquet",
        "predictions/model=m/version=1/date=2026-11-24/hour=00/a.parquet",
    ]
    local = store.at(str(tmp_path))
    with bucket() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        remote = store.at("s3://bucket")
        for key in keys:
            (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / key).write_bytes(b"content")
            made.objects[key] = b"content"
        for one in (local, remote):
            assert list(one.keys("predictions/model=m/")) == keys
            assert one.read(keys[0]) == b"content"
            assert one.folders("predictions/model=m/") == ["version=1"]
            with pytest.raises(FileNotFoundError):
                one.read("predictions/nothing")


def test_a_bucket_and_a_folder_have_the_content_that_was_written_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bucket() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        for one in (store.at(str(tmp_path)), store.at("s3://bucket")):
            one.write("datasets/outcomes/a/joined.parquet", b"first")
            one.write("datasets/outcomes/a/joined.parquet", b"second")
            assert list(one.keys("datasets/")) == ["datasets/outcomes/a/joined.parquet"]
            assert one.read("datasets/outcomes/a/joined.parquet") == b"second"


def test_a_file_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(LogError, match=r"taken/joined\.parquet cannot be written: .*; write another address"):
        store.at(str(tmp_path)).write("taken/joined.parquet", b"content")


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="is not a folder of this machine; write s3://BUCKET"):
        store.at(str(tmp_path / "no"))
