"""An experiment from its start to its end, with the real engine, a recording plugin and MLflow's double."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.engine.test_gate import BREAKING, MODEL, REFUSED, history, registry
from tests.mlflow_double import Mlflow, serving
from tests.projects import Engine, Project, Run
from tests.stacks import SECRETS, changed

pytestmark = pytest.mark.engine

CHALLENGER = {"version": 2, "percent": 10, "key": "X-Customer-Id", "experiment": "trees"}


@pytest.fixture
def mlflow() -> Iterator[Mlflow]:
    with serving(registry()) as made:
        yield made


@pytest.fixture
def project(engine: Engine, mlflow: Mlflow, tmp_path: Path) -> Project:
    """Return a stack that serves version 1."""
    logged: dict[str, object] = {"images.envoy": "lab.local/envoy:1", f"endpoints.{MODEL}.prediction_log": {}}
    made = engine.our_program(tmp_path / "stack", changed(logged), SECRETS, MLFLOW_TRACKING_URI=mlflow.uri)
    run = made.up()
    assert run.succeeded, run.output
    return made


def write(project: Project, **entries: object) -> None:
    """Set keys of the endpoint; None removes one."""
    file = project.folder / "Pulumi.test.yaml"
    stack = yaml.safe_load(file.read_text())
    endpoint = stack["config"]["mlops:endpoints"][MODEL]
    endpoint.update(entries)
    stack["config"]["mlops:endpoints"][MODEL] = {key: value for key, value in endpoint.items() if value is not None}
    file.write_text(yaml.safe_dump(stack))


def rollouts(run: Run) -> list[tuple[str, str]]:
    """Return operation and name of each Deployment that the update changes, in their order."""
    assert run.succeeded, run.output
    return [(step.op, step.name) for step in run.steps if step.type.endswith(":Deployment") and step.op != "same"]


def test_an_experiment_starts_in_order_changes_its_share_by_the_router_alone_and_is_promoted(project: Project) -> None:
    write(project, challenger=CHALLENGER)
    assert rollouts(project.up()) == [
        ("create", f"{MODEL}-challenger"),
        ("create", f"{MODEL}-router"),
        ("update", MODEL),  # its pods leave the Service last
    ]
    write(project, challenger={**CHALLENGER, "percent": 50})
    assert rollouts(project.up()) == [("update", f"{MODEL}-router")]

    write(project, challenger=None, version=2)
    assert rollouts(project.up()) == [
        ("update", MODEL),  # its pods are back in the Service first
        ("delete", f"{MODEL}-router"),
        ("delete", f"{MODEL}-challenger"),
    ]
    assert history(project) == [1, 2]
    gone = {each["urn"].rpartition("::")[2] for each in project.state()}
    assert not {f"{MODEL}-{each}" for each in ("router", "challenger", "champion", "unit")} & gone

    write(project, challenger={**CHALLENGER, "version": 1})
    again = project.preview()
    assert not again.succeeded
    assert "experiment is trees: must be a new name, because it was used with the versions 1 and 2" in again.messages()


def test_the_gate_refuses_a_challenger_as_it_refuses_a_release(project: Project) -> None:
    for version, said in (
        (REFUSED, "version 4 was refused by its validation"),
        (BREAKING, "version 6 breaks clients of version 1"),
        (99, "has no version 99"),
    ):
        write(project, challenger={**CHALLENGER, "version": version})
        run = project.preview()
        assert not run.succeeded
        assert said in run.messages()
        assert f"{MODEL}-challenger: version 1 -> {version} is refused" in run.messages()
        assert "allow_breaking_signature" not in run.messages()
