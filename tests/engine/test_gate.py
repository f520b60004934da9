"""Gate in front of each release, with the real engine, a recording plugin and MLflow's double."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract import names
from tests.mlflow_double import Mlflow, passed, serving
from tests.projects import Engine, Project, Run
from tests.stacks import LOCAL, SECRETS

pytestmark = pytest.mark.engine

MODEL = "churn-predictor"
WIDER = {"inputs": '[{"type": "double", "name": "tenure"}, {"type": "double", "name": "age"}]', "outputs": "[]"}
UNVALIDATED, REFUSED, OLDER, BREAKING, ARCHIVED, NO_DIGEST = 3, 4, 5, 6, 7, 8


def registry() -> Mlflow:
    """Return a registry with a champion, a validated successor, and versions that the gate objects to."""
    tags = {
        1: passed(),
        2: passed("1"),
        UNVALIDATED: {"model_digest": "3" * 64},
        REFUSED: passed("1") | {"validation_status": "refused"},
        OLDER: passed("none"),
        BREAKING: passed("1"),
        ARCHIVED: passed("1") | {"archived": "{}"},
        NO_DIGEST: {key: value for key, value in passed("1").items() if key != "model_digest"},
    }
    return Mlflow(
        versions={(MODEL, number): each for number, each in tags.items()},
        aliases={MODEL: {"champion": 1}},
        signatures={(MODEL, BREAKING): WIDER},
    )


@pytest.fixture
def mlflow() -> Iterator[Mlflow]:
    with serving(registry()) as made:
        yield made


@pytest.fixture
def project(engine: Engine, mlflow: Mlflow, tmp_path: Path) -> Project:
    """Return a stack that serves version 1."""
    made = engine.our_program(tmp_path / "stack", LOCAL, SECRETS, MLFLOW_TRACKING_URI=mlflow.uri)
    run = made.up()
    assert run.succeeded, run.output
    return made


def configure(project: Project, path: str, value: str | None) -> None:
    verb = ["rm"] if value is None else ["set"]
    project.pulumi("config", *verb, "--path", f"mlops:{path}", *([] if value is None else [value]))


def add_endpoint(project: Project, name: str, version: int) -> None:
    """Add another endpoint of the model to the stack file."""
    file = project.folder / "Pulumi.test.yaml"
    stack = yaml.safe_load(file.read_text())
    stack["config"]["mlops:endpoints"][name] = {"model": MODEL, "version": version}
    file.write_text(yaml.safe_dump(stack))


def serve(project: Project, version: int) -> None:
    configure(project, f"endpoints.{MODEL}.version", str(version))


def reported(project: Project) -> dict[str, Any]:
    """Return the verdicts of a preview for `mlops preview`, by endpoint."""
    report = project.folder / "report.json"
    project.environment["MLOPS_MODEL_REPORT"] = str(report)
    run = project.preview()
    del project.environment["MLOPS_MODEL_REPORT"]
    assert run.succeeded, run.output
    found = [each["verdict"] for each in json.loads(report.read_text())["previews"]]
    return {each["line"].partition(":")[0]: each for each in found}


def asked_to_change(run: Run) -> list[str]:
    return [each.name for each in run.requests if each.method in {"Create", "Update"} and not each.preview]


def release_of(project: Project) -> dict[str, Any]:
    (found,) = [each for each in project.state() if each["urn"].endswith(f"apps/v1:Deployment::{MODEL}")]
    return json.loads(found["inputs"]["metadata"]["annotations"][names.RELEASE])


def history(project: Project) -> list[int]:
    (found,) = [each for each in project.state() if each["type"] == "mlops:index:ModelEndpoint"]
    return [one["version"] for one in found["outputs"]["releases"]]


def test_each_objection_warns_in_an_unprotected_stack_or_fails_in_every_stack(project: Project) -> None:
    versions = [2, UNVALIDATED, REFUSED, OLDER, ARCHIVED, NO_DIGEST, 9]
    for number in versions:
        add_endpoint(project, f"of-{number}", number)
    serve(project, BREAKING)
    found = reported(project)
    failing = {name for name, each in found.items() if each["fails"]}
    assert failing == {MODEL, f"of-{REFUSED}", "of-9"}
    assert "version 6 breaks clients of version 1" in found[MODEL]["line"]
    assert "was refused by its validation" in found[f"of-{REFUSED}"]["line"]
    assert "has no version 9 (versions that exist: 1, 2, 3, 4, 5, 6, 7, 8)" in found["of-9"]["line"]
    codes = {name: [reason["code"] for reason in each["reasons"]] for name, each in found.items()}
    assert "not_validated" in codes[f"of-{UNVALIDATED}"]
    assert "archived" in codes[f"of-{ARCHIVED}"]
    assert "no_digest" in codes[f"of-{NO_DIGEST}"]
    configure(project, "gate.mode", "fail")
    failing = {name for name, each in reported(project).items() if each["fails"]}
    assert failing >= {MODEL, *(f"of-{number}" for number in versions if number != 2)}
    assert "of-2" not in failing


def test_a_refused_release_ends_preview_and_update_with_one_sentence_and_changes_nothing(project: Project) -> None:
    serve(project, 9)
    sentence = (
        f"{MODEL}: version 1 -> 9 is refused because {MODEL} has no version 9 (versions that exist: 1, 2, 3, 4, 5, 6, "
        f"7, 8); mlops models {MODEL}"
    )
    for run in (project.preview(), project.up()):
        assert not run.succeeded
        assert sentence in run.messages()
        assert asked_to_change(run) == []
    assert (release_of(project)["version"], history(project)) == (1, [1])


def test_a_preview_shows_what_changes_in_the_model(project: Project) -> None:
    serve(project, 2)
    run = project.preview()
    assert run.succeeded, run.output
    told = run.messages("info")
    assert "churn-predictor: version 1 -> 2 passes" in told
    assert "Clients notice nothing: the columns are the same." in told
    assert "passed against version 1" in told


def test_mlflow_is_asked_about_a_release_alone(project: Project, mlflow: Mlflow) -> None:
    mlflow.asked.clear()
    configure(project, f"endpoints.{MODEL}.replicas.max", "5")
    configure(project, "images.serving", "lab.local/serving:2")
    assert project.up().succeeded
    assert mlflow.asked == []


def test_a_release_makes_its_version_the_champion(project: Project, mlflow: Mlflow) -> None:
    serve(project, 2)
    run = project.up()
    assert run.succeeded, run.output
    assert mlflow.aliases[MODEL] == {"champion": 2, "previous": 1}
    add_endpoint(project, "staging", UNVALIDATED)
    assert project.up().succeeded
    assert mlflow.aliases[MODEL]["champion"] == 2, "a second endpoint of the model is not its champion"


def test_a_version_that_was_released_before_goes_live_again_without_mlflow_and_with_its_own_files(
    project: Project, mlflow: Mlflow
) -> None:
    before = release_of(project)
    serve(project, 2)
    assert project.up().succeeded
    assert mlflow.versions is not None
    mlflow.versions[MODEL, 1] = passed() | {"model_digest": "b" * 64}  # deleted, and registered with other files
    mlflow.status = 500
    configure(project, "gate.mode", "fail")
    serve(project, 1)
    for run in (project.preview(), project.up()):
        assert run.succeeded, run.output
        assert "is a rollback to a version that this stack has released before" in run.messages("info")
    assert "the registry does not know it, because MLflow responded with HTTP 500" in run.messages("warning")
    assert release_of(project) == before
    assert history(project) == [1, 2, 1]


def test_a_deployment_that_was_lost_with_its_namespace_is_made_again_while_mlflow_is_stopped(
    project: Project, mlflow: Mlflow
) -> None:
    before = release_of(project)
    (urn,) = [each["urn"] for each in project.state() if each["urn"].endswith(f"apps/v1:Deployment::{MODEL}")]
    project.pulumi("state", "delete", urn, "--target-dependents", "--yes")
    mlflow.status = 500
    configure(project, "gate.mode", "fail")
    for run in (project.preview(), project.up()):
        assert run.succeeded, run.output
    assert release_of(project) == before


def test_a_login_page_in_the_place_of_mlflow_does_not_fail_a_rollback(project: Project, mlflow: Mlflow) -> None:
    serve(project, 2)
    assert project.up().succeeded
    mlflow.page = "<html>Log in</html>"
    serve(project, 1)
    run = project.up()
    assert run.succeeded, run.output
    assert "because a response does not have MLflow's form" in run.messages("warning")
    assert history(project) == [1, 2, 1]


def test_other_files_under_the_number_of_a_release_are_named(project: Project, mlflow: Mlflow) -> None:
    assert mlflow.versions is not None
    mlflow.versions[MODEL, 1] = passed() | {"model_digest": "b" * 64}
    serve(project, 2)
    told = project.preview().messages("warning")
    assert "churn-predictor version 1 in the registry is not what churn-predictor released on 20" in told
    assert f"its digest was {'a' * 12} and is {'b' * 12}; the released files stay in use" in told


@pytest.mark.parametrize(("status", "seconds", "why"), [(500, 0, "HTTP 500"), (200, 10, "did not respond within 5 s")])
def test_without_mlflow_a_new_version_is_not_verified_and_not_released(
    status: int, seconds: float, why: str, project: Project, mlflow: Mlflow
) -> None:
    mlflow.status, mlflow.seconds = status, seconds
    serve(project, 2)
    run = project.preview()
    assert run.succeeded, run.output
    assert "version 1 -> 2 could not be verified because MLflow at" in run.messages("info")
    assert why in run.messages("info")
    run = project.up()
    assert not run.succeeded
    assert "the files of version 2 are not known" in run.messages()
    assert asked_to_change(run) == []
    mlflow.status, mlflow.seconds = 200, 0
    assert project.up().succeeded


def test_a_release_that_failed_does_not_count_as_released(project: Project) -> None:
    serve(project, 2)
    orders = {f"kubernetes:apps/v1:Deployment::{MODEL}": {"fail": "the pods did not become ready"}}
    project.environment["MLOPS_RECORDING_ORDERS"] = json.dumps(orders)
    assert not project.up().succeeded
    assert history(project) == [1]
    del project.environment["MLOPS_RECORDING_ORDERS"]
    assert project.up().succeeded
    assert history(project) == [1, 2]


def unready(project: Project) -> Run:
    """Run an update in which the endpoint's pods do not become ready, and return it."""
    orders = {f"kubernetes:apps/v1:Deployment::{MODEL}": {"unready": "the pods did not become ready"}}
    project.environment["MLOPS_RECORDING_ORDERS"] = json.dumps(orders)
    run = project.up()
    del project.environment["MLOPS_RECORDING_ORDERS"]
    return run


