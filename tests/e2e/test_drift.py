"""Drift on the lab: shifted requests, the drift job by hand, a training, a validation, a proposal, a release."""

import io
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import httpx
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from contract import names
from contract.tags import DRIFT_AT, DRIFT_RUN
from lab import dataset, stores
from lab.cluster import forward
from lab.engine import engine_environment
from runs.cluster import Cluster
from tests.e2e.conftest import ENDPOINT, LAB, Platform, store_client, training_jobs, wait_for
from tests.pull_requests.github_double import GitHub, environment, serve

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
MLOPS = LAB.with_name("mlops")
BUCKET, TABLE = "mlops-artifacts", "datasets/churn.csv"
LOG = f"predictions/model={ENDPOINT}/version="
FILE = "Pulumi.local.yaml"
NAMESPACE = ("-n", "ml-training")
ACCOUNT = f"system:serviceaccount:ml-training:drift-{ENDPOINT}"
ROWS = 600
NUMBERS = count()


class _Body(Protocol):
    def read(self) -> bytes: ...


class _Store(Protocol):
    """Typed part of boto3's client."""

    def list_objects_v2(self, **which: str) -> Mapping[str, Any]: ...
    def get_object(self, **which: str) -> Mapping[str, _Body]: ...
    def put_object(self, **what: str | bytes) -> object: ...


@dataclass
class Watched:
    """The lab's platform with a drift job that starts by hand only, and a training after one window."""

    platform: Platform
    store: _Store
    table: bytes
    """Table that the lab trains on."""

    def start(self, cron_job: str) -> str:
        """Create a Job from a CronJob, and return its name."""
        name = f"{cron_job}-{os.getpid()}-{next(NUMBERS)}"
        self.platform.kubectl("create", "job", name, f"--from=cronjob/{cron_job}", *NAMESPACE)
        return name

    def ended(self, job: str) -> str:
        """Wait until a Job is complete, and return what it printed."""

        def conditions() -> set[str]:
            found = json.loads(self.platform.kubectl("get", f"job/{job}", "-o", "json", *NAMESPACE))
            return {one["type"] for one in found["status"].get("conditions", ()) if one["status"] == "True"}

        last = wait_for(f"the end of {job}", lambda: conditions() & {"Complete", "Failed"}, seconds=240)
        printed = self.platform.kubectl("logs", f"job/{job}", *NAMESPACE)
        print(job, printed)
        assert "Complete" in last, printed
        return printed

    def learn_without(self, rows: int) -> None:
        """Leave out the last rows of the table: without a change, a training repeats an earlier version."""
        table = pd.read_csv(io.BytesIO(self.table)).iloc[: -rows - os.getpid() % 49]
        self.store.put_object(Bucket=BUCKET, Key=TABLE, Body=table.to_csv(index=False).encode())

    def kill(self, job: str) -> None:
        """Kill the container of a Job as soon as it runs."""
        selector = f"batch.kubernetes.io/job-name={job}"

        def running() -> str | None:
            pods = self.platform.items("pods", *NAMESPACE, "-l", selector, "--field-selector=status.phase=Running")
            return next((pod["metadata"]["name"] for pod in pods), None)

        pod = wait_for(f"a pod of {job}", running, seconds=90)
        self.platform.kubectl("delete", "pod", pod, *NAMESPACE, "--grace-period=0", "--force")

    def kill_retraining(self, before: Sequence[str]) -> str:
        """Kill the container of the next retraining as soon as it runs, and return the name of its Job."""

        def next_one() -> str | None:
            made = (job["metadata"]["name"] for job in self.retrainings)
            return next((name for name in made if name not in before), None)

        name = wait_for("a retraining", next_one, seconds=240)
        self.kill(name)
        return name

    def look(self) -> str:
        return self.ended(self.start(f"{ENDPOINT}-drift"))

    def validated(self) -> str:
        """Look after the validation of a retrained version, which the schedule may have started meanwhile."""
        looked = self.look()
        if "waits for its validation" not in looked:
            return looked
        self.ended(self.start("churn-validation"))
        return self.look()

    @property
    def version(self) -> int:
        config = yaml.safe_load((self.platform.root / FILE).read_text())["config"]
        return config["mlops:endpoints"][ENDPOINT]["version"]

    @property
    def retrainings(self) -> list[dict[str, Any]]:
        return [
            job
            for job in training_jobs(self.platform, "churn")
            if job["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "drift"
        ]

    def tags(self, version: int) -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in self.platform.versions()[version].get("tags", [])}

    def keys(self) -> set[str]:
        listed = self.store.list_objects_v2(Bucket=BUCKET, Prefix=f"{LOG}{self.version}/").get("Contents", [])
        return {entry["Key"] for entry in listed}

    def read(self, key: str) -> bytes:
        return self.store.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def ask(self, customers: pd.DataFrame) -> None:
        """Ask the endpoint, and move what its log has then to the last whole hour, spread over it, and to this hour.

        The second copy is there if the hour ends before the drift job starts.
        """
        before, records = self.keys(), json.loads(customers.to_json(orient="records"))
        for start in range(0, len(records), 100):
            self.platform.predict(records[start : start + 100]).raise_for_status()
        self.platform.kubectl(
            "delete", "pod", "-n", "ml-serving", "-l", f"app.kubernetes.io/instance={ENDPOINT}", "--wait"
        )

        def logged() -> list[pd.DataFrame]:
            tables = [pd.read_parquet(io.BytesIO(self.read(key))) for key in self.keys() - before]
            return tables if sum(map(len, tables)) >= len(records) else []

        log = pd.concat(wait_for("the log in the bucket", logged, seconds=60))
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        for hour in (now - timedelta(hours=1), now):
            times = pd.date_range(hour, hour + timedelta(hours=1), periods=len(log) + 1)[:-1]
            body = io.BytesIO()
            log.assign(at=times.astype("datetime64[us, UTC]")).to_parquet(body, index=False)
            key = f"{LOG}{self.version}/date={hour:%Y-%m-%d}/hour={hour:%H}/moved-{next(NUMBERS)}.parquet"
            self.store.put_object(Bucket=BUCKET, Key=key, Body=body.getvalue())


