"""The main job, end to end and in the order of a team's first days; the last test takes it all down again."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from lab import dataset, paths
from lab.cluster import forward, layout
from lab.cluster.process import running
from tests.e2e.conftest import (
    ENDPOINT,
    LAB,
    OURS,
    Platform,
    answering,
    fresh_shell,
    parameters_of,
    pods,
    training_jobs,
    wait_for,
)
from tests.e2e.load import Answers, load

pytestmark = pytest.mark.e2e

CUSTOMERS = dataset.customers(2)
NO_TENURE = "s3://mlops-artifacts/datasets/no-tenure.csv"
ROWS_PREDICTED = 20_000
VERSION = f"endpoints.{ENDPOINT}.version"


def served(platform: Platform) -> int:
    return int(platform.predict(CUSTOMERS).headers["X-Model-Version"])


@pytest.fixture(scope="module")
def versions(platform: Platform) -> tuple[int, int]:
    """Two versions of the model: the one that is served at first, and one trained with another depth."""
    old, newest = served(platform), max(platform.versions())
    depth = parameters_of(platform, platform.versions()[newest])["max_depth"]
    platform.set({"training.churn.parameters.max_depth": 4 if depth != "4" else 5})
    platform.up()
    wait_for("another version", lambda: max(platform.versions()) > newest, seconds=180)
    return old, max(platform.versions())


def release(platform: Platform, version: int, answers: Answers) -> None:
    """Bumps the served version, which is all that a preview shows; the load has met both versions when this returns."""
    before = answers.latest
    platform.set({VERSION: version})
    changes = platform.changes()
    assert len(changes) == 1
    assert next(iter(changes)).endswith(f"kubernetes:apps/v1:Deployment::{ENDPOINT}")
    assert next(iter(changes.values())) == "update"
    began = time.monotonic()
    platform.up()
    wait_for("an answer of the new version", lambda: answers.latest == str(version), seconds=60)
    took = time.monotonic() - began
    wait_until_alone(platform, version)
    said = f"live after {took:.0f} s, alone after {time.monotonic() - began:.0f} s, p99 {answers.p99(began):.1f} ms"
    print(f"release {before} -> {version}: {said}, so far {dict(answers.by_version)}")


def test_up_serves_the_version_it_trained(platform: Platform) -> None:
    answer = platform.predict(CUSTOMERS)
    assert answer.status_code == 200
    assert int(answer.headers["X-Model-Version"]) in platform.versions()
    assert len(answer.json()["predictions"]) == len(CUSTOMERS)


def test_a_registered_version_says_what_it_was_made_of(platform: Platform) -> None:
    version = platform.versions()[served(platform)]
    run = platform.tracking("runs/get", run_id=version["run_id"])["run"]
    metrics = {metric["key"] for metric in run["data"]["metrics"]}
    parameters = {parameter["key"]: parameter["value"] for parameter in run["data"]["params"]}
    tags = {tag["key"] for tag in version["tags"]}
    assert {"accuracy", "f1", "roc_auc"} <= metrics
    assert {"n_estimators", "max_depth", "dataset_size"} <= set(parameters) | metrics
    assert {"git_commit", "image", "stack", "pulumi_urn", "dataset_digest"} <= tags
    assert version["description"]


def test_a_second_up_changes_nothing(platform: Platform) -> None:
    assert platform.changes() == {}
    jobs = training_jobs(platform, "churn")
    platform.up()
    assert [job["metadata"]["uid"] for job in training_jobs(platform, "churn")] == [j["metadata"]["uid"] for j in jobs]


def test_a_cluster_of_the_users_own_kubeconfig_is_deployed_to(platform: Platform) -> None:
    users = {"KUBECONFIG": str(paths.kubeconfig())}
    said = platform.lab("up", "--context", layout.NAME, environment=users).stdout
    assert f"{ENDPOINT} version {served(platform)}" in said
    refused = platform.lab("up", "--context", "elsewhere", check=False, environment=users)
    assert (refused.returncode, "no context elsewhere; write one of mlops-lab" in refused.stderr) == (1, True)


def test_refresh_finds_no_drift(platform: Platform) -> None:
    platform.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_edits_by_hand_are_found_and_put_right_and_the_autoscalers_pods_are_left_alone(
    platform: Platform, tmp_path: Path
) -> None:
    serving = ("-n", "ml-serving")
    endpoint = (f"deployment/{ENDPOINT}", *serving)
    with platform.config_restored():
        platform.set({f"endpoints.{ENDPOINT}.replicas.{key}": pods for key, pods in (("min", 2), ("max", 3))})
        platform.up()
        wait_for("two pods", lambda: len(answering(platform)) == 2, seconds=60)
        platform.kubectl("scale", "deployment/mlflow", "-n", "mlops-platform", "--replicas=1")
        platform.kubectl("label", "service", ENDPOINT, *serving, "app.kubernetes.io/part-of=else", "--overwrite")
        platform.kubectl("set", "env", *endpoint, "--containers=server", "THREADS=3")
        platform.kubectl("rollout", "restart", *endpoint)
        found = {
            urn.split("$")[-1].removeprefix("kubernetes:"): step for urn, step in platform.changes("--refresh").items()
        }
        assert found == {
            "apps/v1:Deployment::mlflow": "update",
            f"apps/v1:Deployment::{ENDPOINT}": "update",
            f"core/v1:Service::{ENDPOINT}": "update",
        }
        report = json.loads(platform.lab("drift", "--json", check=False).stdout)
        part_of, threads = 'metadata.labels["app.kubernetes.io/part-of"]', "containers[server].env[THREADS].value"
        assert {
            (each["field"].removeprefix("spec.template.spec."), str(each["stack"]), str(each["cluster"]))
            for each in report
            if each["stack"] is not None
        } == {("spec.replicas", "2", "1"), (part_of, "mlops", "else"), (threads, "2", "3")}
        assert {each["changed_by"] for each in report} >= {"kubectl-label", "kubectl-set", "kubectl-rollout"}
        edited = json.dumps({"spec": {"replicas": 3}})
        platform.kubectl("patch", *endpoint, "--field-manager=kubectl-edit", "--patch", edited)
        with platform.watched(tmp_path / "replicas", ".spec.replicas", *endpoint) as replicas:
            platform.pulumi("up", "--yes", "--refresh")
            # The autoscaler takes the third pod away when it likes; fewer than two would be the program's doing.
            assert set(replicas()) <= {"2", "3"}
        assert platform.get("deployment", "mlflow", "-n", "mlops-platform")["spec"]["replicas"] == 2
        labels = platform.get("service", ENDPOINT, *serving)["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "mlops"
        template = platform.get("deployment", ENDPOINT, *serving)["spec"]["template"]
        assert "annotations" not in template["metadata"]
        (server,) = template["spec"]["containers"]
        assert {"name": "THREADS", "value": "2"} in server["env"]
        assert platform.changes() == {}
    platform.up()


def test_other_hyperparameters_train_another_version_while_the_old_one_is_served(
    platform: Platform, versions: tuple[int, int]
) -> None:
    old, new = versions
    registered = platform.versions()
    depths = [parameters_of(platform, registered[number])["max_depth"] for number in (new - 1, new)]
    assert depths[0] != depths[1]
    assert served(platform) == old


def test_releases_a_lost_pod_and_a_drain_under_load_lose_no_request(
    platform: Platform, versions: tuple[int, int]
) -> None:
    with platform.config_restored():
        platform.set({f"endpoints.{ENDPOINT}.replicas.{key}": pods for key, pods in (("min", 2), ("max", 3))})
        platform.up()
        wait_for("two pods", lambda: len(answering(platform)) == 2, seconds=60)
        with load(f"{platform.endpoint_url()}/invocations", {"dataframe_records": CUSTOMERS}) as answers:
            wait_for("an answer", lambda: answers.latest, seconds=20)
            began = time.monotonic()
            wait_for("ten seconds of answers", lambda: time.monotonic() > began + 10, seconds=20)
            print(f"before: p99 {answers.p99(began):.1f} ms")
            release(platform, versions[1], answers)
            release(platform, versions[0], answers)
            lose_a_pod(platform, answers)
            drain_its_node(platform, answers)
        print(f"{len(answers.all)} answers, {len(answers.failures)} failures")
    assert answers.failures == []
    assert set(answers.by_version) == {str(version) for version in versions}
    assert len(answers.all) >= 5000
    platform.up()


@pytest.mark.nightly
def test_a_file_is_predicted_whole_while_a_release_goes_on(
    platform: Platform, versions: tuple[int, int], tmp_path: Path
) -> None:
    rows, result = tmp_path / "rows.csv", tmp_path / "predictions.csv"
    table = pd.concat([pd.DataFrame(dataset.customers(ROWS_PREDICTED // 4))] * 4)
    table.assign(id=range(ROWS_PREDICTED)).to_csv(rows, index=False)
    singly = ("--out", result, "--keep", "id", "--rows", "1", "--in-flight", "1")
    command = [LAB.with_name("mlops"), "predict", ENDPOINT, rows, *singly]
    with platform.config_restored():
        platform.set({VERSION: versions[1]})
        with subprocess.Popen(command, env=fresh_shell(), stderr=subprocess.PIPE, text=True) as predicting:
            platform.up()
            said = predicting.communicate(timeout=300)[1]
    assert predicting.returncode == 0, said
    predicted = pd.read_csv(result)
    assert predicted.id.tolist() == list(range(ROWS_PREDICTED))
    assert predicted.prediction.isin(["Yes", "No"]).all()
    assert set(predicted.model_version) == set(versions)
    platform.up()


def test_load_adds_a_pod_and_its_end_takes_it_away_and_no_request_is_lost(platform: Platform) -> None:
    scaling = {"replicas.min": 1, "replicas.max": 3, "autoscaling.scale_down_stabilization_seconds": 15}
    url, body = f"{platform.endpoint_url()}/invocations", {"dataframe_records": CUSTOMERS}
    with platform.config_restored():
        platform.set({f"endpoints.{ENDPOINT}.{key}": value for key, value in scaling.items()})
        platform.up()
        wait_for("a single pod", lambda: len(pods(platform, "ml-serving", ENDPOINT)) == 1, seconds=180)
        began = time.monotonic()
        with load(url, body, per_second=250) as many:
            wait_for("a second pod", lambda: len(answering(platform)) > 1, seconds=180)
        out = time.monotonic()
        with load(url, body, per_second=10) as few:
            wait_for("a single pod again", lambda: len(pods(platform, "ml-serving", ENDPOINT)) == 1, seconds=300)
        print(f"out after {out - began:.0f} s, in after {time.monotonic() - out:.0f} s; {len(many.all)} answers")
    assert many.failures + few.failures == []
    platform.up()


def lose_a_pod(platform: Platform, answers: Answers) -> None:
    began, lost = time.monotonic(), min(answering(platform))
    platform.kubectl("delete", "pod", lost, "-n", "ml-serving")
    wait_for("another pod", lambda: len(answering(platform) - {lost}) == 2, seconds=60)
    print(f"a pod deleted: p99 {answers.p99(began):.1f} ms")


def drain_its_node(platform: Platform, answers: Answers) -> None:
    """The one node that runs pods: the first pod leaves, and nothing may take the second while no other can start."""
    began, before = time.monotonic(), answering(platform)
    ours = f"--pod-selector=app.kubernetes.io/instance={ENDPOINT}"
    try:
        drained = platform.lab(
            "kubectl", "drain", layout.CPU_NODE, ours, "--delete-emptydir-data", "--timeout=20s", check=False
        )
        assert "violate the pod's disruption budget" in drained.stderr
        assert len(answering(platform) & before) == 1
    finally:
        platform.kubectl("uncordon", layout.CPU_NODE)
    wait_for("two pods again", lambda: len(answering(platform)) == 2, seconds=60)
    print(f"the node drained: p99 {answers.p99(began):.1f} ms")


def test_a_version_that_does_not_exist_is_refused_before_anything_is_touched(platform: Platform) -> None:
    before, known = served(platform), ", ".join(map(str, sorted(platform.versions())))
    serving = answering(platform)
    with platform.config_restored():
        platform.set({VERSION: 99})
        for refused in (platform.pulumi("preview", check=False), platform.up(check=False)):
            assert refused.returncode != 0
            told = f"{ENDPOINT}: version {before} -> 99 is refused because {ENDPOINT} has no version 99"
            assert f"{told} (versions that exist: {known}); mlops models {ENDPOINT}" in refused.stdout + refused.stderr
    assert (served(platform), answering(platform)) == (before, serving)
    assert platform.changes() == {}


@pytest.mark.parametrize("minutes", [0, pytest.param(10, marks=pytest.mark.nightly)])
def test_while_mlflow_and_its_database_are_stopped_pods_start_and_a_former_version_goes_live(
    platform: Platform, versions: tuple[int, int], minutes: int
) -> None:
    body = {"dataframe_records": CUSTOMERS}
    with platform.config_restored():
        platform.set({VERSION: versions[1], f"endpoints.{ENDPOINT}.replicas.min": 2})
        platform.up()
        wait_for("two pods", lambda: len(answering(platform)) == 2, seconds=120)
        with (
            load(f"{platform.endpoint_url()}/invocations", body) as answers,
            stopped(platform, "deployment/mlflow", "statefulset/postgres"),
        ):
            end = time.monotonic() + 60 * minutes
            lose_a_pod(platform, answers)
            platform.set({VERSION: versions[0]})
            assert "a rollback to a version that this stack has released before" in platform.up().stdout
            wait_until_alone(platform, versions[0])
            wait_for("the end of the stop", lambda: time.monotonic() >= end, seconds=60 * minutes + 1)
            lose_a_pod(platform, answers)
    print(f"{len(answers.all)} answers")
    assert answers.failures == []
    platform.up()


def scaled(platform: Platform, workload: str) -> dict[str, Any]:
    return platform.get(workload, "-n", "mlops-platform")


@contextmanager
def stopped(platform: Platform, *workloads: str) -> Generator[None]:
    """Workloads of mlops-platform that have no pod while the block runs."""
    scale = ("kubectl", "scale", "--namespace", "mlops-platform")
    before = {one: scaled(platform, one)["spec"]["replicas"] for one in workloads}
    try:
        platform.lab(*scale, "--replicas=0", *workloads)
        for one in workloads:
            wait_for("no pod", lambda one=one: not scaled(platform, one)["status"].get("replicas"), seconds=90)
        yield
    finally:
        for one, replicas in before.items():
            platform.lab(*scale, f"--replicas={replicas}", one)
        for one in before:
            platform.kubectl("rollout", "status", one, "-n", "mlops-platform", "--timeout=180s")


@pytest.mark.nightly
def test_a_release_that_fails_is_taken_back_in_the_cluster_where_that_is_asked_for(platform: Platform) -> None:
    before, serving = served(platform), answering(platform)
    number = version_without_files()
    with platform.config_restored():
        platform.set({f"endpoints.{ENDPOINT}.rollback_on_failure": "true", VERSION: number})
        failed = platform.up(check=False)
        assert_taken_back(failed, number)
        wait_until_alone(platform, before)
    platform.up()
    assert set[str]() < answering(platform) <= serving  # nothing was started for it
    assert platform.changes() == {}


@pytest.mark.nightly
def test_a_release_that_fails_is_an_error_even_if_the_number_of_pods_changes_before_kubernetes_begins_it(
    platform: Platform,
) -> None:
    before, number = served(platform), version_without_files()
    deployment = ("deployment", ENDPOINT, "-n", "ml-serving")
    manager = running("kube-controller-manager")
    assert manager
    with platform.config_restored(), ThreadPoolExecutor(1) as engine:
        platform.set({f"endpoints.{ENDPOINT}.replicas.min": 2})
        platform.up()
        wait_for("two pods", lambda: len(answering(platform)) == 2, seconds=120)
        former = platform.get(*deployment)["metadata"]["generation"]
        platform.set({f"endpoints.{ENDPOINT}.rollback_on_failure": "true", VERSION: number})
        os.kill(manager.pid, signal.SIGSTOP)
        try:
            update = engine.submit(platform.up, check=False)
            wait_for(
                "the new template", lambda: platform.get(*deployment)["metadata"]["generation"] > former, seconds=60
            )
            platform.kubectl("scale", *deployment, "--replicas=1")
        finally:
            os.kill(manager.pid, signal.SIGCONT)
        assert_taken_back(update.result(), number)
        wait_until_alone(platform, before)
    platform.up()


def version_without_files() -> str:
    """Register a version whose files are not in the store, and return its number."""
    made = httpx.post(
        f"{forward.urls()['mlflow']}/api/2.0/mlflow/model-versions/create",
        json={"name": ENDPOINT, "source": "s3://mlops-artifacts/mlflow/nothing"},
        timeout=30,
    )
    return made.raise_for_status().json()["model_version"]["version"]


def assert_taken_back(failed: subprocess.CompletedProcess[str], number: str) -> None:
    """The update failed with the reason of the pods, and the Deployment was rolled back."""
    said = failed.stdout + failed.stderr
    print(said)
    assert failed.returncode != 0
    assert f"{ENDPOINT} version {number} has no model at s3://" in said
    assert "the failed release was rolled back in the cluster" in said


def wait_until_alone(platform: Platform, version: int) -> None:
    """No pod is left that would serve another version."""

    def is_alone() -> bool:
        there = pods(platform, "ml-serving", ENDPOINT)
        return {pod["metadata"]["labels"]["app.kubernetes.io/version"] for pod in there} == {str(version)}

    wait_for("the last pod of the other version to go", is_alone, seconds=120)


def test_a_dataset_without_a_column_fails_the_job_with_the_name_of_the_column(platform: Platform) -> None:
    with platform.config_restored():
        platform.add_training("broken", dataset=NO_TENURE)
        put_dataset_without_tenure(platform)
        platform.up()
        wait_for(
            "a failed Job",
            lambda: [
                condition
                for job in training_jobs(platform, "broken")
                for condition in job["status"].get("conditions", [])
                if condition["type"] == "Failed"
            ],
            seconds=120,
        )
        (job,) = training_jobs(platform, "broken")
        assert job["status"]["failed"] == 1, "bad data is not tried again"
        log = platform.kubectl("logs", "-n", "ml-training", "-l", "app.kubernetes.io/instance=broken", "--tail=1")
        assert "tenure" in log.strip().splitlines()[-1]
    platform.up()
    assert training_jobs(platform, "broken") == []


def put_dataset_without_tenure(platform: Platform) -> None:
    access, secret = (
        platform.pulumi("config", "get", f"mlops:artifact_store_{name}_key").stdout.strip()
        for name in ("access", "secret")
    )
    dataset.put(forward.urls()["s3"], access, secret, NO_TENURE, dataset.churn_table().drop(columns="tenure"))


def test_a_gpu_job_is_scheduled_onto_the_gpu_node_and_nowhere_else(platform: Platform) -> None:
    with platform.config_restored():
        platform.add_training("on-gpu", node_pool="gpu", gpus=1)
        platform.up()
        scheduled = wait_for(
            "a scheduled pod",
            lambda: [pod for pod in pods(platform, "ml-training", "on-gpu") if pod["spec"].get("nodeName")],
            seconds=60,
        )
        nodes = {node["metadata"]["name"]: node["metadata"]["labels"] for node in platform.items("nodes")}
        assert {nodes[pod["spec"]["nodeName"]]["mlops/node-pool"] for pod in scheduled} == {"gpu"}
        on_gpu = {n for n, labels in nodes.items() if labels["mlops/node-pool"] == "gpu"}
        everywhere = [p for p in platform.items("pods", "--all-namespaces") if p["spec"].get("nodeName") in on_gpu]
        assert {pod["metadata"]["labels"]["app.kubernetes.io/instance"] for pod in everywhere} == {"on-gpu"}
    platform.up()


def test_a_gpu_job_without_the_toleration_stays_pending_with_the_schedulers_reason(platform: Platform) -> None:
    image, name = "lab.local/none:1", "no-toleration"
    container = {
        "name": "train",
        "image": image,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    spec = {
        "nodeSelector": {"mlops/node-pool": "gpu"},
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    overrides = json.dumps({"spec": spec})
    platform.kubectl("run", name, "-n", "ml-training", "--image", image, "--overrides", overrides)
    try:
        reason = wait_for("the scheduler's reason", lambda: unschedulable(platform, name), seconds=60)
        assert "untolerated taint" in reason
        assert "nodeName" not in platform.get("pod", name, "-n", "ml-training")["spec"]
    finally:
        platform.kubectl("delete", "pod", name, "-n", "ml-training", "--wait=false")


def unschedulable(platform: Platform, name: str) -> str:
    conditions = platform.get("pod", name, "-n", "ml-training")["status"].get("conditions", [])
    return next((c["message"] for c in conditions if c.get("reason") == "Unschedulable"), "")


def test_killing_the_engine_in_the_middle_of_up_leaves_nothing_behind(
    platform: Platform, versions: tuple[int, int]
) -> None:
    before = served(platform)
    with platform.config_restored():
        platform.add_training("again")
        platform.set({VERSION: versions[1]})
        process = subprocess.Popen(
            [LAB, "pulumi", "up", "--yes", "--skip-preview", "--stack", "local", "--non-interactive"],
            cwd=platform.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for("the first Job", lambda: training_jobs(platform, "again"), seconds=60)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        platform.lab("up")
        assert len(training_jobs(platform, "again")) == 1
        assert served(platform) == versions[1]
        assert platform.changes() == {}
    platform.up()
    wait_until_alone(platform, before)


@pytest.mark.parametrize("process", ["kubelet", "containerd", "etcd"])
def test_killing_a_process_of_the_cluster_is_repaired_by_lab_up_and_the_model_still_serves(
    platform: Platform, process: str
) -> None:
    before = served(platform)
    found = running(process)
    assert found
    os.kill(found.pid, signal.SIGKILL)
    wait_for(f"the end of {process}", lambda: not found.alive, seconds=10)
    platform.lab("up", "--cluster-only")
    assert served(platform) == before


def test_destroy_leaves_the_cluster_empty_of_ours(platform: Platform) -> None:
    platform.pulumi("destroy", "--yes", "--skip-preview")
    left = {namespace["metadata"]["name"] for namespace in platform.items("namespaces")}
    assert left.isdisjoint(OURS)
    assert platform.items("persistentvolumes") == []
