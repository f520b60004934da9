"""Check of a job's metrics against the task of its project, at preview."""

import pytest

from tests.infra.config.test_stack import problems
from tests.stacks import changed

SWEEP = {"grid": {"n_estimators": [50, 100]}, "max_parallel": 1}


def of_diamonds(**more: object) -> list[str]:
    churn = changed({})["training"]["churn"]
    job = {**churn, "model": "diamond-price", "parameters": {"n_estimators": 50}, **more}
    return problems(changed({"training": {"diamonds": job}}))


def limits(**given: object) -> dict[str, object]:
    return {"validation": {"limits": given}}


@pytest.mark.parametrize(
    "more",
    [
        {},
        limits(least={"r2": 0.9}, most={"mae": 300, "rmse": 600}, compared=["mae", "r2"]),
        {"sweep": {**SWEEP, "metric": "rmse", "goal": "minimize"}},
        {"sweep": {**SWEEP, "metric": "r2"}},
        {"sweep": {**SWEEP, "metric": "cost_cpu_seconds", "goal": "minimize"}},
    ],
)
def test_metrics_of_the_projects_task_are_taken(more: dict[str, object]) -> None:
    assert of_diamonds(**more) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            limits(least={"roc_auc": 0.7}),
            'limits.least.roc_auc is "roc_auc": must be mae, r2 or rmse, because models of this',
        ),
        (
            limits(compared=["f1"]),
            'limits.compared.0 is "f1": must be mae, r2 or rmse, because models of this project have these',
        ),
        (limits(slice_least={"accuracy": 0.7}), "limits.slice_least.accuracy is"),
        (limits(least={"rmse": 0.7}), "limits.least.rmse"),
        (
            limits(most={"r2": 0.7}),
            "limits r2: must name metrics that are better when smaller, because r2 is better when larger",
        ),
        (limits(most={"mae": -1}), "is -1: must be a number of at least 0, because mae has such values"),
        ({"sweep": SWEEP}, 'sweep.metric is "roc_auc": must be mae, r2 or rmse'),
        ({"sweep": {**SWEEP, "metric": "rmse"}}, 'sweep.metric is "rmse": must have goal: minimize beside it'),
    ],
)
def test_a_metric_that_the_models_do_not_have_is_refused_before_a_run_is_paid_for(
    more: dict[str, object], said: str
) -> None:
    (line,) = of_diamonds(**more)
    assert line.startswith("Pulumi.dev.yaml: mlops:training.diamonds.")
    assert said in line
