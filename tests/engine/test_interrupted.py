"""Two updates at once and a killed update, with the real engine and its file backend, as docs/aws.md says."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.projects import Engine, Project, Run

pytestmark = pytest.mark.engine

PROGRAM = """
    import pulumi_aws as aws

    vpc = aws.ec2.Vpc("network", cidr_block="10.0.0.0/16")
    aws.ec2.Subnet("subnet", vpc_id=vpc.id, cidr_block="10.0.0.0/20")
    aws.kms.Key("key")
"""
SUBNET = "aws:ec2/subnet:Subnet"


@dataclass(frozen=True, kw_only=True)
class Story:
    """Runs in their order, and the state after the update was killed."""

    second: Run
    """Update while the first one creates the subnet."""
    after_kill: Run
    """Update after the first one was killed."""
    state: str
    """State that the killed update left."""
    refresh: Run
    """Refresh after `pulumi cancel`."""
    up: Run
    """Update after the refresh."""
    again: Run


@pytest.fixture(scope="module")
def story(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Story:
    project = engine.project(tmp_path_factory.mktemp("interrupted"), PROGRAM)
    with first_update(project) as first:
        second = project.up()
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    after_kill, state = project.up(), project.pulumi("stack", "export")
    project.pulumi("cancel", "--yes")
    refresh = project.run("refresh", "--yes", "--skip-preview", "--clear-pending-creates")
    return Story(
        second=second, after_kill=after_kill, state=state, refresh=refresh, up=project.up(), again=project.up()
    )


def first_update(project: Project) -> subprocess.Popen[bytes]:
    """Start an update, in a process group of its own, that does not end; return it when it creates the subnet."""
    record = project.folder / "first.jsonl"
    orders = json.dumps({SUBNET: {"wait": True}})
    slow = {**project.environment, "MLOPS_RECORDING": str(record), "MLOPS_RECORDING_ORDERS": orders}
    update = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive"],
        cwd=project.folder,
        env=slow,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not any(SUBNET in line and '"create"' in line for line in lines(record)):
        assert update.poll() is None
        time.sleep(0.1)
    return update


def lines(file: Path) -> Iterator[str]:
    yield from file.read_text().splitlines() if file.exists() else ()


def test_a_second_update_is_refused_while_one_runs_and_says_who_runs_it(story: Story) -> None:
    assert not story.second.succeeded
    assert "the stack is currently locked by 1 lock(s)" in story.second.output
    assert "pulumi cancel" in story.second.output
    assert not story.second.requests


def test_a_killed_update_leaves_its_lock_and_what_it_had_begun(story: Story) -> None:
    assert "the stack is currently locked" in story.after_kill.output
    deployment = json.loads(story.state)["deployment"]
    (pending,) = deployment["pending_operations"]
    assert (pending["type"], pending["resource"]["type"]) == ("creating", SUBNET)
    assert "aws:ec2/vpc:Vpc" in {each["type"] for each in deployment["resources"]}


def test_after_cancel_and_refresh_the_next_update_makes_what_was_missing_and_nothing_twice(story: Story) -> None:
    assert story.refresh.succeeded, story.refresh.output
    assert story.up.succeeded, story.up.output
    made = [request.name for request in story.up.requests if request.method == "create" and not request.preview]
    assert "subnet" in made
    assert "network" not in made
    assert story.again.succeeded
    assert not story.again.changes