def test_a_version_is_compared_with_the_last_one_that_became_ready(project: Project, mlflow: Mlflow) -> None:
    configure(project, f"endpoints.{MODEL}.allow_breaking_signature", "all clients send the age now")
    serve(project, BREAKING)
    assert not unready(project).succeeded
    assert mlflow.versions is not None
    mlflow.versions[MODEL, 10], mlflow.signatures[MODEL, 10] = passed("1"), WIDER
    configure(project, f"endpoints.{MODEL}.allow_breaking_signature", None)
    serve(project, 10)
    run = project.preview()
    assert not run.succeeded
    assert "version 1 -> 10 is refused because version 10 breaks clients of version 1" in run.messages()
    serve(project, 1)
    assert "version 6 -> 1 is a rollback" in project.preview().messages("info")


def test_a_version_that_becomes_ready_at_the_second_try_is_the_champion(project: Project, mlflow: Mlflow) -> None:
    serve(project, 2)
    assert not unready(project).succeeded
    assert mlflow.aliases[MODEL]["champion"] == 1
    run = project.up()
    assert run.succeeded, run.output
    assert mlflow.aliases[MODEL] == {"champion": 2, "previous": 1}
    assert history(project) == [1, 2]
    serve(project, 1)
    assert not unready(project).succeeded
    assert project.up().succeeded
    assert mlflow.aliases[MODEL]["champion"] == 1
    assert history(project) == [1, 2, 1]


