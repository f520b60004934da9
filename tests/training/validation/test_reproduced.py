"""The example notebook, run as Jupyter runs it, beside the command that trains the same project."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nbformat
import pytest
from mlflow.tracking import MlflowClient
from nbclient import NotebookClient

from contract.exit_codes import ExitCode
from tests.registry import write_sample
from training import project

ROOT = Path(__file__).parents[3]
NOTEBOOK = ROOT / "notebooks" / "churn.ipynb"
VALUES = ("n_estimators=50", "max_depth=8")
"""Parameters of the version that the notebook trains."""
pytestmark = pytest.mark.long


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


def test_a_notebook_and_the_command_line_give_the_same_metrics_and_only_the_notebooks_version_says_so(
    trained: Trained,
) -> None:
    trained.trains(*VALUES)
    assert trained.metrics(1) == trained.metrics(2)
    assert set(project.load("churn").measured) <= trained.metrics(1).keys()
    assert trained.tags(1)["notebook"] == "true"
    assert "notebook" not in trained.tags(2)


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
    assert f"run `mlops train churn {' '.join(sorted(VALUES))}`" in validated.stderr

    copy.trains(*VALUES, JOB_NAME="churn-x7k2p")
    validated = copy.validates(1)
    assert validated.returncode == ExitCode.DONE, validated.stderr
    assert "the Job churn-x7k2p registered version" in validated.stdout
    assert copy.mlops(*promotion).returncode == ExitCode.DONE
