"""`mlops validate`, also as part of `mlops train`: a Job in the cluster decides whether a version may be promoted."""

import json
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from cli.main import run
from tests.command import Command
from tests.registry import MODEL, Registry
from tests.runs.world import (
    JOB,
    Object,
    World,
    broken_before,
    complete,
    deployment,
    ended,
    failed,
    job,
    pod,
    template,
    validation,
)

CHURN, LOOK = template(), validation()
LOOKING = "churn-validation-x7k2p"
WORSE = "churn-predictor version 3 is refused: roc_auc is worse"
REFUSED = job(LOOK, name=LOOKING, status=failed("BackoffLimitExceeded", "no more"))
PASSED = job(LOOK, name=LOOKING, status=complete())


def look(phase: str, **status: Any) -> Object:
    made = pod(phase, name=f"{LOOKING}-a", of=LOOKING, **status)
    made["metadata"]["labels"] |= LOOK["spec"]["jobTemplate"]["metadata"]["labels"]
    return made


def test_a_version_is_validated_by_the_job_that_the_stack_declares(world: World, mlops: Command) -> None:
    world.scenes([CHURN, LOOK], [CHURN, LOOK, PASSED, look("Succeeded", **ended(0))])
    world.log(f"{LOOKING}-a", "ok      size: 1 MB", "churn-predictor version 3 passed")
    code, said = mlops("validate", "churn-predictor", "3")
    assert code == 0
    assert said.splitlines()[-3:-1] == ["ok      size: 1 MB", "churn-predictor version 3 passed"]
    (made,) = world.all_created
    declared = LOOK["spec"]["jobTemplate"]["spec"]
    (container,), (others,) = (spec["template"]["spec"]["containers"] for spec in (made["spec"], declared))
    assert container == others | {"args": ["3"]}
    assert made["spec"]["template"]["spec"] | {"containers": 0} == declared["template"]["spec"] | {"containers": 0}
    assert made["spec"] | {"template": 0} == declared | {"template": 0}
    (owner,) = made["metadata"]["ownerReferences"]
    assert owner["name"] == "churn-validation"
    assert json.loads(made["metadata"]["annotations"]["mlops/given"]) == {"version": 3}


STAGING = {
    "endpoints.churn-predictor.version": 7,
    "endpoints.churn-staging": {"model": "churn-predictor", "version": 8, "replicas": {"min": 1, "max": 2}},
    "endpoints.fraud": {"version": 8, "replicas": {"min": 1, "max": 2}},
}
ENDPOINTS = [deployment(name, STAGING) for name in ("churn-predictor", "churn-staging", "fraud")]


def test_an_endpoint_that_asks_for_tokens_is_tested_behind_its_router(world: World, mlops: Command) -> None:
    auth = {"issuer": "https://login.example.com/", "audience": "churn"}
    endpoint = {"model": "churn-predictor", "version": 8, "replicas": {"min": 1, "max": 2}, "auth": auth}
    guarded = {"images.envoy": "lab.local/envoy:1", "endpoints.churn-staging": endpoint}
    there = [CHURN, LOOK, deployment("churn-staging", guarded)]
    world.scenes(there, [*there, PASSED, look("Succeeded", **ended(0))])
    world.log(f"{LOOKING}-a", "ok      endpoint version: each response is from version 8")
    assert mlops("validate", "--endpoint", "churn-staging")[0] == 0
    (container,) = world.all_created[0]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["8", "--endpoint", "http://churn-staging-champion.ml-serving:8080"]


