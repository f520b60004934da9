"""CronJob that validates the versions of a training job."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.config import cron
from tests.deployed import deployed, environment, local
from tests.recording import Recording

OWN = "training.churn.validation"


def cron_job(recording: Recording, name: str = "churn") -> Mapping[str, Any]:
    return recording.one(":CronJob", f"{name}-validation").spec


def pod(recording: Recording) -> Mapping[str, Any]:
    return cron_job(recording)["jobTemplate"]["spec"]["template"]["spec"]


def container(recording: Recording) -> Mapping[str, Any]:
    (only,) = pod(recording)["containers"]
    return only


def test_it_is_the_code_of_the_training_image_on_the_packages_of_the_serving_image() -> None:
    recording = deployed({"training.churn.image": "lab.local/mine:1"})
    (code,) = pod(recording)["initContainers"]
    assert (code["image"], container(recording)["image"]) == ("lab.local/mine:1", "lab.local/serving:1")
    (copied,) = code["volumeMounts"]
    assert container(recording)["workingDir"] == copied["mountPath"]
    assert {**copied, "readOnly": True} in container(recording)["volumeMounts"]
    assert container(recording)["command"] == ["python", "-m", "training.validate", "churn-predictor"]
    assert container(recording)["args"] == ["--training-job", "churn"]


def test_an_image_without_our_code_ends_it_with_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    (code,) = pod(local())["initContainers"]
    done = subprocess.run(code["command"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("image lab.local/training:1 has no /app/training/validate.py")
    assert line.endswith("validation: {enabled: false} under mlops:training.churn")


@pytest.mark.parametrize("packages", [["contract", "training"], ["training"]])
def test_an_image_with_our_code_hands_it_over(tmp_path: Path, packages: list[str]) -> None:
    for package in packages:
        (tmp_path / "app" / package).mkdir(parents=True)
        (tmp_path / "app" / package / "validate.py").write_text("pass")
    (tmp_path / "code").mkdir()
    *shell, script = pod(local())["initContainers"][0]["command"]
    here = script.replace("/app/", f"{tmp_path}/app/").replace("/code/", f"{tmp_path}/code/")
    subprocess.run([*shell, here], check=True, env={"PATH": os.environ["PATH"]})
    assert sorted(path.name for path in (tmp_path / "code").iterdir()) == packages
    assert (tmp_path / "code" / "training" / "validate.py").is_file()


def test_it_looks_every_quarter_of_an_hour_and_one_at_a_time() -> None:
    spec = cron_job(local())
    cron.check(spec["schedule"])
    assert spec["schedule"].endswith("-59/15 * * * *")
    assert (spec["suspend"], spec["concurrencyPolicy"]) == (False, "Forbid")
    assert cron_job(deployed({f"{OWN}.schedule": "@hourly"}))["schedule"] == "@hourly"


def test_the_looks_of_many_jobs_are_spread_over_the_minutes() -> None:
    names = [f"job-{number}" for number in range(10)]
    settings = {
        "project": "churn",
        "model": "m",
        "dataset": "s3://mlops-artifacts/datasets/a.csv",
        "node_pool": "cpu",
        "deadline_minutes": 5,
    }
    many = deployed({f"training.{name}": settings for name in names})
    assert len({cron_job(many, name)["schedule"] for name in names}) > 4


def test_not_enabled_it_waits_to_be_asked() -> None:
    changed = {f"{OWN}.enabled": False}
    assert cron_job(deployed(changed)) == {**cron_job(local()), "suspend": True}


def test_it_ends_at_its_deadline_and_knows_it_and_an_answer_is_not_asked_for_twice() -> None:
    recording = deployed({f"{OWN}.deadline_minutes": 7})
    spec = cron_job(recording)["jobTemplate"]["spec"]
    assert spec["activeDeadlineSeconds"] == 7 * 60
    assert environment(container(recording))["VALIDATION_DEADLINE_SECONDS"] == "420"
    assert spec["backoffLimit"] == 0
    (lost,) = spec["podFailurePolicy"]["rules"]
    assert lost == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.mark.parametrize("changes", [{}, {"training.churn.service_account": "mine"}])
def test_it_has_another_identity_than_a_run_and_its_own_keys(changes: Mapping[str, object]) -> None:
    recording = deployed(changes)
    run = recording.one(":Job", "churn")
    (trains,) = run.spec["template"]["spec"]["containers"]
    assert pod(recording)["serviceAccountName"] == "validation"
    assert run.spec["template"]["spec"]["serviceAccountName"] != "validation"
    assert container(recording)["envFrom"] != trains["envFrom"]
    assert recording.one(":CronJob", "churn-validation").metadata["namespace"] == run.metadata["namespace"]


def test_it_loads_what_runs_code_only_where_the_stack_says_so() -> None:
    assert "VALIDATION_ALLOW_CODE" not in environment(container(local()))
    assert environment(container(deployed({f"{OWN}.allow_code": True})))["VALIDATION_ALLOW_CODE"] == "true"


def test_it_has_the_image_that_the_stack_names_or_knows_the_standard_one_to_pass_over_versions_of_another() -> None:
    assert "VALIDATION_IMAGE" not in environment(container(local()))
    own = container(deployed({f"{OWN}.image": "lab.local/serving:own-1"}))
    assert (own["image"], "VALIDATION_IMAGE" in environment(own)) == ("lab.local/serving:own-1", False)
    auto = container(deployed({f"{OWN}.image": "auto"}))
    assert (auto["image"], environment(auto)["VALIDATION_IMAGE"]) == ("lab.local/serving:1", "lab.local/serving:1")


def test_its_reports_go_where_only_it_may_write() -> None:
    assert environment(container(local()))["VALIDATION_REPORTS"] == "s3://mlops-artifacts/validations"


def test_it_has_the_memory_and_disk_of_a_run_or_its_own() -> None:
    recording = deployed({"training.churn.memory": "3Gi", "training.churn.ephemeral_storage": "5Gi"})
    assert container(recording)["resources"]["limits"] == {"memory": "3Gi", "ephemeral-storage": "5Gi"}
    own = container(deployed({f"{OWN}.memory": "2Gi", f"{OWN}.cpu": 2}))["resources"]["requests"]
    assert (own["memory"], own["cpu"]) == ("2Gi", "2")


def test_it_runs_on_no_pool_of_training_since_it_measures_what_servers_will_do() -> None:
    on_gpu = pod(deployed({"training.churn.node_pool": "gpu"}))
    assert not on_gpu.keys() & {"nodeSelector", "tolerations"}


def test_limits_reach_it_and_what_is_left_out_is_left_to_the_code() -> None:
    recording = deployed({f"{OWN}.limits": {"any_loss": 0.02, "least": {"f1": 0.5}}})
    told = environment(container(recording))["VALIDATION"]
    assert json.loads(told) == {"any_loss": 0.02, "least": {"f1": 0.5}}
    assert "VALIDATION" not in environment(container(local()))


def test_it_knows_the_endpoint_that_serves_its_model_and_a_release_changes_nothing_of_it() -> None:
    assert environment(container(local()))["ENDPOINT"] == "http://churn-predictor.ml-serving"
    assert cron_job(deployed({"endpoints.churn-predictor.version": 2})) == cron_job(local())
    assert "ENDPOINT" not in environment(container(deployed({"training.churn.model": "served-nowhere"})))


def test_what_it_makes_is_no_training_run() -> None:
    labels = cron_job(local())["jobTemplate"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == "validation"
    assert labels["app.kubernetes.io/instance"] == "churn-validation"
    assert labels["app.kubernetes.io/managed-by"] == "cronjob"


def test_a_change_of_it_trains_nothing_again() -> None:
    other = deployed({f"{OWN}.limits": {"any_loss": 0.1}, "images.serving": "lab.local/serving:2"})
    assert other.one(":Job", "churn").inputs == local().one(":Job", "churn").inputs


def test_a_scripts_versions_are_validated_by_the_platforms_code() -> None:
    script = {"training.churn.image": "lab.local/team:1", "training.churn.command": ["python", "train.py"]}
    pods = [
        deployed(told).one(":CronJob", "churn-validation").spec["jobTemplate"]["spec"]["template"]["spec"]
        for told in (script, {})
    ]
    code, standard = (pod["initContainers"][0] for pod in pods)
    assert code == standard
