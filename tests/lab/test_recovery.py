"""Recovery with the record of a stack that a former release deployed."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab import paths
from lab.recovery import checkpoint, complete_record, engine_arguments

DECLARED = {"metadata": {"name": "s3"}, "spec": {"replicas": 1}}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One object as the plugin of former releases recorded it, one as the official plugin does, and a component."""
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    file = paths.pulumi_backend() / ".pulumi" / "stacks" / "mlops" / "local.json"
    file.parent.mkdir(parents=True)
    live = {**DECLARED, "status": {"readyReplicas": 1}}
    resources: list[dict[str, Any]] = [
        {"type": "mlops:index:LocalFoundation", "outputs": {"bucket": "b"}},
        {"type": "kubernetes:apps/v1:StatefulSet", "inputs": DECLARED, "outputs": live},
        {
            "type": "kubernetes:apps/v1:StatefulSet",
            "inputs": DECLARED,
            "outputs": {**live, "__inputs": {"of": "its own"}},
        },
    ]
    file.write_text(json.dumps({"version": 3, "checkpoint": {"stack": "local", "latest": {"resources": resources}}}))
    return file


def inputs_beside_outputs() -> list[object]:
    return [each["outputs"].get("__inputs") for each in checkpoint()["resources"]]


@pytest.mark.parametrize("command", ["up", "preview", "refresh", "destroy"])
@pytest.mark.usefixtures("record")
def test_the_engine_finds_what_each_object_was_declared_as_and_replaces_none(command: str) -> None:
    engine_arguments([command])
    assert inputs_beside_outputs() == [None, DECLARED, {"of": "its own"}]


def test_a_complete_record_is_not_written_again(record: Path) -> None:
    complete_record()
    before = record.stat().st_mtime_ns
    complete_record()
    assert record.stat().st_mtime_ns == before


def test_another_stack_is_left_alone(record: Path) -> None:
    before = record.read_text()
    engine_arguments(["up", "--stack", "mine"])
    assert record.read_text() == before