def test_a_refresh_does_not_make_a_release_of_what_was_written_into_the_cluster(
    project: Project, mlflow: Mlflow
) -> None:
    (found,) = [each for each in project.state() if each["urn"].endswith(f"apps/v1:Deployment::{MODEL}")]
    before, live = release_of(project), found["outputs"]
    mlflow.status = 500
    for annotation in (json.dumps(before | {"source": "s3://elsewhere", "digest": "e" * 64}), "garbage"):
        live["metadata"]["annotations"][names.RELEASE] = annotation
        orders = {f"kubernetes:apps/v1:Deployment::{MODEL}": {"live": live}}
        project.environment["MLOPS_RECORDING_ORDERS"] = json.dumps(orders)
        assert project.run("refresh", "--yes", "--skip-preview").succeeded
        run = project.up()
        assert run.succeeded, run.output
        assert (release_of(project), history(project)) == (before, [1])


def test_an_override_lets_one_version_through_and_is_recorded(project: Project, mlflow: Mlflow) -> None:
    configure(project, f"endpoints.{MODEL}.override", "INC-123: version 1 is down")
    serve(project, REFUSED)
    run = project.up()
    assert run.succeeded, run.output
    assert "by override (INC-123: version 1 is down), although version 4 was refused" in run.messages("info")
    assert release_of(project)["override"] == "INC-123: version 1 is down"
    assert mlflow.versions is not None
    assert "INC-123: version 1 is down" in mlflow.versions[MODEL, REFUSED]["release_override"]
    serve(project, 2)
    run = project.preview()
    assert not run.succeeded
    assert "its override (INC-123: version 1 is down) was written for version 4" in run.messages()
    assert f"pulumi config rm --path mlops:endpoints.{MODEL}.override" in run.messages()


