"""Lock of a validation: two validations of one version, and one that died."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from mlflow.tracking import MlflowClient

from contract.stages import BROKEN, RUNNING
from contract.tags import VALIDATION_STATUS
from tests.registry import Registry
from training import validate
from training.registry import client as versions
from training.registry.claim import BusyError
from training.validation import turn

pytestmark = pytest.mark.long
MODEL = f"in-turn-{os.getpid()}"


@pytest.fixture
def client(registry: Registry) -> versions.Client:
    """Client of a registry with three versions that were not validated; the last is of the training job `weekly`."""
    made, untyped = versions.connect(registry.uri), MlflowClient(registry.uri)
    for number in (1, 2, 3):
        if not versions.versions(made, MODEL):
            untyped.create_registered_model(MODEL)
        job = "weekly" if number == 3 else "churn"
        untyped.create_model_version(MODEL, "file:///nowhere", tags={"training_job": job})
    return made


@pytest.fixture(autouse=True)
def forgotten(registry: Registry) -> None:
    """Delete the model after the test before, so that each test has its own."""
    untyped = MlflowClient(registry.uri)
    if versions.versions(versions.connect(registry.uri), MODEL):
        untyped.delete_registered_model(MODEL)


def state(client: versions.Client, number: int) -> str | None:
    return client.get_model_version(MODEL, str(number)).tags.get(VALIDATION_STATUS)


def begin(client: versions.Client, number: int) -> turn.Lock:
    mine = turn.of_this_process(60)
    turn.acquire(client, client.get_model_version(MODEL, str(number)), mine)
    return mine


def test_of_two_that_look_at_one_version_the_one_that_began_last_speaks(client: versions.Client) -> None:
    version = client.get_model_version(MODEL, "1")
    first, second = begin(client, 1), begin(client, 1)
    turn.check(client, version, second)
    with pytest.raises(
        BusyError, match=f"version 1 is being validated by {second.by}, which started later, so its result"
    ):
        turn.check(client, version, first)
    turn.release(client, version, "passed")
    with pytest.raises(BusyError, match="by another process"):
        turn.check(client, version, first)
    assert (state(client, 1), turn.TAG in client.get_model_version(MODEL, "1").tags) == ("passed", False)


def test_a_version_that_is_being_looked_at_is_left_alone_until_the_time_is_over(client: versions.Client) -> None:
    begin(client, 3)
    begin(client, 2)
    assert validate.newest(client, MODEL) == 1
    over = turn.Lock(by="a pod that is gone", until=datetime.now(UTC) - timedelta(seconds=1))
    client.set_model_version_tag(MODEL, "3", turn.TAG, over.model_dump_json())
    assert validate.newest(client, MODEL) == 1, "a version without any validation comes first"
    begin(client, 1)
    assert validate.newest(client, MODEL) == 3


def test_a_running_validation_that_left_no_turn_is_taken_up(client: versions.Client) -> None:
    client.set_model_version_tag(MODEL, "3", VALIDATION_STATUS, RUNNING)
    assert validate.newest(client, MODEL) == 3


def test_what_broke_or_was_answered_is_not_taken_up(client: versions.Client) -> None:
    for number, status in (("3", BROKEN), ("2", "refused"), ("1", "passed")):
        client.set_model_version_tag(MODEL, number, VALIDATION_STATUS, status)
    assert validate.newest(client, MODEL) is None


def test_a_training_job_looks_at_what_it_trained_and_at_what_no_other_job_claims(client: versions.Client) -> None:
    assert validate.newest(client, MODEL, "churn") == 2
    assert validate.newest(client, MODEL, "weekly") == 3
    assert validate.newest(client, MODEL, "monthly") is None
    client.delete_model_version_tag(MODEL, "1", "training_job")
    assert validate.newest(client, MODEL, "monthly") == 1


def test_a_schedule_passes_over_a_version_that_needs_another_image(client: versions.Client) -> None:
    client.set_model_version_tag(MODEL, "3", "serving_image", "lab.local/serving:own-1")
    assert validate.newest(client, MODEL, image="lab.local/serving:1") == 2
    assert validate.newest(client, MODEL, image="lab.local/serving:own-1") == 3
    assert validate.newest(client, MODEL) == 3


def test_a_schedule_may_come_before_the_first_version(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate.main(["--tracking-uri", registry.uri, "none-yet", "--training-job", "churn"]) == 0
    assert "no version of none-yet needs a validation" in capsys.readouterr().out
    assert validate.main(["--tracking-uri", registry.uri, "none-yet"]) == 2
    assert "there is no model none-yet in the registry" in capsys.readouterr().err
