"""A network that PyTorch trains and ONNX Runtime serves, with the packages of the image training-gpu (several GiB)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from model_server.predict.model import load
from tests.mlflow_server import Server
from tests.registry import write_sample

pytestmark = pytest.mark.nightly

ROOT = Path(__file__).parents[3]
UV = Path(sys.prefix) / "bin" / "uv"
ROWS = 7043
ALONE = """
import sys
import numpy as np
from training.fit import network
from training.project import NoCheckpoints

rows = np.random.default_rng(0).normal(size=(10_000, 30))
rows[:, 2] *= float(sys.argv[3])
numbers = 4000 + 250 * (rows[:, 0] + rows[:, 1] ** 2)
labels = (numbers > 4250).astype(int)
plan = network.Plan(
    layers=[32], dropout=0.1, learning_rate=0.003, batch_size=200, epochs=5, patience=5, seed=1, gpus=int(sys.argv[1]),
    processes=int(sys.argv[2]),
)
if __name__ == "__main__":
    names = sys.argv[4:]
    table = network.Table(features=rows, labels=labels if names else numbers)
    trained = network.train(plan, table, table, names, NoCheckpoints())
    print("score", trained.estimator.score(rows, np.array(names)[labels] if names else numbers))
"""
"""Script that trains a classifier for the labels in its last arguments, or a regressor without any. Its third argument
multiplies a feature. The training compares PyTorch with ONNX on 10,000 rows, within network.TOLERANCE."""

CHANGED = """
import logging
import sys
import numpy as np
from training.fit import network


class Checkpoints:
    content = None

    def latest(self):
        return self.content

    def save(self, content):
        self.content = content


logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
rows = np.random.default_rng(0).normal(size=(1000, 5))
table, checkpoints = network.Table(features=rows, labels=(rows[:, 0] > 0).astype(int)), Checkpoints()
for width in (16, 16, 8):
    plan = network.Plan(
        layers=[width], dropout=0.1, learning_rate=0.003, batch_size=200, epochs=2, patience=5, seed=1, gpus=0,
    )
    network.train(plan, table, table, ["No", "Yes"], checkpoints)
    print("trained")
"""
"""Script that trains three times with one checkpoint: two networks of one size, and then one of another size."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python with the packages of the image training-gpu."""
    venv = tmp_path_factory.mktemp("training-gpu") / "venv"
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, venv], check=True)
    made = venv / "bin" / "python"
    listed = ["--no-deps", "--require-hashes", "-r", ROOT / "images" / "training-gpu" / "requirements.lock"]
    subprocess.run([UV, "pip", "install", "-q", "--python", made, *listed], check=True)
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mlflow"))
    made.start()
    write_sample(made.folder / "churn.csv", ROWS)
    yield made
    made.kill()


