from pathlib import Path

import pytest

from drift import store
from tests.model_server.s3 import bucket
from training.ending import BadInputError


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
            local.write(key, b"content")
            remote.write(key, b"content")
        for one in (local, remote):
            assert list(one.keys("predictions/model=m/")) == keys
            assert one.read(keys[0]) == b"content"


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is not a folder of this machine; write s3://BUCKET"):
        store.at(str(tmp_path / "no"))