def test_a_reason_in_the_entry_allows_a_release_to_break_clients(project: Project) -> None:
    configure(project, f"endpoints.{MODEL}.allow_breaking_signature", "all clients send the age now")
    serve(project, BREAKING)
    assert project.preview().succeeded


def test_a_digest_beside_the_version_is_compared_with_the_registrys(project: Project) -> None:
    configure(project, f"endpoints.{MODEL}.digest", f"sha256:{'c' * 64}")
    serve(project, 2)
    run = project.preview()
    assert not run.succeeded
    assert f"version 2 has the digest {'a' * 12}, and the stack file says {'c' * 12}" in run.messages()
    configure(project, f"endpoints.{MODEL}.digest", f"sha256:{'a' * 64}")
    assert project.preview().succeeded


def test_another_digest_for_the_served_version_is_a_release(project: Project) -> None:
    configure(project, f"endpoints.{MODEL}.digest", f"sha256:{'c' * 64}")
    run = project.preview()
    assert not run.succeeded
    assert f"version 1 has the digest {'a' * 12}, and the stack file says {'c' * 12}" in run.messages()


def test_a_removed_endpoint_is_named(project: Project) -> None:
    configure(project, f"endpoints.{MODEL}", None)
    run = project.preview()
    assert run.succeeded, run.output
    assert f"{MODEL}: removing version 1 passes: no version is served afterwards" in run.messages("info")


