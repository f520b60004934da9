"""A team's own script: run as a process with the environment of its Job, validated, and served."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow.tracking import MlflowClient

from tests.deployed import deployed, environment
from tests.registry import Registry
from tests.served import served
from training import validate
from training.registry import client as versions
from training.validation.limits import Limits

pytestmark = pytest.mark.long

GUIDE = Path(__file__).parents[2] / "docs" / "training.md"
MODEL = "scripted"
LIMITS = Limits(latency_ms=10_000, least={"accuracy": 0.6}, compared=("accuracy",))


def script() -> str:
    """Return the script of the guide."""
    (source,) = re.findall(r"```python title=\"train.py\"\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return source


def variables(parameters: Mapping[str, object]) -> dict[str, str]:
    """Return the environment of the Job's container, with each reference resolved as Kubernetes does it."""
    job = {"image": "lab.local/team:1", "command": ["python", "train.py"], "parameters": parameters}
    recording = deployed({f"training.churn.{key}": value for key, value in (job | {"model": MODEL}).items()})
    (container,) = recording.one(":Job", "churn").spec["template"]["spec"]["containers"]
    resolved: dict[str, str] = {}
    for name, value in environment(container).items():
        text: Any = value if isinstance(value, str) else "churn-x7k2p"
        known = re.sub(r"\$\((\w+)\)", lambda found: resolved.get(found[1], found[0]), text)
        resolved[name] = known.replace("$$", "$")
    return resolved


def run(registry: Registry, folder: Path, parameters: Mapping[str, object]) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(script())
    told = variables(parameters) | {"DATASET": str(registry.dataset), "MLFLOW_TRACKING_URI": registry.uri}
    kept = {name: os.environ[name] for name in ("PATH",)}
    cloud = {name for name in told if name.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, folder / "train.py"],
        cwd=registry.dataset.parent,  # a local store has its artifacts there
        env=kept | {name: value for name, value in told.items() if name not in cloud},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_script_that_knows_only_mlflow_becomes_a_served_version(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(registry.dataset.parent)
    ended = run(registry, tmp_path, {"n_estimators": 20})
    assert ended.returncode == 0, ended.stderr
    client = versions.connect(registry.uri)
    (made,) = versions.versions(client, MODEL)
    logged = MlflowClient(registry.uri).get_run(str(made.run_id)).data
    assert logged.params["n_estimators"] == "20"
    assert logged.tags["job_name"] == "churn-x7k2p"
    assert validate.newest(client, MODEL, "churn") == 1

    asked = validate.Request(model=MODEL, version=1, limits=LIMITS)
    report = validate.validate(client, registry.uri, asked)
    assert report.refusals == []
    assert "its run logged accuracy 0." in next(check.said for check in report.checks if check.name == "metrics")
    tags = versions.version(client, MODEL, 1).tags
    assert (tags["training_job"], tags["image"], tags["script"]) == ("churn", "lab.local/team:1", "true")
    assert tags["validation_status"] == "passed"
    assert len(tags["model_digest"]) == 64

    folder = Path(MlflowClient(registry.uri).get_model_version_download_uri(MODEL, "1"))
    example = json.loads((folder / "serving_input_example.json").read_text())
    with served(folder, MODEL, 1) as url:
        answer = httpx.post(f"{url}/invocations", json=example)
    assert set(answer.json()["predictions"]) <= {"No", "Yes"}

    high = validate.Request(
        model=MODEL, version=1, limits=Limits(latency_ms=10_000, least={"accuracy": 0.999, "f1": 0})
    )
    refused = validate.validate(client, registry.uri, high).refusals
    low, missing = refused
    assert re.fullmatch(r"accuracy is 0\.\d+, as its run logged it, and must be at least 0\.999", low)
    assert missing.startswith("its run logged no f1, which must be at least 0; add mlflow.log_metric('f1', ...)")


def test_parameters_of_a_script_are_texts_and_a_dollar_stays_one() -> None:
    told = variables({"rate": 0.5, "deep": True, "name": "$(HOME) a"})
    assert (told["RATE"], told["DEEP"], told["NAME"]) == ("0.5", "true", "$(HOME) a")
    assert json.loads(told["MLFLOW_RUN_CONTEXT"])["training_job"] == "churn"
    assert told["MLFLOW_EXPERIMENT_NAME"] == MODEL
