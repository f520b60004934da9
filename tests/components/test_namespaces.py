"""Limits and network rules of the pods of each namespace."""

from typing import Any

import pytest

from tests.deployed import deployed, local, pod_specs
from tests.recording import Resource

NAMESPACES = ("mlops-platform", "ml-training", "ml-serving")


def policies(namespace: str) -> list[Resource]:
    return [policy for policy in local().all(":NetworkPolicy") if policy.metadata["namespace"] == namespace]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether Kubernetes' selector selects a pod with these labels."""
    excluded = selector.get("matchExpressions", [])
    assert {each["operator"] for each in excluded} <= {"NotIn"}
    return selector.get("matchLabels", {}).items() <= labels.items() and not any(
        labels.get(each["key"]) in each["values"] for each in excluded
    )


def reaches(namespace: str, name: str, port: int, rule: str, *, pods: dict[str, str] | None = None) -> list[Any]:
    """Return the rules that let a namespace's pods reach `name` in mlops-platform."""
    return [
        peer
        for policy in policies(namespace)
        if selects(policy.spec["podSelector"], pods or {})
        for flow in policy.spec.get(rule, [])
        for peer in flow.get("to", [])
        if peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/name") == name
        and [entry["port"] for entry in flow["ports"]] == [port]
    ]


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_pod_that_could_harm_its_node_is_refused(namespace: str) -> None:
    labels = local().one(":Namespace", namespace).metadata["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
        assert labels[f"pod-security.kubernetes.io/{mode}-version"] == "v1.35"


def test_a_namespace_gets_no_more_than_the_stack_file_grants() -> None:
    quota = {"cpu": 2, "memory": "4Gi", "pods": 20, "gpus": 1, "container_cpu": "50m", "container_memory": "64Mi"}
    recording = deployed({"quotas.training": quota})
    assert recording.one(":ResourceQuota", "ml-training").spec["hard"] == {
        "requests.cpu": "2",
        "requests.memory": "4Gi",
        "limits.memory": "4Gi",
        "requests.nvidia.com/gpu": "1",
        "pods": "20",
    }
    assert recording.one(":LimitRange", "ml-training").spec["limits"] == [
        {
            "type": "Container",
            "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
            "default": {"memory": "64Mi"},
        }
    ]


def test_no_gpu_is_to_be_had_outside_of_training() -> None:
    for namespace in ("mlops-platform", "ml-serving"):
        assert local().one(":ResourceQuota", namespace).spec["hard"]["requests.nvidia.com/gpu"] == "0"


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_pod_talks_to_dns_alone_unless_a_flow_is_named(namespace: str) -> None:
    policy = local().one(":NetworkPolicy", f"{namespace}-default").spec
    assert policy["podSelector"] == {}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    (dns,) = policy["egress"]
    assert dns["to"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ]
    assert {(entry["protocol"], entry["port"]) for entry in dns["ports"]} == {("UDP", 53), ("TCP", 53)}


@pytest.mark.parametrize("namespace", ["ml-training", "ml-serving"])
def test_training_and_serving_reach_the_artifacts_and_not_the_database(namespace: str) -> None:
    assert reaches(namespace, "s3", 7070, "egress")
    assert not reaches(namespace, "postgres", 5432, "egress")


def test_training_reaches_mlflow_and_serving_does_not() -> None:
    assert reaches("ml-training", "mlflow", 5000, "egress")
    assert not reaches("ml-serving", "mlflow", 5000, "egress")


def test_mlflow_reaches_the_database_and_the_artifacts() -> None:
    tracking = {"app.kubernetes.io/component": "tracking"}
    assert reaches("mlops-platform", "postgres", 5432, "egress", pods=tracking)
    assert reaches("mlops-platform", "s3", 7070, "egress", pods=tracking)


def test_an_endpoint_answers_every_client_and_on_its_ports_for_requests_and_metrics_alone() -> None:
    policy = local().one(":NetworkPolicy", "ml-serving-requests").spec
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": port} for port in (8080, 8081)]}]


def test_of_all_that_runs_in_training_only_a_validation_reaches_endpoints() -> None:
    (policy,) = [each for each in policies("ml-training") if "ml-serving" in str(each.spec.get("egress"))]
    assert policy.spec["podSelector"] == {"matchLabels": {"app.kubernetes.io/component": "validation"}}
    (flow,) = [flow for flow in policy.spec["egress"] if "ml-serving" in str(flow)]
    assert flow["ports"] == [{"protocol": "TCP", "port": 8080}]


def test_a_validation_reaches_mlflow_the_artifacts_and_endpoints_by_rules_of_its_own() -> None:
    labels = {"app.kubernetes.io/component": "validation"}
    for name, port in (("mlflow", 5000), ("s3", 7070)):
        assert len(reaches("ml-training", name, port, "egress", pods=labels)) == 1
    names = {each.name for each in policies("ml-training") if selects(each.spec["podSelector"], labels)}
    assert names == {"ml-training-default", "ml-training-validations"}


def test_no_client_reaches_into_training() -> None:
    assert not [policy for policy in policies("ml-training") if policy.spec.get("ingress")]


def test_what_answers_requests_gets_room_before_training_runs() -> None:
    (priority,) = local().all(":PriorityClass")
    assert priority.inputs["value"] > 0, "a pod without a class has priority 0"
    assert priority.inputs["globalDefault"] is False
    first = {name for name, pod in pod_specs(local()).items() if pod.get("priorityClassName") == "mlops-service"}
    workloads = ("mlflow", "churn-predictor", "postgres", "s3", "mlflow-migration")
    assert {name.split()[1] for name in first} == {*workloads}
    for kind, name in (each.split() for each in first):
        assert priority.urn in local().one(f":{kind}", name).dependencies