def test_the_first_update_after_a_former_program_needs_the_files_and_rolls_out_the_served_version(
    project: Project, mlflow: Mlflow, tmp_path: Path
) -> None:
    state = json.loads(project.pulumi("stack", "export"))
    for each in state["deployment"]["resources"]:
        if each["urn"].endswith(f"apps/v1:Deployment::{MODEL}"):
            for side in ("inputs", "outputs"):
                del each[side]["metadata"]["annotations"]
        each.get("outputs", {}).pop("releases", None)
    file = tmp_path / "former.json"
    file.write_text(json.dumps(state))
    project.pulumi("stack", "import", "--file", str(file))
    mlflow.status = 500
    run = project.up()
    assert not run.succeeded
    assert "the files of version 1 are not known, because a former program released it and MLflow" in run.messages()
    assert asked_to_change(run) == []
    mlflow.status = 200
    assert project.up().succeeded
    assert set(history(project)) == {1}
    assert release_of(project)["source"].startswith("s3://")


def test_the_preview_of_a_new_stack_cannot_verify_and_does_not_fail(engine: Engine, tmp_path: Path) -> None:
    stack = {**LOCAL, "gate": {"mode": "fail"}}
    project = engine.our_program(tmp_path / "stack", stack, SECRETS, MLFLOW_TRACKING_URI="")
    run = project.preview()
    assert run.succeeded, run.output
    (warning,) = [line for line in run.messages("warning").splitlines() if line.startswith(f"{MODEL}:")]
    assert "cannot verify version 1, because MLflow does not exist before the first update" in warning
    assert "kubectl" not in run.messages()


def test_auto_serves_the_image_of_the_version_and_goes_back_to_the_standard_image_with_the_version_before(
    project: Project, mlflow: Mlflow
) -> None:
    def image() -> str:
        (found,) = [each for each in project.state() if each["urn"].endswith(f"apps/v1:Deployment::{MODEL}")]
        return found["inputs"]["spec"]["template"]["spec"]["containers"][0]["image"]

    assert mlflow.versions
    mlflow.versions[(MODEL, 2)]["serving_image"] = "lab.local/serving:own-1"
    configure(project, f"endpoints.{MODEL}.image", "auto")
    serve(project, 2)
    run = project.preview()
    assert "The pods run lab.local/serving:own-1." in run.output
    assert project.up().succeeded
    assert image() == "lab.local/serving:own-1"
    mlflow.status = 500
    run = project.up()
    assert run.succeeded, "the state knows the image of a released version"
    assert (asked_to_change(run), image()) == ([], "lab.local/serving:own-1")
    mlflow.status = 200
    serve(project, 1)
    assert project.up().succeeded
    assert image() == "lab.local/serving:1"
    mlflow.versions[(MODEL, OLDER)]["serving_image"] = "elsewhere.example.com/serving@sha256:" + "b" * 64
    serve(project, OLDER)
    run = project.preview()
    assert not run.succeeded
    assert "is not a serving image of this stack" in run.output


def test_a_batch_goes_through_the_gate_and_its_version_is_kept_in_the_state(project: Project, mlflow: Mlflow) -> None:
    file = project.folder / "Pulumi.test.yaml"

    def predict(version: int) -> Run:
        stack = yaml.safe_load(file.read_text())
        stack["config"]["mlops:batch"] = {
            "nightly": {
                "model": MODEL,
                "version": version,
                "input": "s3://mlops-artifacts/datasets/customers/*.parquet",
                "output": "s3://mlops-artifacts/batch/churn",
                "deadline_minutes": 30,
            }
        }
        file.write_text(yaml.safe_dump(stack))
        return project.up()

    run = predict(REFUSED)
    assert not run.succeeded
    assert "was refused by its validation" in run.output
    assert "nightly" not in asked_to_change(run), "neither template nor Job was created"
    assert predict(2).succeeded
    (job,) = [
        each for each in project.state() if each["type"] == "kubernetes:batch/v1:Job" and "nightly" in each["urn"]
    ]
    (fetch,) = job["inputs"]["spec"]["template"]["spec"]["initContainers"]
    values = {each["name"]: each["value"] for each in fetch["env"] if "value" in each}
    assert values["MODEL_DIGEST"] == "a" * 64
    assert (mlflow.tags(MODEL, 2) or {}).keys() == passed("1").keys(), "a batch makes no champion"
    mlflow.status = 500
    run = project.up()
    assert run.succeeded
    assert asked_to_change(run) == []