@pytest.fixture(scope="module")
def watched(platform: Platform) -> Iterator[Watched]:
    with platform.config_restored():
        platform.lab("up", "--with", "monitoring", timeout=3000)
        store: _Store = store_client()
        made = Watched(platform, store, store.get_object(Bucket=BUCKET, Key=TABLE)["Body"].read())
        endpoint = f"endpoints.{ENDPOINT}"
        drift = {f"{endpoint}.drift.window": "1h", f"{endpoint}.drift.suspend": "true"}
        retrain = {f"{endpoint}.retrain.training": "churn", f"{endpoint}.retrain.after": 1}
        platform.set({f"{endpoint}.prediction_log.sample": 1, **drift, **retrain})
        platform.up()
        yield made
        store.put_object(Bucket=BUCKET, Key=TABLE, Body=made.table)
    platform.up()


@pytest.fixture
def github(watched: Watched, tmp_path: Path) -> Iterator[GitHub]:
    """GitHub with the lab's stack file."""
    with serve(tmp_path) as made:
        made.commit("main", {FILE: (watched.platform.root / FILE).read_text()})
        yield made


def shifted() -> pd.DataFrame:
    """Return new customers who pay much by the month: the model expects that they leave."""
    customers = dataset.churn_table().drop(columns="churn").head(ROWS)
    return customers.assign(tenure=0, monthly_charges=110.0, contract="Month-to-month")


def alerts() -> set[str]:
    """Names of the alerts that fire in the lab's Prometheus."""
    with Cluster(environment=engine_environment()).forwarded(names.PLATFORM, "mlops-prometheus", 9090) as address:
        found = httpx.get(f"{address}/api/v1/alerts", timeout=30).raise_for_status().json()["data"]["alerts"]
    return {each["labels"]["alertname"] for each in found if each["state"] == "firing"}


