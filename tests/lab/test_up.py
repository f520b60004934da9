"""`lab up`: the settings that it writes to the stack file, and the errors before a deployment."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from images.builder import PARTS, RECIPES
from lab import paths
from lab.cluster import layout
from lab.errors import LabError
from lab.up import Target, check_context, up, values

REFS = {recipe: f"lab.local/{recipe.name}:1" for recipe in RECIPES}
OWN = Target(context=layout.NAME, own=True)
FOREIGN = Target(context="elsewhere", own=False)
CONFIG: dict[str, Any] = {"foundation": {"context": layout.NAME}, "tracking": {"replicas": 2}}


@pytest.fixture
def on_another_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    paths.ports().write_text(json.dumps({"mlops-platform/mlflow": 5005}))


@pytest.mark.usefixtures("on_another_port")
def test_mlflow_answers_a_browser_at_the_port_that_was_chosen() -> None:
    told = values(CONFIG, OWN, REFS, None)
    assert told["tracking.allowed_hosts[0]"] == "localhost:5005"
    assert told["tracking.allowed_hosts[1]"] == "127.0.0.1:5005"


@pytest.mark.usefixtures("on_another_port")
def test_hosts_that_a_user_added_stay_and_a_second_up_adds_nothing() -> None:
    users = {**CONFIG, "tracking": {"allowed_hosts": ["mlflow.lan", "localhost:5005"]}}
    told = values(users, OWN, REFS, None)
    assert {path: host for path, host in told.items() if "hosts" in path} == {
        "tracking.allowed_hosts[2]": "127.0.0.1:5005"
    }
    users["tracking"]["allowed_hosts"].append("127.0.0.1:5005")
    assert not [path for path in values(users, OWN, REFS, None) if "hosts" in path]


def test_in_another_cluster_the_port_is_that_of_the_printed_port_forward() -> None:
    assert values(CONFIG, FOREIGN, REFS, None)["tracking.allowed_hosts[0]"] == "localhost:5000"


def test_a_platform_in_one_cluster_is_not_rebuilt_in_another_by_mistake() -> None:
    with pytest.raises(LabError, match="deployed to context mlops-lab, not to elsewhere: use"):
        check_context(CONFIG, FOREIGN, deployed=True)
    check_context(CONFIG, FOREIGN, deployed=False)


def test_with_monitoring_the_stack_file_gets_its_images_and_keeps_what_a_user_wrote() -> None:
    refs = {**REFS, **{recipe: f"lab.local/{recipe.name}:1" for recipe in PARTS["monitoring"]}}
    told = values({**CONFIG, "monitoring": {"kind": "cluster", "receiver": "slack"}}, FOREIGN, refs, None)
    assert told["monitoring.images.prometheus"] == "lab.local/prometheus-server:1"
    assert "monitoring.storage_gib" in told
    assert "monitoring.receiver" not in told
    assert not [path for path in values(CONFIG, FOREIGN, REFS, None) if path.startswith("monitoring")]


def test_a_part_that_does_not_exist_is_refused_before_anything_starts() -> None:
    with pytest.raises(LabError, match="--with grafana: there is no such part; write one of monitoring"):
        up(Console(), context=None, registry=None, mlflow_port=None, parts=["grafana"])
