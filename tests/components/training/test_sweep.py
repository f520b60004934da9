"""A sweep as one Job with a pod for each point."""

import json
from collections.abc import Mapping
from typing import Any

from tests.deployed import deployed, environment

GRID = {"grid": {"max_depth": [5, 10, 15], "n_estimators": [50, 100]}, "max_parallel": 2}


def job(sweep: Mapping[str, Any], **changes: object) -> Mapping[str, Any]:
    given = {f"training.churn.{key}": value for key, value in changes.items()}
    return deployed({"training.churn.sweep": sweep, **given}).one(":Job", "churn").spec


def values(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return environment(spec["template"]["spec"]["containers"][0])


def test_it_never_has_more_pods_than_it_may() -> None:
    points = [{"max_depth": depth} for depth in range(1, 21)]
    spec = job({"points": points, "max_parallel": 4})
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 20, 4)
    assert job({"points": points[:2], "max_parallel": 4})["parallelism"] == 2


def test_each_pod_gets_all_points_and_how_to_find_the_best() -> None:
    told = json.loads(values(job(GRID, retries=3))["SWEEP"])
    assert told == {
        "points": [{"max_depth": depth, "n_estimators": trees} for depth in (5, 10, 15) for trees in (50, 100)],
        "metric": "roc_auc",
        "goal": "maximize",
        "retries": 3,
    }


def test_what_no_point_changes_is_in_the_parameters() -> None:
    read = values(job({"points": [{"max_depth": 1}], "max_parallel": 1}))
    assert json.loads(read["PARAMETERS"]) == {"n_estimators": 100, "max_depth": 10}


def test_a_point_that_fails_leaves_the_others_alone() -> None:
    spec = job(GRID, retries=3)
    assert spec["backoffLimitPerIndex"] == 3
    assert "backoffLimit" not in spec
    lost, bad = spec["podFailurePolicy"]["rules"]
    assert (lost["action"], bad["action"]) == ("Ignore", "FailIndex")


def test_a_point_has_the_deadline_and_the_sweep_has_it_for_each_wave() -> None:
    spec = job(GRID, deadline_minutes=10)
    assert spec["template"]["spec"]["activeDeadlineSeconds"] == 600
    assert spec["activeDeadlineSeconds"] == 3 * 600
    assert job({**GRID, "max_parallel": 4}, deadline_minutes=10)["activeDeadlineSeconds"] == 2 * 600


def test_a_pod_knows_how_often_its_point_has_failed() -> None:
    (path,) = [value for name, value in values(job(GRID)).items() if name == "INDEX_FAILURES"]
    assert path == {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-index-failure-count']"}}


def test_a_sweep_can_have_a_schedule() -> None:
    recording = deployed({"training.churn.sweep": GRID, "training.churn.schedule": "@weekly"})
    assert recording.one(":CronJob", "churn").spec["jobTemplate"]["spec"]["completions"] == 6
