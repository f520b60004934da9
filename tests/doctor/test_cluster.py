"""Findings about a running cluster: nodes, pods, certificates, MLflow and served versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from components.endpoint.release import Release, text
from contract import names
from doctor.findings import Finding, Level
from doctor.local import demand
from doctor.stack_file import Stack
from tests.doctor.conftest import NOW, World, container, deployment, node, pem, pod
from tests.doctor.stacks import LOCAL, stack

RUNNING = ("Kubernetes API", "node pools", "room", "images", "certificates", "nodes", "platform", "pods in ml-serving")


@pytest.fixture
def local(tmp_path: Path) -> Stack:
    """A stack in a cluster that exists already."""
    return stack(tmp_path, LOCAL)


@pytest.mark.parametrize("name", [*RUNNING, "MLflow", "champions", "endpoint churn-predictor"])
def test_a_healthy_cluster_has_no_fault(world: World, local: Stack, name: str) -> None:
    found = world.findings(local, name)
    assert found
    assert {each.level for each in found} == {Level.OK}


@pytest.mark.parametrize(("drift", "gib"), [(None, 0), ({"memory": "6Gi"}, 5)])
def test_a_drift_job_that_is_larger_than_each_training_run_needs_room(
    tmp_path: Path, drift: Mapping[str, str] | None, gib: int
) -> None:
    endpoint: dict[str, object] = {"version": 1, "replicas": {"min": 1, "max": 2}, "prediction_log": {}, "drift": drift}
    found = stack(tmp_path, {**LOCAL, "endpoints": {"churn-predictor": endpoint}})
    (_, rest), (_, peak) = demand(found)
    surge = 2 * (1408 << 20)  # the second pod and that of a release, with their shippers
    assert peak - rest - surge == (1 + gib) * (1 << 30)


@dataclass(frozen=True)
class Fault:
    """A fault, and what has to be in its finding."""

    check: str
    level: Level
    what: str
    mend: str
    answers: dict[str, Any]
    """Answers of kubectl, or of MLflow and the endpoint, that are different."""


def is_found(fault: Fault, findings: list[Finding]) -> None:
    found = [each for each in findings if fault.what in f"{each.what}: {each.why}"]
    assert [each.level for each in found] == [fault.level], findings
    assert fault.mend in found[0].mend


def client(ends: datetime) -> dict[str, Any]:
    """A kubeconfig whose client certificate ends then."""
    return {"clusters": [{"cluster": {}}], "users": [{"user": {"client-certificate-data": pem(ends)}}]}


NOT_READY = [
    {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting"}
]
PRESSED = [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True", "reason": "NoSpace"}]
PENDING = {
    "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes: Insufficient cpu"}
    ]
}
PULL = container(state={"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image x"}})
CRASH = container(
    state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
    lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": NOW.isoformat()}},
)
RESTARTED = container(
    ready=True, state={"running": {}}, lastState={"terminated": {"exitCode": 1, "finishedAt": NOW.isoformat()}}
)
OTHER_BEST = (200, {"registered_model": {"aliases": [{"alias": "champion", "version": "2"}]}})
REGISTERED, VERSION = "/api/2.0/mlflow/registered-models/get", "/api/2.0/mlflow/model-versions/get"
FORBIDDEN = 'error: Error from server (Forbidden): pods is forbidden: User "me" cannot list resource "pods" in'
NO_TUNNEL = (
    'error: error upgrading connection: pods "x" is forbidden: User "me" cannot create resource "pods/portforward" in'
)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(
            "Kubernetes API",
            Level.PROBLEM,
            "the cluster does not respond",
            "run kubectl --context mine cluster-info",
            {"version": "error: Unable to connect to the server: dial tcp: i/o timeout"},
        ),
        Fault(
            "Kubernetes API",
            Level.WARNING,
            "kubectl is v1.31.0, and the cluster v1.35.4",
            "install kubectl 1.35",
            {
                "version": {
                    "clientVersion": {"gitVersion": "v1.31.0", "minor": "31"},
                    "serverVersion": {"gitVersion": "v1.35.4", "minor": "35"},
                }
            },
        ),
        Fault(
            "nodes",
            Level.PROBLEM,
            "node node-1 is not ready: NodeStatusUnknown Kubelet stopped",
            "run kubectl --context mine describe node node-1",
            {"get nodes": [node("node-1", conditions=NOT_READY)]},
        ),
        Fault(
            "nodes",
            Level.WARNING,
            "node node-1 has DiskPressure: NoSpace",
            "run kubectl --context mine describe node node-1",
            {"get nodes": [node("node-1", conditions=PRESSED)]},
        ),
        Fault(
            "nodes",
            Level.WARNING,
            "node node-1 is cordoned",
            "run kubectl --context mine uncordon node-1",
            {"get nodes": [node("node-1", spec={"unschedulable": True})]},
        ),
        Fault(
            "pods in ml-serving",
            Level.PROBLEM,
            "pod x is not ready: Unschedulable 0/2 nodes: Insufficient cpu",
            "run kubectl --context mine -n ml-serving describe pod x",
            {"get pods ml-serving": [pod("x", ready=False, phase="Pending", **PENDING)]},
        ),
        Fault(
            "pods in ml-serving",
            Level.PROBLEM,
            "pod x is not ready: container server waits: ImagePullBackOff Back-off pulling image x",
            "run kubectl --context mine -n ml-serving describe pod x",
            {"get pods ml-serving": [pod("x", ready=False, containerStatuses=[PULL])]},
        ),
        Fault(
            "pods in ml-serving",
            Level.PROBLEM,
            "CrashLoopBackOff back-off 5m0s; it ended with exit code 137: OOMKilled",
            "run kubectl --context mine -n ml-serving logs x --all-containers --prefix --tail 50",
            {"get pods ml-serving": [pod("x", ready=False, containerStatuses=[CRASH])]},
        ),
        Fault(
            "pods in ml-serving",
            Level.PROBLEM,
            "container server runs and is not ready",
            "run kubectl --context mine -n ml-serving logs x",
            {"get pods ml-serving": [pod("x", ready=False, containerStatuses=[container(state={"running": {}})])]},
        ),
        Fault(
            "pods in ml-serving",
            Level.WARNING,
            "pod x restarted: container server",
            "--previous",
            {"get pods ml-serving": [pod("x", containerStatuses=[RESTARTED])]},
        ),
        Fault(
            "pods in ml-serving",
            Level.UNCHECKED,
            "it needs the Kubernetes permission to list pods",
            "kubectl auth can-i list pods",
            {"get pods ml-serving": FORBIDDEN},
        ),
        Fault(
            "MLflow",
            Level.PROBLEM,
            "MLflow does not respond",
            "run kubectl --context mine -n mlops-platform get pods,events",
            {"forward mlflow": "error: unable to forward port because pod is not running"},
        ),
        Fault(
            "MLflow",
            Level.UNCHECKED,
            "it needs the Kubernetes permission to create pods/portforward",
            "kubectl auth can-i create pods/portforward",
            {"forward mlflow": NO_TUNNEL},
        ),
        Fault(
            "endpoint churn-predictor",
            Level.WARNING,
            "churn-predictor is in the stack file and not in the cluster",
            "run pulumi up",
            {"get deployments ml-serving": []},
        ),
        Fault(
            "endpoint churn-predictor",
            Level.WARNING,
            "the stack file says version 1 of churn-predictor, and the cluster has version 7",
            "run pulumi up, or write the version that is served into the file",
            {"get deployments ml-serving": [deployment("7")]},
        ),
        Fault(
            "endpoint churn-predictor",
            Level.PROBLEM,
            "a pod of churn-predictor responds with version 1, and its Deployment has 7",
            "rollout status deployment/churn-predictor",
            {"get deployments ml-serving": [deployment("7")]},
        ),
        Fault(
            "endpoint churn-predictor",
            Level.PROBLEM,
            "no pod of churn-predictor responds: Service churn-predictor cannot be reached through kubectl",
            "rollout status deployment/churn-predictor",
            {"forward churn-predictor": "error: unable to forward port because pod is not running"},
        ),
        Fault(
            "champions",
            Level.UNCHECKED,
            "MLflow did not respond",
            "",
            {"forward mlflow": "127.0.0.1:1"},
        ),
        Fault(
            "certificates",
            Level.WARNING,
            "that is in 9 days; then the cluster refuses every request",
            "get a new kubeconfig",
            {"config": client(NOW + timedelta(days=9, hours=1))},
        ),
        Fault(
            "certificates",
            Level.PROBLEM,
            "the client certificate of the kubeconfig is valid until",
            "get a new kubeconfig",
            {"config": client(NOW - timedelta(days=1))},
        ),
        Fault(
            "certificates",
            Level.UNCHECKED,
            "the kubeconfig has no certificate in itself",
            "",
            {"config": {"clusters": [{"cluster": {}}], "users": [{"user": {"exec": {}}}]}},
        ),
        Fault(
            "node pools",
            Level.PROBLEM,
            "no node has the labels of node pool gpu: mlops/node-pool=gpu",
            "run kubectl --context mine label node NODE mlops/node-pool=gpu",
            {"get nodes": [node("node-1")]},
        ),
        Fault(
            "node pools",
            Level.PROBLEM,
            "no node of pool cpu is large enough for one run of churn: cpu 500m, memory 1Gi",
            "lower the requests in mlops:training.churn",
            {"get nodes": [node("node-1", cpu="400m"), node("node-2", labels={"mlops/node-pool": "gpu"})]},
        ),
        Fault(
            "room",
            Level.PROBLEM,
            "the nodes have room for 0.2 CPUs and 16 GiB, and the stack requests 0.4 CPUs and 2.5 GiB at rest",
            "add a node",
            {"get nodes": [node("node-1", cpu="200m")]},
        ),
        Fault(
            "room",
            Level.WARNING,
            "the nodes have room for 1 CPUs and 16 GiB, and the stack requests 1.1 CPUs and 5.5 GiB at its peak",
            "add a node",
            {"get nodes": [node("node-1", cpu="1")]},
        ),
        Fault(
            "images",
            Level.WARNING,
            "no node has mlops:images.tracking: lab.local/tracking:1",
            "run docker manifest inspect lab.local/tracking:1",
            {"get nodes": [{"metadata": {"name": "new"}, "spec": {}, "status": {}}]},
        ),
    ],
)
def test_a_fault_of_the_cluster_has_one_line_with_the_command_that_mends_it(
    world: World, local: Stack, fault: Fault
) -> None:
    world.objects |= fault.answers
    is_found(fault, world.faults(local, fault.check))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(
            "MLflow",
            Level.PROBLEM,
            "MLflow responds 500 broken",
            "run kubectl --context mine -n mlops-platform logs deployment/mlflow",
            {"/health": (500, "broken")},
        ),
        Fault(
            "champions",
            Level.PROBLEM,
            "MLflow has no model churn-predictor",
            "train one: mlops train",
            {REGISTERED: (404, {})},
        ),
        Fault(
            "champions",
            Level.PROBLEM,
            "MLflow has no version 1 of churn-predictor",
            "run mlops models churn-predictor",
            {VERSION: (404, {})},
        ),
        Fault(
            "champions",
            Level.WARNING,
            "churn-predictor has no @champion",
            "run mlops promote churn-predictor 1 production",
            {REGISTERED: (200, {"registered_model": {}})},
        ),
        Fault(
            "champions",
            Level.WARNING,
            "@champion of churn-predictor is version 2, and the stack file serves 1",
            "or write version 2 into the file",
            {REGISTERED: OTHER_BEST},
        ),
        Fault(
            "champions", Level.UNCHECKED, "MLflow responded 403: Invalid Host", "", {REGISTERED: (403, "Invalid Host")}
        ),
        Fault(
            "endpoint churn-predictor",
            Level.PROBLEM,
            "churn-predictor responds 503 to /ping",
            "rollout status deployment/churn-predictor",
            {"/ping": (503, "")},
        ),
    ],
)
def test_a_response_that_is_wrong_has_one_line_with_the_command_that_mends_it(
    world: World, local: Stack, fault: Fault
) -> None:
    world.responses |= fault.answers
    is_found(fault, world.faults(local, fault.check))


def test_other_files_under_the_number_of_the_served_version_are_a_problem(world: World, local: Stack) -> None:
    served = deployment("1")
    released = Release(model="churn-predictor", version=1, source="s3://bucket/1", digest="a" * 64)
    served["metadata"]["annotations"] = {names.RELEASE: text(released)}
    world.objects["get deployments ml-serving"] = [served]
    world.responses[VERSION] = 200, {"model_version": {"tags": [{"key": "model_digest", "value": "b" * 64}]}}
    said = f"version 1 of churn-predictor has the digest {'b' * 12} in MLflow, and was released with {'a' * 12}"
    is_found(
        Fault("champions", Level.PROBLEM, said, "train churn-predictor again", {}), world.faults(local, "champions")
    )


def test_a_pod_whose_job_has_ended_and_a_pod_that_ends_are_no_fault(world: World, local: Stack) -> None:
    ending = pod("ending", ready=False)
    ending["metadata"]["deletionTimestamp"] = NOW.isoformat()
    world.objects["get pods ml-serving"] = [pod("failed", ready=False, phase="Failed"), ending]
    assert not world.faults(local, "pods in ml-serving")


def test_before_the_first_update_the_platform_is_not_asked_for(world: World, local: Stack) -> None:
    world.objects["get namespaces"] = []
    (found,) = world.findings(local, "platform")
    assert (found.level, found.ends) == (Level.OK, True)


def test_kubectl_reads_and_forwards_and_does_nothing_else(world: World, local: Stack) -> None:
    for name in [*RUNNING, "MLflow", "champions", "endpoint churn-predictor"]:
        world.findings(local, name)
    assert {words[4] for words in world.words()} == {"version", "config", "get", "port-forward"}
    unlimited = [words for words in world.words() if "--request-timeout=20s" not in words]
    assert {words[4] for words in unlimited} == {"port-forward"}
    assert set(world.methods) == {"GET"}
