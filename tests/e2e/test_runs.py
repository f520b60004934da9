"""Training runs on the real cluster: by hand, as a sweep, by the clock, and in the queue for a GPU."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from lab import stores
from tests.e2e.conftest import ENDPOINT, LAB, Platform, fresh_shell, parameters_of, pods, training_jobs, wait_for
from training import mlflow_logging
from training.registry import client as versions
from training.validation import candidate

pytestmark = pytest.mark.e2e

MLOPS = LAB.with_name("mlops")
POINTS = 6


@pytest.fixture(scope="module")
def training(platform: Platform) -> Iterator[Platform]:
    """The platform with six points to sweep, clocks that strike each minute, and two runs for one GPU."""
    platform.lab("up", timeout=3000)
    with platform.config_restored():
        points = {f"sweep.points[{index}].max_depth": index + 1 for index in range(POINTS)}
        few = {"parameters.n_estimators": 5, "parameters.max_depth": 1}
        platform.add_training("swept", **few, **points, **{"sweep.max_parallel": 2})
        platform.add_training("timed", **few, schedule="* * * * *", **{"validation.schedule": "*/2 * * * *"})
        for name in ("gpu-first", "gpu-second"):
            platform.add_training(name, **few, node_pool="gpu", deadline_minutes=60)
        platform.up()
        yield platform
        platform.pulumi("destroy", "--yes", "--skip-preview")


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [MLOPS, *arguments], env=fresh_shell(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def said_by(*arguments: str) -> tuple[int, list[str]]:
    with command(*arguments) as started:
        said = started.communicate(timeout=300)[0].splitlines()
    return started.returncode, said


def validation_of(platform: Platform, version: int, model: str = ENDPOINT) -> str:
    tags = {tag["key"]: tag["value"] for tag in platform.versions(model)[version].get("tags", [])}
    return tags.get("validation_status", "")


def test_a_run_by_hand_ends_with_its_version_validated_and_leaves_the_stack_as_it_was(training: Platform) -> None:
    before = max(training.versions())
    code, said = said_by("train", "churn", "N_ESTIMATORS=30")
    assert code == 0, said
    told = said.index(f"version  {ENDPOINT} {before + 1}")
    assert "/#/experiments/" in said[told - 2]
    assert any(line.startswith(f"{ENDPOINT} version {before + 1} passed") for line in said[told:]), said
    assert validation_of(training, before + 1) == "passed"
    assert parameters_of(training, training.versions()[before + 1])["n_estimators"] == "30"
    assert any(f"{ENDPOINT} {before + 1}" in line for line in said_by("runs", "--name", "churn")[1])
    assert training.changes() == {}


def test_a_value_that_the_project_refuses_makes_no_job(training: Platform) -> None:
    before = [job["metadata"]["uid"] for job in training_jobs(training, "churn")]
    code, said = said_by("train", "churn", "MAX_DEPTH=0")
    assert code == 2
    assert "max_depth" in said[-1]
    assert [job["metadata"]["uid"] for job in training_jobs(training, "churn")] == before


def test_a_restart_of_mlflow_in_the_middle_of_a_run_costs_nothing_but_time(training: Platform) -> None:
    before = max(training.versions())
    mlflow = ("-n", "mlops-platform")
    with command("train", "churn", "N_ESTIMATORS=31") as run:
        assert run.stdout
        said = up_to("fitting", run.stdout)
        for pod in pods(training, "mlops-platform", "mlflow"):
            training.kubectl("delete", "pod", pod["metadata"]["name"], *mlflow, "--now", "--wait=false")
        said += run.stdout.read().splitlines()
    assert run.returncode == 0, said
    training.kubectl("rollout", "status", "deployment/mlflow", *mlflow, "--timeout=120s")
    assert max(training.versions()) == before + 1
    version = training.versions()[before + 1]
    made = training.tracking("runs/get", run_id=version["run_id"])["run"]
    assert made["info"]["status"] == "FINISHED"
    assert {"accuracy", "f1", "roc_auc"} <= {metric["key"] for metric in made["data"]["metrics"]}
    assert parameters_of(training, version)["n_estimators"] == "31"


def up_to(word: str, lines: Iterator[str]) -> list[str]:
    """The lines up to the first with the word."""
    said: list[str] = []
    for line in lines:
        said.append(line.rstrip())
        if word in line:
            return said
    pytest.fail(f"no line with {word!r} in {said}")


def test_a_sweep_runs_two_at_a_time_and_registers_one_version(training: Platform) -> None:
    (job,) = training_jobs(training, "swept")
    most = 0

    def is_over() -> bool:
        nonlocal most
        phases = [pod["status"]["phase"] for pod in training.items("pods", "-n", "ml-training", "-l", of_the_sweep)]
        most = max(most, sum(phase in {"Pending", "Running"} for phase in phases))
        return phases.count("Succeeded") == POINTS

    of_the_sweep = f"batch.kubernetes.io/job-name={job['metadata']['name']}"
    wait_for("the end of the sweep", is_over, seconds=300)
    assert most <= 2
    (version,) = training.versions("churn-swept").values()
    assert "the best of 6 points by roc_auc" in version["description"]
    assert said_by("follow", job["metadata"]["name"])[1][-1] == "version  churn-swept 1"


def test_a_schedule_starts_a_run_when_the_time_comes(training: Platform) -> None:
    (made, *_) = wait_for("a run by the clock", lambda: training_jobs(training, "timed"), seconds=90)
    assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "cronjob"
    wait_for("a version of it", lambda: training.versions("churn-timed"), seconds=180)


def test_what_the_clock_trained_the_clock_validates(training: Platform) -> None:
    def answered() -> list[int]:
        known = training.versions("churn-timed")
        return [number for number in known if validation_of(training, number, "churn-timed") in {"passed", "refused"}]

    wait_for("a validation by the clock", answered, seconds=240)
    (made, *_) = training_jobs(training, "timed-validation")
    assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "cronjob"


def test_a_run_on_a_full_gpu_pool_says_what_it_waits_for_and_waits_on_after_ctrl_c(training: Platform) -> None:
    waiting = wait_for("a run without a GPU", lambda: unscheduled(training), seconds=60)
    with command("follow", waiting) as following:
        assert following.stdout
        assert any("Insufficient nvidia.com/gpu" in line for line in following.stdout)
        following.send_signal(signal.SIGINT)
        assert f"mlops follow {waiting}" in following.stdout.read()
    assert following.returncode == 130
    assert waiting in {
        job["metadata"]["name"] for name in ("gpu-first", "gpu-second") for job in training_jobs(training, name)
    }


def promote(version: str, stage: str) -> int:
    return said_by("promote", ENDPOINT, version, stage)[0]


def champion(platform: Platform) -> str:
    found = platform.tracking("registered-models/alias", name=ENDPOINT, alias="champion")
    return found["model_version"]["version"]


def trained(platform: Platform, *arguments: str) -> str:
    code, said = said_by("train", "churn", *arguments)
    assert code == 0, said
    return str(max(platform.versions()))


def test_a_worse_version_is_refused_a_good_one_promoted_and_the_champion_before_comes_back(training: Platform) -> None:
    first = trained(training, "--no-validate")
    assert promote(first, "staging") == 3  # not validated yet
    assert said_by("validate", ENDPOINT, first)[0] == 0
    assert [promote(first, stage) for stage in ("staging", "production")] == [0, 0]
    code, said = said_by("train", "churn", "N_ESTIMATORS=1", "MAX_DEPTH=1")
    assert code == 3, said
    assert "worse by more than" in said[-1]
    assert "the version stays registered but cannot be promoted" in said[-1]
    good = trained(training, "N_ESTIMATORS=60")
    assert [promote(good, stage) for stage in ("staging", "production")] == [0, 0]
    assert champion(training) == good
    assert said_by("rollback", ENDPOINT)[0] == 0
    assert champion(training) == first


def test_a_version_with_a_renamed_column_is_refused_as_breaking(
    training: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stores.environment().items():
        monkeypatch.setenv(name, value)
    renamed = with_a_renamed_column(champion(training), tmp_path)
    code, said = said_by("validate", ENDPOINT, renamed)
    assert code == 3, said
    assert "tenure is removed" in said[-1]
    assert promote(renamed, "staging") == 3


def with_a_renamed_column(number: str, folder: Path) -> str:
    """A version that is the other one but for the name of a column that it takes."""
    uri = os.environ["MLFLOW_TRACKING_URI"]
    client = versions.connect(uri)
    known = versions.version(client, ENDPOINT, int(number))
    files = candidate.fetch(client, uri, known, folder).folder
    described = files / "MLmodel"
    described.write_text(described.read_text().replace('"tenure"', '"months"'))
    mlflow_logging.open_experiment(uri, ENDPOINT)
    with mlflow.start_run() as run:
        logged, _ = mlflow_logging.log_model(files, run.info)
    tags = {name: known.tags[name] for name in ("project", "dataset", "dataset_digest")}
    made = mlflow_logging.Version(model_uri=logged, description="a column has another name", tags=tags)
    return str(mlflow_logging.register(ENDPOINT, made))


def test_a_version_is_made_again_from_the_checkout(training: Platform) -> None:
    code, said = said_by("reproduce", ENDPOINT, champion(training))
    assert code == 0, said
    assert any("is reproduced: metrics and all" in line for line in said), said


def test_the_table_of_models_says_which_version_the_lab_serves(training: Platform) -> None:
    done = subprocess.run(
        [MLOPS, "models", ENDPOINT, "--json"], env=fresh_shell(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    served = [str(row["version"]) for row in json.loads(done.stdout) if row["served"] == ["local"]]
    declared = training.pulumi("config", "get", "--path", f"mlops:endpoints.{ENDPOINT}.version").stdout
    assert served == [declared.strip()]


def unscheduled(platform: Platform) -> str | None:
    """The Job of the GPU pool whose pod has no node."""
    both = [pod for name in ("gpu-first", "gpu-second") for pod in pods(platform, "ml-training", name)]
    names = [pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] for pod in both if "nodeName" not in pod["spec"]]
    return names[0] if len(both) == 2 and names else None
