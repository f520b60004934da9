import os
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow.tracking import MlflowClient

from cli.main import run
from contract.digest import folder_digest
from tests.registry import MODEL, Registry
from training.mlflow_logging import TRUSTED
from training.registry import client as versions
from training.registry import copies
from training.registry.client import Client
from training.validation.candidate import fetch

pytestmark = pytest.mark.long


class Killed(BaseException):
    """Stands for the end of the process between two calls."""


class Dying:
    """Client that raises Killed instead of one of its calls."""

    def __init__(self, client: Client, call: str) -> None:
        self._client = client
        self._call = call

    def __getattr__(self, name: str) -> Any:
        if name == self._call:
            raise Killed
        return getattr(self._client, name)


CALLS = (
    "create_experiment",
    "create_run",
    "log_batch",
    "set_terminated",
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
    "create_registered_model",
    "create_model_version",
)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of another, empty registry."""
    return f"sqlite:///{tmp_path_factory.mktemp('prod')}/mlflow.db"


@pytest.fixture(autouse=True)
def _where_artifacts_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def numbers(uri: str) -> list[int]:
    return [int(found.version) for found in versions.versions(versions.connect(uri), MODEL)]


def test_a_copy_killed_between_any_two_calls_is_one_version_after_the_next(
    registry: Registry, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version also has the metrics, parameters, files and origin of its source."""
    client, connect = versions.connect(registry.uri), versions.connect
    for call in CALLS:

        def dying(uri: str, call: str = call) -> Client:
            return cast("Client", Dying(connect(uri), call))

        monkeypatch.setattr(versions, "connect", dying)
        with pytest.raises(Killed):
            copies.copy(client, registry.uri, other, MODEL, 2)
        monkeypatch.setattr(versions, "connect", connect)
        assert numbers(other) == []
    for _ in range(2):  # done again, it is the same copy
        assert copies.copy(client, registry.uri, other, MODEL, 2) == 1
    assert numbers(other) == [1]

    target = connect(other)
    there, here = target.get_model_version(MODEL, "1"), client.get_model_version(MODEL, "2")
    assert there.description == here.description
    assert here.tags.items() - there.tags.items() == {("model_digest", here.tags["model_digest"])}
    assert there.tags["source_registry"] == registry.uri
    assert (there.tags["source_model"], there.tags["source_version"]) == (MODEL, "2")
    assert there.tags["source_run_id"] == here.run_id
    assert here.run_id
    assert there.run_id
    one, two = client.get_run(here.run_id).data, target.get_run(there.run_id).data
    assert (one.metrics, one.params) == (two.metrics, two.params)
    copied, original = (
        fetch(each, uri, version, tmp_path / place)
        for each, uri, version, place in ((target, other, there, "a"), (client, registry.uri, here, "b"))
        if not (tmp_path / place).mkdir()
    )
    assert folder_digest(tmp_path / "a" / "1") == there.tags["model_digest"]
    assert folder_digest(tmp_path / "b" / "2") == here.tags["model_digest"]
    example = original.example
    assert example is not None
    assert str(copied.load([*TRUSTED]).predict(example)) == str(original.load([*TRUSTED]).predict(example))


def test_a_copy_is_promoted_there_and_the_version_here_keeps_its_stage(
    registry: Registry, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = versions.connect(registry.uri)
    name = f"copied-{os.getpid()}"
    source = client.get_model_version(MODEL, "1")
    writing = MlflowClient(registry.uri)
    writing.create_registered_model(name)
    writing.create_model_version(name, source.source or "", source.run_id, tags={"validation_status": "passed"})
    command = ["promote", "--tracking-uri", registry.uri, name, "1", "staging", "--copy-to", other]
    assert run([*command, "--dry-run"]) == 0
    assert "would be copied" in capsys.readouterr().out
    assert run(command) == 0
    assert f"{name} version 1 is version 1 at {other}" in capsys.readouterr().out
    assert versions.standing(versions.connect(other), name).aliases == {"challenger": 1}
    assert versions.standing(client, name).aliases == {}


def test_a_version_is_not_copied_to_where_it_is(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["promote", "--tracking-uri", registry.uri, MODEL, "1", "none", "--copy-to", registry.uri]
    assert run(command) == 2
    assert "is the MLflow that has the version already; write the address of another one" in capsys.readouterr().err


def test_files_that_were_changed_are_not_copied(registry: Registry, other: str, tmp_path: Path) -> None:
    client, writing = versions.connect(registry.uri), MlflowClient(registry.uri)
    name = f"changed-{tmp_path.name}"
    writing.create_registered_model(name)
    writing.create_model_version(
        name, client.get_model_version(MODEL, "1").source or "", tags={"model_digest": "0" * 64}
    )
    with pytest.raises(versions.UnknownError, match=f"{name} version 1 cannot be copied: .* {'0' * 64}"):
        copies.copy(client, registry.uri, other, name, 1)
    assert name not in [model.name for model in versions.models(versions.connect(other))]


def test_the_address_of_a_registry_is_recorded_without_its_password(registry: Registry, other: str) -> None:
    client = versions.connect(registry.uri)
    number = copies.copy(client, "https://ada:secret@mlflow.example/path", other, MODEL, 1)
    tags = versions.connect(other).get_model_version(MODEL, str(number)).tags
    assert tags["source_registry"] == "https://mlflow.example/path"