def propose(watched: Watched, github: GitHub, folder: Path) -> str:
    """Run the proposing command in a checkout of its own, and return what it prints."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    (folder / "Pulumi.yaml").write_text("name: mlops\n")
    (folder / FILE).write_text((watched.platform.root / FILE).read_text())
    variables = {**os.environ, **environment(github), **stores.environment()}
    command = [MLOPS, "propose", ENDPOINT, "--tagged", "--stack", "local"]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_account_of_the_drift_job_creates_no_job_but_that_of_its_template(watched: Watched) -> None:
    create = ("kubectl", "create", "job", "another", "--image=lab.local/other:1", *NAMESPACE, "--as", ACCOUNT)

    def refusal() -> str:
        """Error of the API server, which knows a new policy after some seconds."""
        tried = watched.platform.lab(*create, "--dry-run=server", check=False)
        return tried.stderr if tried.returncode else ""

    assert "the pod is not that of the template" in wait_for("the policy of the drift job", refusal, seconds=60)


def test_shifted_requests_end_in_an_alert_one_pull_request_and_a_release(
    watched: Watched, github: GitHub, tmp_path: Path
) -> None:
    platform, served = watched.platform, watched.version
    watched.learn_without(50)
    watched.ask(shifted())

    first, second = watched.start(f"{ENDPOINT}-drift"), watched.start(f"{ENDPOINT}-drift")
    said = [watched.ended(job) for job in (first, second)]
    assert any("because 1 window drifted" in each for each in said)
    (job,) = watched.retrainings
    assert all(job["metadata"]["name"] in each for each in said)
    assert watched.tags(served)["drift_windows"] == "1"
    wait_for("the alert", lambda: "ModelDrift" in alerts(), seconds=120)
    watched.ended(job["metadata"]["name"])
    assert "passed its validation and is proposed" in watched.validated()
    made = max(platform.versions())
    assert json.loads(watched.tags(made)["proposed"])["instead_of"] == served

    assert f"version {served} -> {made} in local (opened)" in propose(watched, github, tmp_path / "checkout")
    assert "(unchanged)" in propose(watched, github, tmp_path / "checkout")
    (pull,) = github.pulls
    assert "The model was trained again, because 1 window drifted" in pull["body"]
    (platform.root / FILE).write_text(github.git("show", f"{pull['head']['ref']}:{FILE}") + "\n")
    platform.up()
    assert platform.predict(dataset.customers(1)).headers["x-model-version"] == str(made)
    assert "not retrained: 0 of 1 windows" in watched.look()
    assert len(watched.retrainings) == 1
    wait_for("the end of the alert", lambda: "ModelDrift" not in alerts(), seconds=120)


def test_jobs_that_are_killed_in_the_middle_go_on(watched: Watched) -> None:
    platform, served = watched.platform, watched.version
    client = MlflowClient(forward.urls()["mlflow"])
    for number in platform.versions():
        for tag in ("retrain", "proposed", DRIFT_AT, DRIFT_RUN):  # so that the same hour is looked at again
            client.delete_model_version_tag(ENDPOINT, str(number), tag)
    before = [job["metadata"]["name"] for job in watched.retrainings]
    watched.learn_without(100)
    watched.ask(shifted())

    killed = watched.start(f"{ENDPOINT}-drift")
    watched.kill(killed)
    with ThreadPoolExecutor(1) as beside:  # the training may end before the drift job
        killing = beside.submit(watched.kill_retraining, before)
        watched.look()
        training = killing.result()
    assert watched.tags(served)["drift_windows"] == "1"
    watched.ended(training)
    assert "passed its validation and is proposed" in watched.validated()
    assert len(watched.retrainings) == len(before) + 1


def test_a_training_takes_the_rows_that_the_drift_job_joined_with_their_outcomes(watched: Watched) -> None:
    platform, before = watched.platform, watched.keys()
    folder, table = f"s3://{BUCKET}/outcomes/e2e/", f"s3://{BUCKET}/datasets/outcomes/{ENDPOINT}/joined.parquet"
    platform.set({f"endpoints.{ENDPOINT}.outcomes": folder})
    platform.up()
    watched.ask(dataset.churn_table().drop(columns="churn").head(ROWS))
    (key, *_) = (key for key in watched.keys() - before if "/moved-" in key)
    known = pd.read_parquet(io.BytesIO(watched.read(key)))[["request_id", "row", "prediction"]]
    body = known.rename(columns={"prediction": "label"}).to_csv(index=False).encode()
    watched.store.put_object(Bucket=BUCKET, Key="outcomes/e2e/hour.csv", Body=body)
    if "drift_at" in watched.tags(watched.version):  # the hour may be recorded already
        client = MlflowClient(forward.urls()["mlflow"])
        client.delete_model_version_tag(ENDPOINT, str(watched.version), "drift_at")
    assert f"{len(known)} joined rows are written to {table}" in watched.look()

    former = max(platform.versions())
    platform.set({"training.churn.dataset": table})
    platform.up()
    wait_for("the version of the training", lambda: max(platform.versions()) > former, seconds=120)
    made = watched.tags(max(platform.versions()))
    assert (made["dataset"], made["project"]) == (table, "churn")
