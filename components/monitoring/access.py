"""Rights and network rules that the programs of monitoring share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import pods
from contract import names

RBAC = "rbac.authorization.k8s.io"
READ = ("get", "list", "watch")
PROMETHEUS, ALERTMANAGER, EXPORTER = "mlops-prometheus", "mlops-alertmanager", names.EXPORTER
METRICS_ADAPTER = "mlops-metrics-adapter"
"""Names of the programs, their ServiceAccounts and their Services."""

Scraper = Literal["network", "pods", "prometheus"]
"""`prometheus`: Prometheus in mlops-platform; `pods`: pods of every namespace; `network`: every address."""


def account(
    name: str,
    rules: Mapping[str, Sequence[k8s.rbac.v1.PolicyRuleArgsDict]],
    namespaces: Mapping[str, Input[str]],
    opts: ResourceOptions,
) -> Output[str]:
    """Declare a ServiceAccount in mlops-platform with these rules in each namespace, and return its name."""
    home = namespaces[names.PLATFORM]
    labels = names.labels(name, name, "monitoring")
    created = k8s.core.v1.ServiceAccount(
        name,
        metadata={"name": name, "namespace": home, "labels": labels},
        automount_service_account_token=False,
        opts=opts,
    )
    for namespace, allowed in rules.items():
        metadata: k8s.meta.v1.ObjectMetaArgsDict = {
            "name": name, "namespace": namespaces[namespace], "labels": labels
        }  # fmt: skip
        role = k8s.rbac.v1.Role(f"{name}-{namespace}", metadata=metadata, rules=list(allowed), opts=opts)
        k8s.rbac.v1.RoleBinding(
            f"{name}-{namespace}",
            metadata=metadata,
            role_ref={"api_group": RBAC, "kind": "Role", "name": role.metadata.name},
            subjects=[{"kind": "ServiceAccount", "name": created.metadata.name, "namespace": home}],
            opts=opts,
        )
    return created.metadata.name


def reads(group: str, *resources: str) -> k8s.rbac.v1.PolicyRuleArgsDict:
    """Return the rule that lets an account read objects of an API group; the core group is empty."""
    return {"api_groups": [group], "resources": list(resources), "verbs": list(READ)}


def container(
    name: str, image: str, resources: tuple[str, str], port: int, path: str, *, tls: bool = False
) -> k8s.core.v1.ContainerArgsDict:
    """Return a hardened container with one port, named `metrics`, whose probes request `path`, by TLS if wanted.

    `resources` are its CPU request and its memory.
    """
    request: k8s.core.v1.HTTPGetActionArgsDict = {"path": path, "port": port}
    if tls:
        request["scheme"] = "HTTPS"
    ready: k8s.core.v1.ProbeArgsDict = {"http_get": request, "timeout_seconds": 5}
    return {
        "name": name,
        "image": image,
        "ports": [{"name": "metrics", "container_port": port, "protocol": "TCP"}],
        "resources": pods.resources(*resources),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
        "startup_probe": {**ready, "period_seconds": 2, "failure_threshold": 60},
        "readiness_probe": {**ready, "period_seconds": 5},
        "liveness_probe": {**ready, "period_seconds": 10, "failure_threshold": 6},
    }


def one_pod(
    labels: Mapping[str, str],
    container: k8s.core.v1.ContainerArgsDict,
    placement: pods.Placement,
    *volumes: k8s.core.v1.VolumeArgsDict,
    account: Input[str] | None = None,
) -> k8s.apps.v1.DeploymentSpecArgsDict:
    """Return the spec of a Deployment with one hardened pod, which has these volumes and a small one at /tmp."""
    pod = pods.hardened(container, placement=placement)
    pod["volumes"] = [pods.scratch("tmp", "16Mi"), *volumes]
    if account:
        pod["service_account_name"] = account
    return {
        "replicas": 1,
        "selector": {"match_labels": names.selector(labels[names.NAME], labels[names.INSTANCE])},
        "revision_history_limit": 3,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }


def from_pods(port: int, *programs: str) -> k8s.networking.v1.NetworkPolicyIngressRuleArgsDict:
    """Return the rule that lets programs of monitoring reach a port."""
    return {
        "from_": [{"pod_selector": {"match_labels": names.selector(name, name)}} for name in programs],
        "ports": [{"protocol": "TCP", "port": port}],
    }


def scraped_by(scraper: Scraper, port: int) -> k8s.networking.v1.NetworkPolicyIngressRuleArgsDict:
    """Return the rule that lets the scraper reach a port."""
    match scraper:
        case "prometheus":
            return from_pods(port, PROMETHEUS)
        case "pods":
            return {"from_": [{"namespace_selector": {}}], "ports": [{"protocol": "TCP", "port": port}]}
        case "network":
            # A scraper that the cloud runs has addresses of the pods' own networks.
            return {"ports": [{"protocol": "TCP", "port": port}]}


def to_pods(port: int, name: str) -> k8s.networking.v1.NetworkPolicyEgressRuleArgsDict:
    """Return the rule that lets a pod reach a port of another program in mlops-platform."""
    return {
        "to": [{"pod_selector": {"match_labels": names.selector(name, name)}}],
        "ports": [{"protocol": "TCP", "port": port}],
    }


def policy(
    name: str,
    ingress: Sequence[k8s.networking.v1.NetworkPolicyIngressRuleArgsDict],
    egress: Sequence[k8s.networking.v1.NetworkPolicyEgressRuleArgsDict],
) -> k8s.networking.v1.NetworkPolicySpecArgsDict:
    """Return the policy of a program: these flows, and DNS, which every pod has."""
    return {
        "pod_selector": {"match_labels": names.selector(name, name)},
        "policy_types": ["Ingress", "Egress"],
        "ingress": list(ingress),
        "egress": list(egress),
    }


def token() -> k8s.core.v1.VolumeArgsDict:
    """Return the volume with the token for the API server, for a pod that gets none by default."""
    return {
        "name": "kubernetes",
        "projected": {
            "sources": [
                pods.token(),
                pods.CLUSTER_CA,
                {"downward_api": {"items": [{"path": "namespace", "field_ref": {"field_path": "metadata.namespace"}}]}},
            ]
        },
    }


TOKEN: k8s.core.v1.VolumeMountArgsDict = {
    "name": "kubernetes",
    "mount_path": "/var/run/secrets/kubernetes.io/serviceaccount",
    "read_only": True,
}
