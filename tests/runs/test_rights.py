"""Rights that the commands about runs need in the cluster: those of the group of trainers, and no more."""

import json

import pytest

from contract import names
from tests.command import Command
from tests.deployed import local
from tests.rights import Request, may, requests, rules
from tests.runs.world import JOB, World, complete, ended, event, job, pod, template, validation

pytestmark = pytest.mark.usefixtures("mlflow")

CHURN, LOOK = template(), validation()
LOOKING = "churn-validation-x7k2p"
COMMANDS = {
    "train": ("train", "churn", "max_depth=3"),
    "follow": ("follow", JOB),
    "validate": ("validate", "churn-predictor", "3"),
    "runs": ("runs",),
}


@pytest.fixture
def sent(world: World, mlops: Command) -> dict[str, set[Request]]:
    """Requests of each command, each on a run that is waiting first and ends then."""
    found = dict[str, set[Request]]()
    for command, words in COMMANDS.items():
        checked = pod("Succeeded", name=f"{LOOKING}-a", of=LOOKING, **ended(0))
        checked["metadata"]["labels"] |= LOOK["spec"]["jobTemplate"]["metadata"]["labels"]
        done = [CHURN, LOOK, job(CHURN, status=complete()), pod("Succeeded", **ended(0))]
        done += [job(LOOK, name=LOOKING, status=complete()), checked]
        waiting = [
            CHURN,
            LOOK,
            job(CHURN),
            job(LOOK, name=LOOKING),
            event(JOB, "FailedCreate", "2026-03-01T12:00:00Z", name=JOB),
        ]
        (world.folder / "asked").unlink(missing_ok=True)
        for old in (world.folder / "scenes").iterdir():
            old.unlink()
        world.scenes(waiting, waiting, done)
        world.log(f"{JOB}-aaaaa", "training")
        world.log(f"{LOOKING}-a", "validating")
        mlops(*words)
        lines = [json.loads(line) for line in (world.folder / "asked").read_text().splitlines()]
        found[command] = {request for line in lines for request in requests(line)}
    return found


def test_trainers_may_send_every_request_of_every_command(sent: dict[str, set[Request]]) -> None:
    assert Request(names.TRAINING, "create", "jobs") in sent["train"] & sent["validate"]
    assert Request(names.TRAINING, "get", "pods/log") in sent["train"] & sent["validate"] & sent["follow"]
    assert Request(names.PLATFORM, "create", "pods/portforward") in sent["train"] & sent["runs"]
    refused = {(command, r) for command, each in sent.items() for r in each if not may(local(), names.TRAINERS, r)}
    assert not refused


def test_viewers_may_list_runs_and_neither_start_nor_follow_one(sent: dict[str, set[Request]]) -> None:
    assert all(may(local(), names.VIEWERS, request) for request in sent["runs"])
    for command in ("train", "follow", "validate"):
        assert not all(may(local(), names.VIEWERS, request) for request in sent[command])


def test_trainers_have_no_right_beyond_a_viewers_that_no_command_needs(sent: dict[str, set[Request]]) -> None:
    viewers = rules(local(), names.VIEWERS, names.TRAINING)
    own = {
        Request(names.TRAINING, verb, resource)
        for rule in rules(local(), names.TRAINERS, names.TRAINING)
        if rule not in viewers
        for verb in rule["verbs"]
        for resource in rule["resources"]
    }
    assert own == {r for each in sent.values() for r in each if not may(local(), names.VIEWERS, r)}
    for namespace in (names.PLATFORM, names.SERVING):
        assert rules(local(), names.TRAINERS, namespace) == rules(local(), names.VIEWERS, namespace)
