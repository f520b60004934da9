"""Check of the parameters of training jobs at preview."""

import json
from pathlib import Path

import pytest

from infra.config import parameters
from infra.config.problems import Problem
from tests.infra.config.test_stack import problems
from tests.stacks import Absent, changed

AT = "mlops:training.churn"
WRONG: list[tuple[str, object, str]] = [
    (
        "parameters.n_estimatorz",
        3,
        "is unknown: must be a parameter of the project, because the run would fail at once",
    ),
    ("parameters.n_estimatorz", 3, "did you mean n_estimators?"),
    ("parameters.max_depth", "deep", 'is "deep": must be a whole number of at least 1 and of at most 100'),
    ("parameters.max_depth", "5", "write it without quotes; on a command line: pulumi config set --path --type float"),
    ("parameters.max_depth", 0, "is 0: must be a whole number of at least 1"),
    ("parameters.max_depth", 101, "because it is the greatest depth of a tree; write it as in max_depth: 10"),
    ("parameters.max_depth", 2.5, "is 2.5: must be a whole number"),
    ("parameters.max_depth", True, "is true: must be a whole number"),
    ("sweep", {"grid": {"max_depth": [5, "deep"]}, "max_parallel": 1}, 'sweep.grid.max_depth.1 is "deep"'),
    ("sweep", {"points": [{"max_depth": 5}, {"max_depth": 0}], "max_parallel": 1}, "sweep.points.1.max_depth is 0"),
    ("project", "chrun", 'is "chrun": must be a project of the training image: churn, churn_boosted'),
    ("project", "churn_boosted", "parameters.max_depth is unknown"),
    ("parameters.key", {"secret": "geocoder", "key": "token"}, "parameters.key is unknown"),
]


@pytest.mark.parametrize(("where", "value", "said"), WRONG)
def test_what_the_project_would_refuse_is_refused_at_preview(where: str, value: object, said: str) -> None:
    (line,) = problems(changed({f"training.churn.{where}": value}))
    assert line.startswith(f"Pulumi.dev.yaml: {AT}.")
    assert said in line


def test_a_job_that_is_named_as_no_project_says_which_there_are() -> None:
    job = changed({})["training"]["churn"]
    (line,) = problems(changed({"training": {"weekly": job}}))
    assert "mlops:training.weekly names no project, so its own name counts as one: must be a project of" in line
    assert not problems(changed({"training": {"churn-boosted": {**job, "parameters": {"learning_rate": 0.5}}}}))


def test_all_that_is_wrong_with_parameters_is_reported_beside_the_rest() -> None:
    wrong = {"training.churn.parameters": {"max_depth": 0, "depth": 1}, "training.churn.deadline_minutes": 0}
    assert len(problems(changed(wrong))) == 3


@pytest.mark.parametrize("key", ["image", "command"])
def test_code_of_another_image_is_checked_where_a_schema_is_named(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {f"training.churn.{key}": "lab.local/mine:1" if key == "image" else ["mine"]}
    odd = own | {"training.churn.parameters": {"C": 0.5, "mode": "deep"}}
    assert not problems(changed(odd))
    monkeypatch.setattr(parameters, "ROOT", tmp_path)
    schema = {
        "additionalProperties": False,
        "required": ["trees"],
        "properties": {
            "C": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "mode": {"anyOf": [{"enum": ["flat"]}, {"$ref": "#/$defs/Other"}]},
            "trees": {"type": "integer"},
        },
        "$defs": {"Other": {"type": "string", "minLength": 5, "pattern": "^w"}},
    }
    (tmp_path / "mine.json").write_text(json.dumps(schema))
    odd |= {"training.churn.parameter_schema": "mine.json"}
    assert [line.split(": ")[1] for line in problems(changed(odd))] == [
        f'{AT}.parameters.mode is "deep"',
        f"{AT}.parameters.trees is missing",
    ]
    good = {"C": 0.5, "mode": "wider", "trees": 3}
    assert not problems(changed(odd | {"training.churn.parameters": good}))
    for value in (0, 1.5):
        (line,) = problems(changed(odd | {"training.churn.parameters": {**good, "C": value}}))
        assert "must be a number greater than 0 and of at most 1" in line
    (line,) = problems(changed(odd | {"training.churn.parameter_schema": "gone.json"}))
    assert 'parameter_schema is "gone.json", and cannot be read' in line


def of_file(tmp_path: Path, text: str, value: object, *, image: str = "") -> list[Problem]:
    """Return the problems of a parameter whose text in the file Pulumi has read as `value`."""
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(f"config:\n  mlops:training:\n    churn:\n      parameters: {{max_depth: {text}}}\n")
    job = {"image": image, "parameters": {"max_depth": value}} if image else {"parameters": {"max_depth": value}}
    return list(parameters.problems({"churn": job}, file))


# As Pulumi 3.259 passes them on
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 8),
        ("08", 8),
        ("0x1F", 31),
        ("1_000", 1000),
        ("0o17", 15),
        ("1.10", 1.1),
        ("1.0", 1),
        ("2026-01-02", "2026-01-02 00:00:00 +0000 UTC"),
    ],
)
def test_what_yaml_reads_as_something_else_is_refused(tmp_path: Path, text: str, value: object) -> None:
    (found,) = of_file(tmp_path, text, value, image="lab.local/mine:1")
    line = found.line("Pulumi.dev.yaml")
    assert f"{AT}.parameters.max_depth is {text}, which YAML reads as " in line
    assert f'write "{text}" in quotes for a text' in line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("9007199254740993", 9007199254740993),
        ("-0.5", -0.5),
        ('"010"', "010"),
        ("deep", "deep"),
        ("True", True),
        ("1:30", "1:30"),
    ],
)
def test_what_yaml_reads_as_it_is_written_is_taken(tmp_path: Path, text: str, value: object) -> None:
    assert not of_file(tmp_path, text, value, image="lab.local/mine:1")


@pytest.mark.parametrize(("text", "value"), [("010", 5), ("1.10", 7), ("2026-01-02", "soon"), ("08", True)])
def test_a_value_that_comes_from_elsewhere_is_not_compared_with_the_file(
    tmp_path: Path, text: str, value: object
) -> None:
    assert not of_file(tmp_path, text, value, image="lab.local/mine:1")


def test_a_declared_number_may_have_zeros_at_its_end_and_none_before_it(tmp_path: Path) -> None:
    assert not of_file(tmp_path, "10.0", 10)
    assert not of_file(tmp_path, "1e1", 10)
    assert [found.found for found in of_file(tmp_path, "010", 8)] == ["is 010, which YAML reads as 8"]


def test_a_missing_stack_file_is_no_problem(tmp_path: Path) -> None:
    assert not list(parameters.problems({"churn": {"parameters": {"max_depth": 8}}}, tmp_path / "Pulumi.dev.yaml"))


def test_a_key_that_is_taken_out_is_not_checked() -> None:
    assert not problems(changed({"training.churn.parameters": Absent()}))


@pytest.mark.parametrize("name", ["path", "model", "mlflow_tracking_uri", "aws_region", "dataset"])
def test_a_parameter_of_a_script_that_is_a_variable_of_the_platform_is_refused(name: str) -> None:
    script = {"training.churn.image": "lab.local/team:1", "training.churn.command": ["python", "train.py"]}
    (line,) = problems(changed(script | {"training.churn.parameters": {name: "x"}}))
    assert f"parameters.{name} would be the environment variable {name.upper()} of the script" in line
    assert not problems(changed(script | {"training.churn.parameters": {name: "x"}, "training.churn.project": "mine"}))
