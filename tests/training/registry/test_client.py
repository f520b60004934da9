from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INVALID_PARAMETER_VALUE
from mlflow.tracking import MlflowClient

from training.registry import client as versions

MODEL = "churn"


def refusing_once(code: int, write: Callable[..., object]) -> Callable[..., object]:
    """Return a write that the registry refuses at its first call, as it does if another client wrote meanwhile."""
    calls = list[tuple[object, ...]]()

    def refuse(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 1:
            raise MlflowException("duplicate key value violates unique constraint", cast("Any", code))
        return write(*arguments)

    return refuse


@pytest.mark.parametrize("kind", ["version", "model"])
def test_a_tag_that_two_clients_create_at_once_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    client = versions.connect(f"sqlite:///{tmp_path}/mlflow.db")
    store = cast("Any", client)
    store.create_registered_model(MODEL)
    store.create_model_version(MODEL, source=str(tmp_path))
    name = {"version": "set_model_version_tag", "model": "set_registered_model_tag"}[kind]
    monkeypatch.setattr(MlflowClient, name, refusing_once(BAD_REQUEST, getattr(MlflowClient, name)))
    if kind == "version":
        client.set_model_version_tag(MODEL, "1", "drift_at", "now")
        assert client.get_model_version(MODEL, "1").tags["drift_at"] == "now"
    else:
        client.set_registered_model_tag(MODEL, "turn", "mine")
        assert client.get_registered_model(MODEL).tags["turn"] == "mine"


def test_a_tag_that_the_registry_refuses_for_another_reason_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "set_model_version_tag"
    monkeypatch.setattr(MlflowClient, name, refusing_once(INVALID_PARAMETER_VALUE, getattr(MlflowClient, name)))
    with pytest.raises(MlflowException, match="violates"):
        versions.connect(f"sqlite:///{tmp_path}/mlflow.db").set_model_version_tag(MODEL, "1", "drift_at", "now")
