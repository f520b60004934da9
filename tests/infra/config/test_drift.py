"""Messages about a drift job, outcomes or a retraining that cannot be."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest

from tests.infra.config.test_stack import problems
from tests.stacks import Absent, changed

NAME = "endpoints.churn-predictor"
VALID: Mapping[str, Any] = {
    f"{NAME}.prediction_log": {"redact": ["gender"]},
    f"{NAME}.drift": {"schedule": "0 */6 * * *", "window": "24h"},
    f"{NAME}.outcomes": "s3://mlops-artifacts/outcomes/churn/",
    f"{NAME}.retrain": {"training": "churn", "after": 2, "at_most_every": "7d", "budget_usd_per_month": 50},
}
OTHER: Mapping[str, Any] = {
    "project": "churn",
    "model": "other",
    "dataset": "s3://mlops-artifacts/datasets/churn.csv",
    "node_pool": "cpu",
    "deadline_minutes": 30,
}
LONG = "a" * 47
LOGGED: Mapping[str, Any] = {"version": 1, "prediction_log": {}, "drift": {}}
WRONG: list[tuple[Mapping[str, object], str]] = [
    ({f"{NAME}.prediction_log.redact": ["prediction"]}, "drift is used while prediction_log.redact has prediction"),
    ({f"{NAME}.drift.schedule": "0 6 * * 1"}, "which pauses for 7 days, 0:00:00, and window 24h: must come at least"),
    ({f"{NAME}.drift.schedule": "0 6 * *"}, "schedule"),
    ({f"{NAME}.drift.window": "1w"}, 'drift.window is "1w": must be a whole number of hours or days'),
    ({f"{NAME}.drift.window": 24}, "drift.window is 24: must be a whole number of hours or days"),
    ({f"{NAME}.drift.window": "400d"}, "drift is used with window 400d: must be at most 92 days"),
    ({f"{NAME}.drift.least_rows": 10}, "drift.least_rows is 10: must be a whole number from 50"),
    ({f"{NAME}.drift.false_alarms_per_year": 0}, "drift.false_alarms_per_year is 0: must be a number above 0"),
    ({f"{NAME}.drift.memory": "512Gi"}, "memory 512Gi: must be at most the values of mlops:quotas.training"),
    ({f"{NAME}.drift.engine": "spark"}, 'drift.engine is "spark": must be local or athena'),
    ({f"{NAME}.drift.engine": "athena"}, "engine: athena in churn-predictor.drift: must be used with mlops:athena"),
    ({f"{NAME}.outcomes": "s3://mlops-artifacts/labels/"}, "must be a folder s3://BUCKET/outcomes/ or below it"),
    ({f"{NAME}.outcomes": "s3://mlops-artifacts/outcomes/churn"}, "with a slash at its end"),
    (
        {f"{NAME}.outcomes": {"folder": "s3://mlops-artifacts/outcomes/", "days": 0}},
        "days is 0: must be a whole number",
    ),
    ({f"{NAME}.retrain.after": 0}, "retrain.after is 0: must be a whole number from 1 to 20"),
    ({f"{NAME}.retrain.at_most_every": "weekly"}, "retrain.at_most_every"),
    ({f"{NAME}.retrain.training": Absent()}, "retrain.training is missing"),
    (
        {f"{NAME}.retrain.training": "absent"},
        "must name an entry of mlops:training, because the model is trained again from it; write churn",
    ),
    (
        {"training.other": OTHER, f"{NAME}.retrain.training": "other"},
        "retrain.training other in churn-predictor, which trains other: must name a training job of the model",
    ),
    ({"training.churn.schedule": "@weekly"}, "which has a schedule: must name a training job without a schedule"),
    ({"training.churn.validation": {"enabled": False}}, "whose validation is disabled: must name a training job whose"),
    (
        {
            f"{NAME}.retrain": None,
            "endpoints.second": {**LOGGED, "version": 2, "model": "churn-predictor", "retrain": {"training": "churn"}},
        },
        "churn in second: must be used in the endpoint whose version is the model's champion",
    ),
    (
        {"endpoints.second": {**LOGGED, "model": "churn-predictor"}},
        "used with drift in churn-predictor and in second, which serve version 1: must be used in one endpoint of",
    ),
    ({f"endpoints.{LONG}": LOGGED}, f"used with drift in {LONG}, which has 47 characters: must be used in an endpoint"),
    (
        {"training.second-drift": {**OTHER, "model": "second"}, "endpoints.second": LOGGED},
        "used with drift in second while there is a training job second-drift: must be used while no training job",
    ),
]


def stack_file(more: Mapping[str, object]) -> dict[str, Any]:
    return changed(deepcopy({**VALID, **more}))


def test_a_drift_job_with_outcomes_and_retraining_is_accepted() -> None:
    assert not problems(stack_file({}))


@pytest.mark.parametrize(("more", "said"), WRONG, ids=lambda case: f"{case}"[:60])
def test_what_cannot_be_is_one_line_with_its_path_rule_reason_and_correction(
    more: Mapping[str, object], said: str
) -> None:
    (line,) = problems(stack_file(more))
    assert said in line
    assert "; " in line.partition(", because ")[2]


def test_two_endpoints_with_drift_jobs_may_serve_two_versions_of_a_model() -> None:
    assert not problems(stack_file({"endpoints.second": {**LOGGED, "version": 2, "model": "churn-predictor"}}))


def test_without_a_log_there_is_no_drift_and_without_drift_nothing_else() -> None:
    (line,) = problems(stack_file({f"{NAME}.prediction_log": None}))
    assert "drift is used without prediction_log: must be used with prediction_log" in line
    lines = problems(stack_file({f"{NAME}.drift": None}))
    assert [line.partition(": must")[0].rpartition(".")[2] for line in lines] == [
        "outcomes is used without drift",
        "retrain is used without drift",
    ]