@pytest.mark.parametrize("words", [[], ["churn-predictor"], ["churn-predictor", "8"]])
def test_an_endpoint_is_tested_by_its_name_and_the_version_may_be_left_out(
    world: World, mlops: Command, words: list[str]
) -> None:
    there = [CHURN, LOOK, *ENDPOINTS]
    world.scenes(there, [*there, PASSED, look("Succeeded", **ended(0))])
    world.log(f"{LOOKING}-a", "ok      endpoint version: each response is from version 8")
    code, said = mlops("validate", *words, "--endpoint", "churn-staging")
    assert code == 0, said
    (made,) = world.all_created
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["8", "--endpoint", "http://churn-staging.ml-serving"]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert variables["ENDPOINT"] == "http://churn-predictor.ml-serving"  # the champion is still the one of the stack
    assert json.loads(made["metadata"]["annotations"]["mlops/given"]) == {"version": 8, "endpoint": "churn-staging"}
    assert any("--namespace ml-serving get deployments" in line for line in world.asked)


def test_a_program_reads_which_endpoint_was_tested(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    there = [CHURN, LOOK, *ENDPOINTS]
    world.scenes(there, [*there, PASSED, look("Succeeded", **ended(0))])
    world.log(f"{LOOKING}-a", "passed")
    assert run(["validate", "--endpoint", "churn-staging", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["version"], told["endpoint"]) == ("churn-predictor", 8, "churn-staging")


KNOWN = "the stack has churn-predictor, churn-staging, fraud"
OTHER_VERSION = (
    "endpoint churn-predictor serves version 7 of churn-predictor, so version 8 cannot be tested there; write "
    "version: 8 under mlops:endpoints.churn-predictor and run pulumi up, or write "
    "mlops validate churn-predictor 7 --endpoint churn-predictor"
)
NO_VERSION = (
    "missing, because no --endpoint names a version; write mlops validate MODEL VERSION, or mlops validate "
    "--endpoint NAME"
)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--endpoint churn-stagin", f"there is no endpoint churn-stagin; {KNOWN}; did you mean churn-staging?"),
        (
            "--endpoint x=y",
            f"there is no endpoint x=y; {KNOWN}; declare it under mlops:endpoints and run pulumi up",
        ),
        (
            "churn-predictor 8 --endpoint fraud",
            "endpoint fraud serves model fraud, not churn-predictor; write mlops validate fraud 8 --endpoint fraud",
        ),
        ("churn-predictor 8 --endpoint churn-predictor", OTHER_VERSION),
        ("churn-predictor", f"VERSION is {NO_VERSION}"),
        ("", f"MODEL and VERSION are {NO_VERSION}"),
    ],
)
def test_an_endpoint_that_cannot_be_tested_is_reported_before_anything_is_made(
    world: World, mlops: Command, words: str, said: str
) -> None:
    world.scenes([CHURN, LOOK, *ENDPOINTS])
    assert mlops("validate", *words.split()) == (2, f"mlops: {said}\n")
    assert world.all_created == []


def test_an_endpoint_of_an_older_checkout_serves_the_model_of_its_name(world: World, mlops: Command) -> None:
    old = deployment("churn-predictor", STAGING)
    del old["metadata"]["annotations"]["mlops/release"]
    world.scenes([CHURN, LOOK, old])
    code, said = mlops("validate", "--endpoint", "churn-predictor", "--dry-run")
    assert code == 0
    assert "- '7'\n" in said


def test_a_version_that_is_refused_ends_with_3_and_the_reason(world: World, mlops: Command) -> None:
    world.scenes([CHURN, LOOK], [CHURN, LOOK, REFUSED, look("Failed", **ended(3, WORSE))])
    world.log(f"{LOOKING}-a", WORSE)
    code, said = mlops("validate", "churn-predictor", "3")
    assert code == 3
    assert f"{WORSE}; the version stays registered but cannot be promoted" in said.splitlines()[-1]


