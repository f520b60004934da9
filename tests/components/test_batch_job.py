"""Batches as the cluster sees them."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.deployed import deployed, environment, local
from tests.recording import Recording

NAME = "churn-nightly"
BATCH: Mapping[str, Any] = {
    "model": "churn-predictor",
    "version": 7,
    "input": "s3://mlops-artifacts/datasets/customers/*.parquet",
    "output": "s3://mlops-artifacts/batch/churn",
    "workers": 3,
    "deadline_minutes": 30,
}


def batch(**changes: object) -> Recording:
    return deployed({"batch": {NAME: {**BATCH, **changes}}})


def containers(job: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    pod = job["template"]["spec"]
    return {each["name"]: each for each in [*pod["initContainers"], *pod["containers"]]}


def test_a_batch_is_an_indexed_job_that_fetches_and_predicts_the_version_of_the_stack_file() -> None:
    job = batch().one(":Job", NAME).spec
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 3, 3)
    found = containers(job)
    assert [each["command"] for each in found.values()] == [
        ["python", "-m", "model_server.fetch"],
        ["python", "-m", "model_server.batch"],
    ]
    assert {each["image"] for each in found.values()} == {"lab.local/serving:1"}
    for each in found.values():
        assert (environment(each)["MODEL"], environment(each)["MODEL_VERSION"]) == ("churn-predictor", "7")
    values = environment(found["predict"])
    assert (values["BATCH_INPUT"], values["BATCH_OUTPUT"]) == (BATCH["input"], BATCH["output"])
    assert values["BATCH_WORKERS"] == "3", "each pod takes the partitions of its index"


def test_a_drained_node_costs_no_attempt_and_a_partition_that_does_not_fit_is_not_tried_again() -> None:
    job = batch(retries=2).one(":Job", NAME).spec
    assert job["backoffLimitPerIndex"] == 2
    rules = job["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "FailIndex", "FailIndex"]
    assert rules[0]["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert {rule["onExitCodes"]["containerName"] for rule in rules[1:]} == {"fetch", "predict"}


def test_with_a_schedule_jobs_are_made_at_its_times_only() -> None:
    recording = batch(schedule="0 4 * * *")
    assert not [each for each in recording.all(":Job") if each.name == NAME]
    spec = recording.one(":CronJob", NAME).spec
    assert (spec["schedule"], spec["suspend"], spec["concurrencyPolicy"]) == ("0 4 * * *", False, "Forbid")
    assert containers(spec["jobTemplate"]["spec"]).keys() == {"fetch", "predict"}


def test_without_a_schedule_the_template_starts_nothing_itself() -> None:
    assert batch().one(":CronJob", NAME).spec["suspend"] is True


def test_a_change_makes_another_job() -> None:
    assert batch().one(":Job", NAME).replace_on_changes == ("spec",)


def test_a_stack_without_a_batch_has_no_identity_for_one() -> None:
    assert not [each for each in local().all(":ServiceAccount") if each.name == "batch"]
    (account,) = [each for each in batch().all(":ServiceAccount") if each.name == "batch"]
    assert account.metadata["namespace"] == "ml-serving"


@pytest.mark.parametrize("image", ["lab.local/serving:own-1"])
def test_a_batch_may_name_an_image_of_its_own(image: str) -> None:
    assert {each["image"] for each in containers(batch(image=image).one(":Job", NAME).spec).values()} == {image}
