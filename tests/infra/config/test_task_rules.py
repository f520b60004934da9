"""Check of a job's metrics against the task of its project, at preview."""

import pytest

from tests.infra.config.test_stack import problems
from tests.stacks import changed

SWEEP = {"grid": {"n_estimators": [50, 100]}, "max_parallel": 1}


def of_diamonds(**more: object) -> list[str]:
    churn = changed({})["training"]["churn"]
    job = {**churn, "model": "diamond-price", "parameters": {"n_estimators": 50}, **more}
    return problems(changed({"training": {"diamonds": job}}))


def of_ridership(**more: object) -> list[str]:
    churn = changed({})["training"]["churn"]
    job = {**churn, "model": "ridership", "parameters": {"n_estimators": 50}, **more}
    return problems(changed({"training": {"ridership": job}}))


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


def test_metrics_of_the_projects_own_are_taken() -> None:
    assert of_ridership(**limits(most={"pinball": 1.5}, least={"days_below": 0.85}, compared=["pinball"])) == []
    assert of_ridership(sweep={**SWEEP, "metric": "pinball", "goal": "minimize"}) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (limits(least={"days_belo": 0.8}), 'is "days_belo": must be days_below or pinball, because models of this'),
        (limits(compared=["rmse"]), 'compared.0 is "rmse": must be days_below or pinball'),
        (limits(least={"pinball": 1}), "limits pinball: must name metrics that are better when larger"),
        (limits(most={"pinball": "low"}), 'most.pinball is "low": must be a number, because it is compared with the'),
        ({"sweep": {**SWEEP, "metric": "pinball"}}, 'sweep.metric is "pinball": must have goal: minimize beside it'),
    ],
)
def test_a_metric_that_the_project_does_not_declare_is_refused(more: dict[str, object], said: str) -> None:
    (line,) = of_ridership(**more)
    assert said in line


def test_a_script_may_log_metrics_of_any_name() -> None:
    script = {"project": None, "image": f"registry.example.com/team@sha256:{64 * 'a'}", "command": ["python", "a.py"]}
    churn = {key: value for key, value in changed({})["training"]["churn"].items() if key != "project"}
    job = churn | {key: value for key, value in script.items() if value} | limits(most={"perplexity": 30})
    assert problems(changed({"training": {"churn": job}})) == []