def test_a_program_reads_a_refusal_as_json(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.scenes([CHURN, LOOK], [CHURN, LOOK, REFUSED, look("Failed", **ended(3, WORSE))])
    world.log(f"{LOOKING}-a", WORSE)
    assert run(["validate", "churn-predictor", "3", "--json"]) == 3
    assert json.loads(capsys.readouterr().out) == {
        "model": "churn-predictor",
        "version": 3,
        "run": LOOKING,
        "status": "refused",
        "reason": WORSE,
        "seconds": 600.0,
    }


def test_an_image_without_our_code_is_the_reason(world: World, mlops: Command) -> None:
    why = "image lab.local/mine:1 has no /app/training/validate.py"
    world.scenes([CHURN, LOOK], [CHURN, LOOK, REFUSED, look("Failed", **broken_before(2, why))])
    code, said = mlops("validate", "churn-predictor", "3")
    assert code == 2
    assert f"{LOOKING} failed after 10:00: {why}" in said
    assert "PodInitializing" not in said


def test_a_model_that_nothing_trains_is_refused_before_anything_is_made(world: World, mlops: Command) -> None:
    world.scenes([CHURN, LOOK])
    code, said = mlops("validate", "churn-predicter", "3")
    assert (code, world.all_created) == (2, [])
    assert "did you mean churn-predictor?" in said


def test_a_stack_that_knows_no_validation_yet_says_what_to_do(world: World, mlops: Command) -> None:
    world.scenes([CHURN])
    code, said = mlops("validate", "churn-predictor", "3")
    assert (code, world.all_created) == (2, [])
    assert said == "mlops: there is no CronJob churn-validation: an older checkout deployed the stack; run pulumi up\n"


def test_a_validation_can_be_followed_again_and_is_no_training_run(world: World, mlops: Command) -> None:
    world.scenes([CHURN, LOOK, job(CHURN, status=complete()), REFUSED, look("Failed", **ended(3, WORSE))])
    world.log(f"{LOOKING}-a", WORSE)
    assert mlops("follow", LOOKING)[0] == 3
    listed = mlops("runs")[1]
    assert JOB in listed
    assert LOOKING not in listed


@pytest.fixture
def registered(registry: Registry) -> int:
    """Register a version in the same way as the run JOB does."""
    mlflow.set_tracking_uri(registry.uri)
    client = MlflowClient(registry.uri)
    experiment = client.get_experiment_by_name(MODEL) or client.get_experiment(client.create_experiment(MODEL))
    run = client.create_run(experiment.experiment_id, tags={"job_name": JOB}).info.run_id
    model = client.create_logged_model(experiment.experiment_id, "model", source_run_id=run)
    version = client.create_model_version(MODEL, f"models:/{model.model_id}", run, tags={"training_job": "weekly"})
    return int(version.version)


TRAINED = job(CHURN, status=complete())


@pytest.mark.long
@pytest.mark.usefixtures("mlflow")
@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        ([PASSED, look("Succeeded", **ended(0))], 0, f"{LOOKING} is done"),
        ([REFUSED, look("Failed", **ended(3, WORSE))], 3, "stays registered"),
        (
            [REFUSED, look("Failed", **ended(1, "MLflow went away"))],
            1,
            "not validated; validate it again with: mlops validate",
        ),
    ],
)
def test_what_a_run_registers_is_validated_at_once(
    world: World, mlops: Command, registered: int, *, outcome: list[Any], code: int, said: str
) -> None:
    there = [CHURN, LOOK, TRAINED]
    world.scenes([CHURN, LOOK], there, there, [*there, *outcome])
    world.log(f"{LOOKING}-a", "looking")
    ended_with, told = mlops("train", "churn")
    assert ended_with == code, told
    lines = told.splitlines()
    assert lines.index(f"version  {MODEL} {registered}") < lines.index("looking")
    assert said in lines[-1]
    _, made = world.all_created
    assert made["spec"]["template"]["spec"]["containers"][0]["args"] == [str(registered)]