class Training:
    """Training process of the project churn_net."""

    def __init__(self, python: Path, server: Server, job: str, **more: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(server.folder),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
            "PROJECT": "churn_net",
            "DATASET": str(server.folder / "churn.csv"),
            "MODEL": "churn-net",
            "EXPERIMENT": "churn-net",
            "PARAMETERS": json.dumps({"epochs": 6, "width": 16}),
            "MLFLOW_TRACKING_URI": server.uri,
            "WORK_FOLDER": str(server.folder / "work"),
            "JOB_NAME": job,
            **more,
        }
        command = [python, "-m", "training.train"]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self.lines = list[str]()

    def until(self, begin: str) -> None:
        """Read the log up to a line that begins so."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if line.startswith(begin):
                return
        raise AssertionError("\n".join(self.lines))

    def end(self) -> int:
        """Read the rest of the log, and return the exit code."""
        assert self.process.stdout
        self.lines += [line.strip() for line in self.process.stdout]
        self.process.stdout.close()
        return self.process.wait()

    def kill(self) -> None:
        """Kill the process at once."""
        self.process.kill()
        self.end()


def runs_of(server: Server, job: str) -> list[Run]:
    """Return the runs of a Job, the newest first."""
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("churn-net")
    assert experiment
    return list(client.search_runs([experiment.experiment_id], f"tags.job_name = '{job}'"))


def predicted(server: Server, version: int) -> tuple[list[str], Mapping[str, float]]:
    """Return the version's predictions for the table, by the model server's code, and its metrics."""
    client = MlflowClient(server.uri)
    folder = Path(client.get_model_version_download_uri("churn-net", str(version)))
    model = load(folder, "churn-net")
    assert model.batched, "the server has no fast predictor for the network"
    assert model.decoder
    assert model.signature
    table = pd.read_csv(server.folder / "churn.csv")[model.signature.names]
    body = json.dumps({"dataframe_split": json.loads(table.to_json(orient="split", index=False))})
    rows = model.decoder.rows(body.encode())
    assert rows
    quick, reference = (predictor(rows, [len(rows)])[0] for predictor in model.predictors)
    assert list(quick) == list(reference)
    run = client.get_run(client.get_model_version("churn-net", str(version)).run_id or "")
    return list(quick), run.data.metrics


def test_a_training_killed_in_epoch_3_goes_on_there_and_ends_with_the_same_model(python: Path, server: Server) -> None:
    whole = Training(python, server, "whole")
    assert whole.end() == 0, whole.lines
    assert whole.lines[-1] == "registered churn-net version 1"

    killed = Training(python, server, "killed")
    killed.until("epoch 3")
    killed.kill()
    again = Training(python, server, "killed")
    assert again.end() == 0, again.lines
    assert again.lines[-1] == "registered churn-net version 2"
    epochs = [int(line.split()[1].strip(":")) for line in again.lines if line.startswith("epoch ")]
    assert epochs[0] in {3, 4}
    assert epochs[-1] == 6
    newest, oldest = runs_of(server, "killed")
    assert newest.data.tags["resumed_from"] == oldest.info.run_id
    assert newest.data.params["epochs_trained"] == "6"

    (first, its), (second, others) = predicted(server, 1), predicted(server, 2)
    assert first == second
    assert its["roc_auc"] == others["roc_auc"] > 0.8


def test_another_job_or_other_parameters_start_with_the_first_epoch(python: Path, server: Server) -> None:
    left = Training(python, server, "left")
    left.until("epoch 2")
    left.kill()
    for other in (
        Training(python, server, "another"),
        Training(python, server, "left", PARAMETERS=json.dumps({"epochs": 6, "width": 8})),
    ):
        assert other.end() == 0, other.lines
        assert "epoch 1:" in " ".join(other.lines)


def test_code_that_changed_the_size_of_the_network_starts_with_the_first_epoch(python: Path, tmp_path: Path) -> None:
    script = tmp_path / "changed.py"
    script.write_text(CHANGED)
    done = subprocess.run(
        [python, script], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    _, same, other, _ = done.stdout.split("trained\n")
    assert "continuing after epoch 2" in same
    assert "epoch 1:" not in same
    assert "the checkpoint is that of a network of another size; the training starts with the first epoch" in other
    assert "epoch 1:" in other


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("labels", [["No", "Yes"], []], ids=["classifier", "regressor"])
def test_the_network_in_onnx_gives_the_outputs_of_pytorch(
    python: Path, tmp_path: Path, processes: int, labels: list[str]
) -> None:
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    done = subprocess.run(
        [python, script, "0", str(processes), "1", *labels], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(done.stdout.split()[-1]) > 0.8


def test_a_training_that_diverges_keeps_the_network_of_its_best_epoch(python: Path) -> None:
    diverging = """
add = network._Progress.add
network._Progress.add = lambda self, loss, made: add(self, loss if self.epoch < 3 else float("nan"), made)
if __name__ =="""
    command = [python, "-c", ALONE.replace("if __name__ ==", diverging), "0", "1", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the validation loss is nan after epoch 4; the network of a former epoch is kept" in done.stderr
    assert "score 0." in done.stdout


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("factor", ["nan", "1e38"])
def test_a_training_that_diverges_ends_with_the_reason_and_without_a_model(
    python: Path, tmp_path: Path, processes: int, factor: str
) -> None:
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    done = subprocess.run(
        [python, script, "0", str(processes), factor], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "score" not in done.stdout
    said = done.stderr.splitlines()[-1]
    assert said.startswith("training.project.ProjectError: the validation loss is ")
    assert said.endswith("scale all of them before the training, or lower learning_rate (0.003)")


def test_gpus_that_pytorch_does_not_see_are_an_error(python: Path, server: Server) -> None:
    asked = Training(python, server, "gpus", GPUS="64")
    assert asked.end() == 2
    assert asked.lines[-1].startswith("the pod has 64 GPUs, and PyTorch ")
    assert "leave `gpus` out" in asked.lines[-1]
