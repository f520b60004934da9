"""Rights of the four groups of people in a local stack."""

import re
from collections.abc import Mapping
from functools import cache

import pytest

from contract import names
from tests.deployed import deployed, local
from tests.infra.config.test_monitoring import CLUSTER, IMAGES, OPERATOR, RECEIVER
from tests.recording import Recording
from tests.rights import Request, may, rules

PEOPLE = (names.VIEWERS, names.TRAINERS, names.ONCALL)
NAMESPACES = (names.PLATFORM, names.TRAINING, names.SERVING)
DRIFT: Mapping[str, object] = {
    "endpoints.churn-predictor.prediction_log": {},
    "endpoints.churn-predictor.drift": {},
    "endpoints.churn-predictor.retrain": {"training": "churn"},
}
STACKS: Mapping[str, Mapping[str, object]] = {
    "adapter": {**DRIFT, "monitoring": {**CLUSTER, "images": {**IMAGES, "metrics_adapter": "lab.local/adapter:1"}}},
    "operator": {**DRIFT, "monitoring": OPERATOR},
}
"""Changes of the valid stack that declare the kinds of objects which it lacks."""


@cache
def whole(stack: str) -> Recording:
    """Return what the program declares with a drift job that trains, and with one kind of monitoring."""
    return deployed(STACKS[stack], RECEIVER if stack == "adapter" else {})


def declared_kinds(recording: Recording) -> set[tuple[str, str, str]]:
    """Return namespace, API group and resource of every object; the namespace is empty for those of the cluster."""
    found = set[tuple[str, str, str]]()
    for each in recording.resources:
        if each.type.startswith("kubernetes:") and each.metadata:
            _, version, kind = each.type.split(":")
            group = version.rpartition("/")[0]
            plural = re.sub("ys$", "ies", f"{kind.lower()}{'es' if kind.endswith('s') else 's'}")
            found.add((each.metadata.get("namespace", ""), "" if group == "core" else group, plural))
    return found


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("group", PEOPLE)
def test_people_read_everything_that_the_program_declares_but_secrets(group: str, stack: str) -> None:
    kinds = declared_kinds(whole(stack))
    assert {resource for _, _, resource in kinds} >= {"cronjobs", "validatingadmissionpolicies", "priorityclasses"}
    unread = {
        resource
        for namespace, api, resource in kinds - {("kube-system", "rbac.authorization.k8s.io", "rolebindings")}
        if not any(
            api in rule["apiGroups"] and resource in rule["resources"] and {"get", "list", "watch"} <= {*rule["verbs"]}
            for rule in rules(whole(stack), group, namespace)
        )
    }
    assert unread == {"secrets"}


@pytest.mark.parametrize("namespace", [*NAMESPACES, "kube-system", "default"])
@pytest.mark.parametrize("group", PEOPLE)
def test_people_get_no_right_that_gives_further_rights(group: str, namespace: str) -> None:
    for rule in rules(local(), group, namespace):
        assert not {"*", "bind", "escalate", "impersonate", "update"} & {*rule["verbs"], *rule["resources"]}
        assert not {"pods/exec", "pods/attach", "pods/ephemeralcontainers", "secrets"} & {*rule["resources"]}
        assert "serviceaccounts/token" not in rule["resources"]


@pytest.mark.parametrize("group", PEOPLE)
def test_people_have_no_right_in_another_namespace(group: str) -> None:
    assert not may(local(), group, Request("kube-system", "list", "pods"))
    assert not may(local(), group, Request("kube-system", "get", "configmaps"))


def test_viewers_forward_the_port_of_mlflow_and_read_no_log() -> None:
    for verb in ("create", "get"):
        forward = [n for n in NAMESPACES if may(local(), names.VIEWERS, Request(n, verb, "pods/portforward"))]
        assert forward == [names.PLATFORM]
    assert not [n for n in NAMESPACES if may(local(), names.VIEWERS, Request(n, "get", "pods/log"))]


def test_oncall_reads_the_logs_of_all_namespaces() -> None:
    assert all(may(local(), names.ONCALL, Request(n, "get", "pods/log")) for n in NAMESPACES)


OPERATIONS = {
    "delete pod": [("get", "pods"), ("delete", "pods"), ("list", "pods"), ("watch", "pods")],
    "rollout restart": [("get", "deployments"), ("patch", "deployments")],
    "rollout undo": [("get", "deployments"), ("list", "replicasets"), ("patch", "deployments")],
    "rollout status": [("list", "deployments"), ("watch", "deployments")],
    "scale": [("get", "deployments"), ("get", "deployments/scale"), ("patch", "deployments/scale")],
    "patch hpa": [("get", "horizontalpodautoscalers"), ("patch", "horizontalpodautoscalers")],
}
"""Requests of kubectl's commands for endpoints."""


@pytest.mark.parametrize("command", OPERATIONS)
def test_oncall_operates_endpoints_and_nothing_else(command: str) -> None:
    def allowed(group: str, namespace: str) -> bool:
        return all(may(local(), group, Request(namespace, *each)) for each in OPERATIONS[command])

    assert allowed(names.ONCALL, names.SERVING)
    if command != "rollout status":
        others = [(names.ONCALL, names.PLATFORM), (names.ONCALL, names.TRAINING), (names.TRAINERS, names.SERVING)]
        assert not [each for each in others if allowed(*each)]


def test_oncall_has_no_right_to_change_anything_that_no_command_uses() -> None:
    used = {each for requests in OPERATIONS.values() for each in requests} | {("get", "pods/log")}
    viewers = [(rule["apiGroups"], rule["resources"]) for rule in rules(local(), names.VIEWERS, names.SERVING)]
    own = [
        rule
        for rule in rules(local(), names.ONCALL, names.SERVING)
        if (rule["apiGroups"], rule["resources"]) not in viewers
    ]
    assert {(verb, resource) for rule in own for verb in rule["verbs"] for resource in rule["resources"]} <= used


def test_admins_are_cluster_administrators() -> None:
    (binding,) = [
        each
        for each in local().all(":ClusterRoleBinding")
        if names.ADMINS in {subject["name"] for subject in each.inputs["subjects"]}
    ]
    assert binding.inputs["roleRef"]["name"] == "cluster-admin"
    assert binding.inputs["subjects"] == [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": names.ADMINS}
    ]
