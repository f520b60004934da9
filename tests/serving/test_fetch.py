import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.tracking import MlflowClient

from serving import fetch
from serving.settings import FetchSettings
from tests.registry import MODEL, Registry
from training.digest import digest

Fetching = Callable[..., tuple[int, str]]


@pytest.fixture
def fetching(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Fetching:
    """Fetches in this process; gives the exit code and the last message of the log."""
    for name in FetchSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "")
    (tmp_path / "why").touch()

    def run(**environment: object) -> tuple[int, str]:
        known = {
            "model": MODEL,
            "model_version": 1,
            "model_dir": tmp_path / "models",
            "mlflow_tracking_uri": registry.uri,
            "mlflow_patience_seconds": 0.2,
            "termination_log": tmp_path / "why",
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
    trained_by = MlflowClient(registry.uri).get_model_version(MODEL, "2").run_id
    assert trained_by
    assert f"run_id: {trained_by}" in (folder / "MLmodel").read_text()
    assert [entry.name for entry in folder.parent.iterdir()] == ["2"]


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


def test_a_version_that_does_not_exist_is_told_with_those_that_do(fetching: Fetching, tmp_path: Path) -> None:
    code, said = fetching(model_version=9)
    assert (code, said) == (2, f"{MODEL} has no version 9; versions that exist: 1, 2")
    assert (tmp_path / "why").read_text() == said
    assert not (tmp_path / "models").exists()


def test_a_model_that_does_not_exist_is_told_with_those_that_do(fetching: Fetching) -> None:
    code, said = fetching(model="chrun-predictor")
    assert code == 2
    assert said.startswith("there is no model chrun-predictor in the registry; models that exist: ")
    assert MODEL in said


def test_an_mlflow_that_does_not_answer_is_told_in_time(fetching: Fetching) -> None:
    code, said = fetching(mlflow_tracking_uri="http://127.0.0.1:9")
    assert code == 1
    assert said.startswith(f"MLflow at http://127.0.0.1:9 did not give {MODEL} version 1 within 0 s: ")
    assert "Connection refused" in said


def test_a_version_without_its_files_is_told(fetching: Fetching, registry: Registry, tmp_path: Path) -> None:
    client = MlflowClient(registry.uri)
    (tmp_path / "empty").mkdir()
    client.create_registered_model(f"hollow-{tmp_path.name}")
    client.create_model_version(f"hollow-{tmp_path.name}", str(tmp_path / "empty"))
    code, said = fetching(model=f"hollow-{tmp_path.name}")
    assert code == 2
    assert "its files were deleted or never written; serve another version" in said


def test_a_file_that_came_short_is_not_served(
    fetching: Fetching, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def cut(self: LocalArtifactRepository, _path: str, dst_path: str) -> None:
        shutil.copytree(str(self.artifact_dir), dst_path, dirs_exist_ok=True)
        (Path(dst_path) / "model.skops").write_bytes(b"PK")

    monkeypatch.setattr(LocalArtifactRepository, "download_artifacts", cut)
    code, said = fetching()
    assert code == 1
    assert "came incomplete" in said
    assert "model.skops" in said
    assert not (tmp_path / "models" / MODEL / "1").exists()


def test_files_that_are_not_those_that_were_registered_are_not_served(
    fetching: Fetching, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def change(self: LocalArtifactRepository, _path: str, dst_path: str) -> None:
        shutil.copytree(str(self.artifact_dir), dst_path, dirs_exist_ok=True)
        model = Path(dst_path) / "model.skops"
        model.write_bytes(model.read_bytes()[:-1] + b"!")

    monkeypatch.setattr(LocalArtifactRepository, "download_artifacts", change)
    code, said = fetching()
    assert code == 2
    assert said.startswith(f"{MODEL} version 1 is not what was registered: the files at ")
    assert said.endswith("serve another version, or train this one anew")
    assert len(set(re.findall(r"\b[0-9a-f]{64}\b", said))) == 2
    assert not list((tmp_path / "models" / MODEL).iterdir())


def test_a_version_without_a_digest_is_served_with_a_warning(
    fetching: Fetching, registry: Registry, tmp_path: Path
) -> None:
    client, name = MlflowClient(registry.uri), f"older-{tmp_path.name}"
    client.create_registered_model(name)
    client.create_model_version(name, client.get_model_version_download_uri(MODEL, "1"))
    code, said = fetching(model=name)
    assert code == 0
    assert said.startswith(f"{name} version 1, ")
    warned = f"{name} version 1 has no tag model_digest: its files are served unverified"
    assert warned in (tmp_path / "log").read_text()


def test_the_digest_is_what_sha256sum_makes_of_the_files_and_what_training_leaves(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name, content in {"z": "1", "b/c/d": "2", "b-": "3", "Ä": "", "registered_model_meta": "4"}.items():
        (tmp_path / name).write_text(content)
    find = r"find . -type f ! -path ./registered_model_meta -printf '%P\n'"
    command = rf"{find} | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert fetch.digest_of(tmp_path) == digest(tmp_path) == done.stdout.split()[0]


def test_a_full_volume_is_told(fetching: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        said = repr(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        raise MlflowException(f"some downloads failed: {{'model.skops': {said}}}")

    monkeypatch.setattr(LocalArtifactRepository, "download_artifacts", full)
    code, said = fetching()
    assert code == 1
    assert "no space left in" in said
    assert "larger size limit" in said
