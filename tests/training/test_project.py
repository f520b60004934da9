from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from training import parameter_schema, project
from training.project import (
    Classifier,
    Metric,
    Parameters,
    Predicted,
    Project,
    ProjectError,
    Rows,
    Split,
    Target,
    categories,
    integers,
    numbers,
)


class Trees(Parameters):
    count: int = Field(100, ge=1, description="number of trees")
    rate: float = 0.1
    balanced: bool = False
    key: str = ""


def never(_rows: Rows, _parameters: Trees) -> Classifier:
    raise AssertionError


def declared(**changes: Any) -> Project[Trees]:
    given: dict[str, Any] = {
        "model": "m",
        "columns": [*integers("age"), *categories("plan")],
        "target": Target(name="left", labels=("No", "Yes")),
        "parameters": Trees,
        "fit": never,
    }
    return Project(**(given | changes))


@pytest.mark.parametrize("name", project.names())
def test_every_file_among_the_projects_is_a_project(name: str) -> None:
    assert project.load(name) is project.load(name.replace("_", "-"))
    assert project.load(name).features


@pytest.mark.parametrize(("name", "hint"), [("chrn", "is churn meant?"), ("x", "add training/projects/NAME.py")])
def test_an_unknown_project_is_reported_with_those_that_exist(name: str, hint: str) -> None:
    with pytest.raises(
        ProjectError,
        match=f"there is no project {name}; projects that exist: churn, churn_boosted, churn_net, diamonds, ",
    ) as told:
        project.load(name)
    assert hint in str(told.value)


def test_a_file_without_a_project_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("training.projects.churn.PROJECT")
    with pytest.raises(ProjectError, match="declares no PROJECT"):
        project.load("churn")


def test_parameters_come_as_numbers_or_as_the_text_of_numbers() -> None:
    assert project.read_parameters(declared(), {"count": 3, "balanced": True}) == Trees(count=3, balanced=True)
    assert project.read_parameters(declared(), {"count": "3", "balanced": "true"}) == Trees(count=3, balanced=True)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cuont": 3}, "the parameter cuont is not known; the project has count, rate, balanced, key; is count meant?"),
        ({"path": "x"}, "leave it out, or add it to the project"),
        ({"count": "many"}, "the parameter count='many' is wrong (input should be a valid integer"),
        ({"count": 0}, "greater than or equal to 1); it is the number of trees"),
        ({"count": 1.5}, "the parameter count=1.5 is wrong"),
    ],
)
def test_a_wrong_parameter_is_reported_in_one_line(values: dict[str, object], said: str) -> None:
    with pytest.raises(ProjectError) as told:
        project.read_parameters(declared(), values)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_a_wrong_secret_is_reported_without_its_value() -> None:
    with pytest.raises(ProjectError, match=r"the parameter count is wrong \(input should be a valid integer") as told:
        project.read_parameters(declared(), {}, {"count": "hush"})
    assert "hush" not in str(told.value)


class Taken(Parameters):
    seed: int = 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"columns": [*integers("age", "age")]}, "the columns age are declared twice"),
        ({"columns": [*integers("left")]}, "the columns left are declared twice"),
        ({"split": Split(how="time")}, "give `by` for time and group"),
        ({"split": Split(by="age")}, "and omit it for random and row"),
        ({"split": Split(how="row", by="age")}, "and omit it for random and row"),
        ({"slices": ["age"]}, "the slices age are not category columns"),
        ({"parameters": Taken}, "the parameters seed are recorded by every run"),
        ({"task": "ranking"}, "the task 'ranking' is not known; write one of binary, multiclass, regression"),
        ({"task": "regression"}, "the task is regression, and the target left declares labels, but a regression"),
        ({"task": "multiclass"}, "declares 2 labels, but it needs three or more; name all"),
        ({"target": Target(name="left")}, "declares 0 labels, but it needs two; name both"),
        (
            {"target": Target(name="left", labels=("a", "b", "c"))},
            "3 labels, but it needs two; write task='multiclass'",
        ),
        ({"target": Target(name="left", labels=("a", "a"))}, "declares a label twice: a, a; name each once"),
        ({"target": Target(name="left", labels=("a", "b"), at_least=0)}, "leave out at_least and at_most"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ProjectError, match=said):
        declared(**changes)


class Named(Parameters):
    C: float = 1.0
    max_depth: int = 3
    Token: str = ""


def test_a_parameter_may_have_capitals_and_is_found_whatever_the_case() -> None:
    own = declared(parameters=Named)
    for given in ({"C": 0.5, "MAX_DEPTH": "4"}, {"c": "0.5", "max_depth": 4}):
        read = project.read_parameters(own, given, {"token": "hush"})
        assert read == Named(C=0.5, max_depth=4, Token="hush")
    with pytest.raises(ProjectError, match="the parameter C is given twice"):
        project.read_parameters(own, {"c": 1, "C": 2})
    with pytest.raises(ProjectError) as told:
        project.read_parameters(declared(parameters=Trees), {}, {"COUNT": "hush"})
    assert "hush" not in str(told.value)


def test_parameters_that_differ_in_case_alone_are_refused() -> None:
    class Alike(Parameters):
        rate: float = 1.0
        Rate: float = 1.0

    with pytest.raises(ProjectError, match="the parameters Rate, rate differ only in case"):
        declared(parameters=Alike)


def test_the_schema_of_parameters_in_the_repository_is_that_of_the_projects(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parameter_schema.main(["--check"]) == 0, capsys.readouterr().err
    monkeypatch.setattr(parameter_schema, "FILE", tmp_path / "parameters.json")
    assert parameter_schema.main(["--check"]) == 1
    assert "run `make schema`" in capsys.readouterr().err


def nothing(_rows: Predicted) -> float:
    return 0.0


def labels(**more: Any) -> Target:
    return Target(name="left", labels=("No", "Yes"), **more)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": {"f1": Metric(nothing, "larger")}}, "the metric f1 has a name that each version uses already"),
        ({"metrics": {"seed": Metric(nothing, "larger")}}, "the metric seed has a name that each version uses already"),
        ({"metrics": {"cost_usd": Metric(nothing, "larger")}}, "the metric 'cost_usd' cannot be recorded"),
        ({"metrics": {"a_low": Metric(nothing, "larger")}}, "the metric 'a_low' cannot be recorded under this name"),
        ({"task": "custom", "target": Target(name="left")}, "the task is custom, and no metric measures its models"),
        ({"target": labels(class_weights={"Maybe": 2})}, "but Maybe is none of its labels No, Yes"),
        ({"target": labels(class_weights={"Yes": 0})}, "but the weight of Yes must be a finite number above 0"),
        ({"target": labels(class_weights="even")}, "which is no known rule; write 'balanced', or a number"),
        (
            {"task": "regression", "target": Target(name="left", class_weights="balanced")},
            "but no labels; use a column of weights",
        ),
        ({"weight": "age"}, "the columns age are declared twice"),
        ({"further": numbers("left")}, "the columns left are declared twice"),
    ],
)
def test_metrics_and_weights_that_mean_nothing_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ProjectError) as told:
        declared(**changes)
    assert said in str(told.value)


def test_a_weight_may_be_one_of_the_further_columns() -> None:
    assert declared(weight="nights", further=numbers("nights")).weight == "nights"
