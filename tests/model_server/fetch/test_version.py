import errno
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.digest import folder_digest
from model_server import bucket
from model_server.fetch import version as fetch
from model_server.settings import FetchSettings
from tests.model_server import s3
from tests.model_server.s3 import Bucket
from tests.registry import MODEL, Registry

Fetching = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def stored(registry: Registry) -> dict[str, bytes]:
    """Return the files of both versions, as objects of a bucket."""
    return {
        f"models/{version}/{path.relative_to(folder)}": path.read_bytes()
        for version in (1, 2)
        for folder in [registry.files(version)]
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def store(stored: dict[str, bytes]) -> Iterator[Bucket]:
    with s3.bucket() as made:
        made.objects |= stored
        yield made


@pytest.fixture
def fetching(
    registry: Registry,
    store: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Fetching:
    """Fetch in this process. Return the exit code and the last message of the log."""
    for name in FetchSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "why").touch()

    def run(**environment: object) -> tuple[int, str]:
        version = environment.get("model_version", 1)
        known = {
            "model": MODEL,
            "model_version": 1,
            "model_dir": tmp_path / "models",
            "model_source": f"s3://bucket/models/{version}",
            "model_digest": folder_digest(registry.files(int(str(version)))),
            "store_patience_seconds": 0.2,
            "termination_log": tmp_path / "why",
            **store.environment,
        }
        for name, value in (known | environment).items():
            monkeypatch.setenv(name.upper(), str(value))
        code = fetch.main()
        log = capsys.readouterr().out
        (tmp_path / "log").write_text(log)
        return code, json.loads(log.splitlines()[-1])["message"]

    return run


def test_exactly_the_wanted_version_is_there(fetching: Fetching, registry: Registry, tmp_path: Path) -> None:
    code, said = fetching(model_version=2)
    assert code == 0
    assert said.startswith(f"{MODEL} version 2, ")
    folder = tmp_path / "models" / MODEL / "2"
    assert folder_digest(folder) == folder_digest(registry.files(2))
    assert folder_digest(folder) != folder_digest(registry.files(1))
    assert [entry.name for entry in folder.parent.iterdir()] == ["2"]


def test_a_version_of_more_files_than_are_listed_at_once_is_there(
    fetching: Fetching, store: Bucket, registry: Registry, tmp_path: Path
) -> None:
    store.listed = 2
    assert fetching()[0] == 0
    assert folder_digest(tmp_path / "models" / MODEL / "1") == folder_digest(registry.files(1))


def test_a_version_that_is_there_is_not_fetched_again(fetching: Fetching, tmp_path: Path) -> None:
    assert fetching()[0] == 0
    marker = tmp_path / "models" / MODEL / "1" / "marker"
    marker.touch()
    assert fetching() == (0, f"{MODEL} version 1 is already in {marker.parent}")
    assert marker.exists()


def test_what_a_killed_fetch_left_behind_does_not_count(fetching: Fetching, tmp_path: Path) -> None:
    left = tmp_path / "models" / MODEL / "1.part"
    left.mkdir(parents=True)
    (left / "MLmodel").write_text("half")
    assert fetching()[0] == 0
    assert not left.exists()
    assert "half" not in (tmp_path / "models" / MODEL / "1" / "MLmodel").read_text()


def test_a_store_that_is_down_is_reported_in_time_and_is_asked_again(
    fetching: Fetching, store: Bucket, tmp_path: Path
) -> None:
    store.down = True
    code, said = fetching(store_patience_seconds=2)
    assert code == 1
    assert said.startswith(f"the artifact store at s3://bucket/models/1 did not provide {MODEL} version 1 within 2 s: ")
    assert "503" in said
    assert "retrying for 2 more seconds" in (tmp_path / "log").read_text()


def test_a_version_without_its_files_is_reported(fetching: Fetching, tmp_path: Path) -> None:
    code, said = fetching(model_source="s3://bucket/nothing")
    assert (tmp_path / "why").read_text() == said
    assert code == 2
    assert "its files were deleted or never written; serve another version" in said


def test_a_version_outside_of_s3_is_reported(fetching: Fetching) -> None:
    code, said = fetching(model_source="gs://bucket/models/1")
    assert code == 2
    assert "has its files at gs://bucket/models/1, but only s3://BUCKET/KEY is supported" in said


@pytest.mark.parametrize("folder", ["left#2", "what?versionId=1", "50%23", "a+b", "/models"])
def test_the_folder_of_a_version_is_taken_letter_by_letter(
    folder: str, fetching: Fetching, store: Bucket, tmp_path: Path
) -> None:
    store.objects = {f"{folder}/MLmodel": b"right", "left/MLmodel": b"wrong", "what/MLmodel": b"wrong"}
    assert fetching(model_source=f"s3://bucket/{folder}/", model_digest="")[0] == 0
    assert (tmp_path / "models" / MODEL / "1" / "MLmodel").read_bytes() == b"right"


def test_no_file_is_put_outside_of_the_versions_folder(fetching: Fetching, store: Bucket, tmp_path: Path) -> None:
    store.objects["models/1/../../../escaped"] = b"!"
    code, said = fetching()
    assert (code, "files outside its folder: ../../../escaped" in said) == (2, True)
    assert not list(tmp_path.rglob("escaped"))


def test_a_file_that_came_short_is_not_served(fetching: Fetching, store: Bucket, tmp_path: Path) -> None:
    store.sizes["models/1/model.skops"] = 10
    code, said = fetching()
    assert code == 1
    assert "is incomplete" in said
    assert "model.skops" in said
    assert not (tmp_path / "models" / MODEL / "1").exists()


def test_files_that_are_not_those_that_were_released_are_not_served(
    fetching: Fetching, store: Bucket, tmp_path: Path
) -> None:
    store.objects["models/1/model.skops"] = store.objects["models/1/model.skops"][:-1] + b"!"
    code, said = fetching()
    assert code == 2
    assert said.startswith(f"{MODEL} version 1 is not what was released: the files at ")
    assert said.endswith("restore the files, or release another version")
    assert len(set(re.findall(r"\b[0-9a-f]{64}\b", said))) == 2
    assert not list((tmp_path / "models" / MODEL).iterdir())


def test_what_one_pod_has_fetched_the_next_one_has_without_the_store(
    fetching: Fetching, store: Bucket, registry: Registry, tmp_path: Path
) -> None:
    assert fetching(model_cache_dir=kept(tmp_path), model_dir=tmp_path / "first")[0] == 0
    store.down = True
    code, said = fetching(model_cache_dir=kept(tmp_path))
    assert (code, said.endswith("copied from the node's cache")) == (0, True)
    assert folder_digest(tmp_path / "models" / MODEL / "1") == folder_digest(registry.files(1))


def test_what_was_written_into_the_nodes_folder_is_not_served(
    fetching: Fetching, registry: Registry, tmp_path: Path
) -> None:
    fetching(model_cache_dir=kept(tmp_path), model_dir=tmp_path / "first")
    (changed,) = kept(tmp_path).rglob("model.skops")
    changed.write_bytes(b"!")
    code, _ = fetching(model_cache_dir=kept(tmp_path))
    assert code == 0
    assert folder_digest(tmp_path / "models" / MODEL / "1") == folder_digest(registry.files(1))
    (again,) = kept(tmp_path).iterdir()
    assert folder_digest(again) == folder_digest(registry.files(1))


def test_a_version_without_a_digest_is_not_kept(fetching: Fetching, tmp_path: Path) -> None:
    assert fetching(model_digest="", model_cache_dir=kept(tmp_path))[0] == 0
    assert not list(kept(tmp_path).iterdir())


def test_a_node_that_keeps_nothing_costs_a_warning(fetching: Fetching, tmp_path: Path) -> None:
    assert fetching(model_cache_dir=tmp_path / "nowhere")[0] == 0
    assert "cannot be cached" in (tmp_path / "log").read_text()


def kept(tmp_path: Path) -> Path:
    """Return a folder that the pods of a node share."""
    folder = tmp_path / "node"
    folder.mkdir(exist_ok=True)
    return folder


def test_a_version_without_a_digest_is_served_with_a_warning(fetching: Fetching, tmp_path: Path) -> None:
    code, said = fetching(model_digest="")
    assert code == 0
    assert said.startswith(f"{MODEL} version 1, ")
    warned = f"{MODEL} version 1 was released without a digest: its files cannot be verified"
    assert warned in (tmp_path / "log").read_text()


def test_a_full_volume_is_reported(fetching: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __getattr__(self, _: str) -> object:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(bucket, "client", Full)
    code, said = fetching()
    assert code == 1
    assert "no space left in" in said
    assert "larger size limit" in said
