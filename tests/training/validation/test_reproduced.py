"""Versions of notebooks and of Jobs: the check that compares them, and the example notebook as Jupyter runs it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import nbformat
import pytest
from mlflow.tracking import MlflowClient
from nbclient import NotebookClient

from contract.exit_codes import ExitCode
from tests.registry import write_sample
from training import project
from training.registry import client as versions
from training.validation import reproduced

ROOT = Path(__file__).parents[3]
NOTEBOOK = ROOT / "notebooks" / "churn.ipynb"
VALUES = ("n_estimators=50", "max_depth=8")
"""Parameters of the version that the notebook trains."""


@dataclass
class Trained:
    """MLflow with version 1 of the notebook."""

    folder: Path
    notebook: Any
    """Notebook with its outputs."""

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.environment["MLFLOW_TRACKING_URI"])

    @property
    def environment(self) -> dict[str, str]:
        uri = f"sqlite:///{self.folder}/mlflow.db"
        own = {"MLFLOW_TRACKING_URI": uri, "DATASET": str(self.folder / "churn.csv"), "GIT_COMMIT": "3f2a9c1"}
        return {**os.environ, **own, "VALIDATION": '{"latency_ms": 10000, "resamples": 100}'}

    def trains(self, *values: str, **variables: str) -> None:
        """Train on the command line, as a Job if the variables name one."""
        command = ["train", "churn", "--data", self.environment["DATASET"], *values]
        assert self.mlops(*command, **variables).returncode == 0

    def validates(self, version: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "training.validate", "churn-predictor", str(version)]
        return self.run(*command)

    def mlops(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(Path(sys.executable).with_name("mlops")), *words, **variables)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = self.environment | variables
        return subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)

    def metrics(self, version: int) -> dict[str, float]:
        run = self.client.get_run(self.client.get_model_version("churn-predictor", str(version)).run_id or "")
        return {name: value for name, value in run.data.metrics.items() if not name.startswith("cost_")}

    def tags(self, version: int) -> dict[str, str]:
        return self.client.get_model_version("churn-predictor", str(version)).tags


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    made = Trained(tmp_path_factory.mktemp("notebook"), cast("Any", nbformat).read(NOTEBOOK, as_version=4))
    write_sample(made.folder / "churn.csv", 2000)
    runner = NotebookClient(made.notebook, timeout=600, startup_timeout=600, kernel_name="python3")
    runner.execute(cwd=str(made.folder), env=made.environment)
    return made


@pytest.mark.long
def test_a_notebook_and_the_command_line_give_the_same_metrics_and_only_the_notebooks_version_says_so(
    trained: Trained,
) -> None:
    trained.trains(*VALUES)
    assert trained.metrics(1) == trained.metrics(2)
    assert set(project.load("churn").measured) <= trained.metrics(1).keys()
    assert trained.tags(1)["notebook"] == "true"
    assert "notebook" not in trained.tags(2)


@pytest.mark.long
def test_a_version_of_a_notebook_is_refused_until_a_job_has_reproduced_it(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.folder, tmp_path, dirs_exist_ok=True)  # the artifacts of version 1 stay in the first folder
    copy = Trained(tmp_path, trained.notebook)
    promotion = ("promote", "churn-predictor", "1", "staging")
    refused = copy.mlops(*promotion)
    assert refused.returncode == ExitCode.REFUSED
    assert "version 1 was trained in a notebook" in refused.stderr

    copy.trains("n_estimators=50", "max_depth=7", JOB_NAME="churn-q5w8z")
    validated = copy.validates(1)
    assert validated.returncode == ExitCode.REFUSED
    assert f"run `mlops train JOB {' '.join(sorted(VALUES))}`" in validated.stderr

    copy.trains(*VALUES, JOB_NAME="churn-x7k2p")
    validated = copy.validates(1)
    assert validated.returncode == ExitCode.DONE, validated.stderr
    assert "the Job churn-x7k2p registered version" in validated.stdout
    assert copy.mlops(*promotion).returncode == ExitCode.DONE


@dataclass(frozen=True)
class Store:
    """MLflow with versions of one model that nothing trained."""

    uri: str
    model: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri, self.uri)

    def register(
        self,
        *tags: str,
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        source: str = "LOCAL",
        **others: str,
    ) -> None:
        """Register a version of the project churn with these tags, and with the others in place of the usual ones."""
        run = self.client.create_run("0", tags={"mlflow.source.type": source}).info.run_id
        for name, value in ({"n_estimators": 50, "max_depth": 8} | dict(parameters or {})).items():
            self.client.log_param(run, name, value)
        for name, number in ({"accuracy": 0.8, "f1": 0.6, "roc_auc": 0.85} | dict(metrics or {})).items():
            self.client.log_metric(run, name, number)
        usual = {"project": "churn", "dataset_digest": "5e1f", "seed": "0"}
        own = {name: value for name, value in (usual | others | dict.fromkeys(tags, "true")).items() if value}
        self.client.create_model_version(self.model, source="s3://models/1", run_id=run, tags=own)

    def check(self) -> tuple[str, str]:
        """Return outcome and text of the check of version 1; both empty if there is no check."""
        client = versions.connect(self.uri)
        found = list(reproduced.check(client, versions.version(client, self.model, 1)))
        return (found[0].outcome, found[0].said) if found else ("", "")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def store(uri: str, request: pytest.FixtureRequest) -> Store:
    made = Store(uri, str(cast("Any", request).node.name))
    made.client.create_registered_model(made.model)
    return made


def test_a_job_on_another_device_reproduces_a_notebook_that_logs_more_metrics(store: Store) -> None:
    store.register("notebook", parameters={"device": "cpu"}, metrics={"system/memory": 3.0, "cell_3": 7.0})
    store.register(job_name="churn-x7k2p", parameters={"device": "cuda"}, metrics={"roc_auc": 0.85 + 1e-12})
    passed = "the Job churn-x7k2p registered version 2 with the same inputs and metrics"
    assert store.check() == ("passed", passed)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"job_name": "j", "parameters": {"max_depth": 7}},
        {"job_name": "j", "metrics": {"f1": 0.61}},
        {"job_name": "j", "dataset_digest": "77aa"},
        {"job_name": "j", "seed": "1"},
        {"job_name": "j", "project": "churn-boosted"},
        {"job_name": "j", "notebook": "true"},
        {"job_name": "j", "source": "NOTEBOOK"},
    ],
)
def test_a_version_without_a_job_with_other_values_or_of_a_notebook_is_no_reproduction(
    store: Store, other: dict[str, Any]
) -> None:
    store.register("notebook")
    store.register(**other)
    outcome, said = store.check()
    assert outcome == "refused"
    assert (
        "run `mlops train JOB max_depth=8 n_estimators=50`, where JOB is the training job of the project churn" in said
    )


def test_a_notebook_in_a_build_of_jenkins_does_not_reproduce_itself(store: Store) -> None:
    store.register("notebook", job_name="nightly")
    assert store.check()[0] == "refused"


def test_a_version_of_a_former_release_is_of_a_notebook_if_its_run_says_so(store: Store) -> None:
    store.register(source="NOTEBOOK")
    assert store.check()[0] == "refused"
    store.register(job_name="churn-x7k2p")
    assert store.check()[0] == "passed"


def test_a_version_that_no_notebook_trained_needs_no_job(store: Store) -> None:
    store.register()
    assert store.check() == ("", "")


def test_a_notebook_without_a_project_is_refused_because_no_job_can_be_compared(store: Store) -> None:
    store.register("notebook", project="")
    outcome, said = store.check()
    assert outcome == "refused"
    assert "it has no tag project, so no Job can be compared with it; train it in a Job" in said


def test_runs_of_jobs_with_another_dataset_are_not_read(store: Store) -> None:
    store.register("notebook")
    for _ in range(3):
        store.register(job_name="churn-x7k2p", dataset_digest="77aa")
    with patch.object(MlflowClient, "get_run", autospec=True, side_effect=MlflowClient.get_run) as read:
        assert store.check()[0] == "refused"
    assert read.call_count == 1