@pytest.mark.long
@pytest.mark.usefixtures("mlflow")
def test_a_program_reads_what_a_run_registered_and_how_its_validation_ended(
    world: World, registered: int, capsys: pytest.CaptureFixture[str]
) -> None:
    there = [CHURN, LOOK, TRAINED]
    world.scenes([CHURN, LOOK], there, there, [*there, REFUSED, look("Failed", **ended(3, WORSE))])
    world.log(f"{LOOKING}-a", "looking")
    assert run(["train", "churn", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], told["status"], told["model"], told["version"]) == (JOB, "Succeeded", MODEL, registered)
    assert told["page"].startswith("http://localhost:5000/#/experiments/")
    assert told["validation"] == {"run": LOOKING, "status": "refused", "reason": WORSE, "seconds": 600.0}


@pytest.mark.long
@pytest.mark.usefixtures("mlflow")
@pytest.mark.parametrize("arguments", [["--no-validate"], []])
def test_it_is_not_validated_when_it_is_not_wanted(
    world: World, mlops: Command, registered: int, arguments: list[str]
) -> None:
    disabled = validation({"training.churn.validation.enabled": False})
    world.scenes([CHURN, disabled], [CHURN, LOOK if arguments else disabled, TRAINED])
    code, said = mlops("train", "churn", *arguments)
    assert (code, len(world.all_created)) == (0, 1)
    assert ("mlops validate churn-predictor " in said) is not bool(arguments)
    assert f"version  {MODEL} {registered}" in said


@pytest.mark.long
@pytest.mark.usefixtures("mlflow")
def test_of_several_jobs_of_a_model_the_one_that_trained_the_version_looks_at_it(
    world: World, mlops: Command, registered: int
) -> None:
    settings = {
        "project": "churn",
        "model": MODEL,
        "dataset": "s3://mlops-artifacts/datasets/a.csv",
        "node_pool": "cpu",
        "deadline_minutes": 5,
    }
    weekly = {"training.weekly": settings}
    world.scenes([CHURN, LOOK, template(weekly, name="weekly"), validation(weekly, name="weekly")])
    for version, name in ((registered, "weekly"), (9999, "churn")):
        said = mlops("validate", MODEL, str(version), "--dry-run")[1]
        assert f"generateName: {name}-validation-" in said


@pytest.mark.long
@pytest.mark.usefixtures("mlflow")
@pytest.mark.parametrize("key", [None, "auto"])
def test_a_version_is_validated_in_its_own_image_where_the_stack_says_so(
    world: World, mlops: Command, registry: Registry, registered: int, key: str | None
) -> None:
    client = MlflowClient(registry.uri)
    changes = {"training.churn.validation.image": key} if key else {}
    world.scenes([CHURN, validation(changes)])
    standard = "image: lab.local/serving:1\n"
    assert standard in mlops("validate", MODEL, str(registered), "--dry-run")[1]

    client.set_model_version_tag(MODEL, str(registered), "serving_image", "lab.local/serving:own-1")
    own = "image: lab.local/serving:own-1\n"
    said = mlops("validate", MODEL, str(registered), "--dry-run")[1]
    assert (own in said, standard in said) == ((True, False) if key else (False, True))

    for foreign in ("elsewhere.example.com/serving:own-1", "lab.local/serving:latest"):
        client.set_model_version_tag(MODEL, str(registered), "serving_image", foreign)
        code, said = mlops("validate", MODEL, str(registered), "--dry-run")
        assert (code, f"the registry names the image {foreign}" in said) == ((2, True) if key else (0, False))
        assert ("by digest or with a tag own-..., validate" in said) == bool(key)


@pytest.mark.parametrize("words", [["--no-validate"], []])
def test_a_run_whose_version_is_not_known_says_that_it_is_not_validated_unless_it_is_not_wanted(
    world: World, mlops: Command, words: list[str]
) -> None:
    world.scenes([CHURN, LOOK], [CHURN, LOOK, TRAINED])
    code, said = mlops("train", "churn", *words)
    assert (code, "not validated: MLflow did not return the version" in said) == (0, not words)
    assert len(world.all_created) == 1
