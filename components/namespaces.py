"""The platform's three namespaces, with the security, quota, network and priority rules of their pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Output, ResourceOptions

from contract import names

POD_SECURITY_VERSION = "v1.35"
"""Version of the Pod Security Standards; an older cluster uses its own latest."""

PRIORITY_CLASS = "mlops-service"
PRIORITY = 1000
"""Priority of pods that answer requests. Pods without a class, among them training runs, have priority 0."""

DNS_PODS: k8s.networking.v1.NetworkPolicyPeerArgsDict = {
    "namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": "kube-system"}},
    "pod_selector": {"match_labels": {"k8s-app": "kube-dns"}},
}
CLUSTER_DNS: k8s.networking.v1.NetworkPolicyEgressRuleArgsDict = {
    "to": [DNS_PODS],
    "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
}
TRACKING: k8s.networking.v1.NetworkPolicyEgressRuleArgsDict = {
    "to": [
        {
            "namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": names.PLATFORM}},
            "pod_selector": {"match_labels": names.selector("mlflow", "mlflow")},
        }
    ],
    "ports": [{"protocol": "TCP", "port": names.TRACKING_PORT}],
}
SERVERS: k8s.networking.v1.NetworkPolicyEgressRuleArgsDict = {
    "to": [{"namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": names.SERVING}}}],
    "ports": [{"protocol": "TCP", "port": names.SERVING_PORT}],
}

EVERY_POD: k8s.meta.v1.LabelSelectorArgsDict = {}
NOT_GUARDED: k8s.meta.v1.LabelSelectorArgsDict = {
    "match_expressions": [{"key": names.GUARDED, "operator": "DoesNotExist"}]
}


@dataclass(frozen=True, kw_only=True)
class QuotaArgs:
    """Limits for all pods of one namespace together, and defaults for containers that set no requests or limits."""

    cpu: str
    """Sum of CPU requests, as a Kubernetes quantity."""
    memory: str
    """Sum of memory requests and sum of memory limits, as a Kubernetes quantity."""
    pods: int
    """Largest number of pods in the namespace."""
    container_cpu: str
    """Default CPU request of a container."""
    container_memory: str
    """Default memory request and limit of a container."""
    gpus: int = 0
    """Sum of GPU requests."""


@dataclass(frozen=True, kw_only=True)
class NamespacesArgs:
    """Quotas, network rules and labels of the three namespaces."""

    platform: QuotaArgs
    """Quota of mlops-platform."""
    training: QuotaArgs
    """Quota of ml-training."""
    serving: QuotaArgs
    """Quota of ml-serving."""
    artifact_store: Sequence[k8s.networking.v1.NetworkPolicyEgressRuleArgsDict]
    """Rules that let training and serving pods reach the artifact store."""
    artifact_store_only: Sequence[k8s.networking.v1.NetworkPolicyEgressRuleArgsDict]
    """Rules that let validation pods reach the artifact store, and nothing else on the internet."""
    dns: k8s.networking.v1.NetworkPolicyEgressRuleArgsDict
    """Rule that lets every pod reach DNS."""
    drift: bool = False
    """True: the stack has drift jobs, which reach MLflow and the artifact store only."""
    guarded: bool = False
    """True: pods with the label names.GUARDED accept requests only from where a policy of their own says."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Labels that each namespace gets in addition to the platform's."""


class Namespaces(pulumi.ComponentResource):
    """Namespaces mlops-platform, ml-training and ml-serving.

    The API server refuses pods that break the restricted Pod Security Standard or the quota. Pods reach only DNS and
    what a NetworkPolicy allows. Probes need no policy: the kubelet always reaches the pods of its node.
    """

    platform: Output[str]
    """Name of the namespace mlops-platform; it resolves when the namespace exists."""
    training: Output[str]
    """Name of the namespace ml-training; it resolves when the namespace exists."""
    serving: Output[str]
    """Name of the namespace ml-serving; it resolves when the namespace exists."""
    priority_class: Output[str]
    """Name of the PriorityClass of pods that answer requests; it resolves when the class exists."""

    def __init__(self, name: str, args: NamespacesArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:Namespaces", name, None, opts)
        child = ResourceOptions(parent=self)
        created: dict[str, Output[str]] = {}
        quotas = {names.PLATFORM: args.platform, names.TRAINING: args.training, names.SERVING: args.serving}
        for namespace, quota in quotas.items():
            labels = {**names.labels(namespace, namespace, "namespace"), **_pod_security(), **args.labels}
            metadata: k8s.meta.v1.ObjectMetaArgsDict = {"name": namespace, "labels": labels}
            created[namespace] = k8s.core.v1.Namespace(namespace, metadata=metadata, opts=child).metadata.name
            inside: k8s.meta.v1.ObjectMetaArgsDict = {"namespace": created[namespace]}
            k8s.core.v1.ResourceQuota(namespace, metadata=inside, spec={"hard": _hard(quota)}, opts=child)
            k8s.core.v1.LimitRange(namespace, metadata=inside, spec={"limits": [_defaults(quota)]}, opts=child)
            k8s.networking.v1.NetworkPolicy(f"{namespace}-default", metadata=inside, spec=_only_dns(args), opts=child)
        for namespace, selected in {names.TRAINING: _trainings(args), names.SERVING: EVERY_POD}.items():
            k8s.networking.v1.NetworkPolicy(
                f"{namespace}-stores",
                metadata={"namespace": created[namespace]},
                spec={
                    "pod_selector": selected,
                    "policy_types": ["Egress"],
                    # A release names its files, so model servers have nothing to ask of MLflow.
                    "egress": [*([TRACKING] if namespace == names.TRAINING else []), *args.artifact_store],
                },
                opts=child,
            )
        k8s.networking.v1.NetworkPolicy(
            f"{names.SERVING}-requests",
            metadata={"namespace": created[names.SERVING]},
            spec={
                "pod_selector": NOT_GUARDED if args.guarded else EVERY_POD,
                "policy_types": ["Ingress"],
                "ingress": [
                    {"ports": [{"protocol": "TCP", "port": port} for port in (names.SERVING_PORT, names.PROBE_PORT)]}
                ],
            },
            opts=child,
        )
        k8s.networking.v1.NetworkPolicy(
            f"{names.TRAINING}-validations",
            metadata={"namespace": created[names.TRAINING]},
            spec={
                "pod_selector": {"match_labels": names.VALIDATIONS},
                "policy_types": ["Egress"],
                "egress": [SERVERS, TRACKING, *args.artifact_store_only],
            },
            opts=child,
        )
        if args.drift:
            _drift_policy(args, created[names.TRAINING], child)
        self.platform, self.training, self.serving = created.values()
        self.priority_class = _priority_class(child)
        self.register_outputs({"platform": self.platform, "training": self.training, "serving": self.serving})


def _drift_policy(args: NamespacesArgs, namespace: Output[str], child: ResourceOptions) -> None:
    k8s.networking.v1.NetworkPolicy(
        f"{names.TRAINING}-drift",
        metadata={"namespace": namespace},
        spec={
            "pod_selector": {"match_labels": names.DRIFT},
            "policy_types": ["Egress"],
            "egress": [TRACKING, *args.artifact_store_only],
        },
        opts=child,
    )


def _trainings(args: NamespacesArgs) -> k8s.meta.v1.LabelSelectorArgsDict:
    """Return the selector of training pods.

    Kubernetes adds the rules of all policies that select a pod, so no wider policy may select validations and drift
    jobs.
    """
    narrow = [names.VALIDATIONS, *([names.DRIFT] if args.drift else [])]
    ((key, _),) = names.VALIDATIONS.items()
    return {"match_expressions": [{"key": key, "operator": "NotIn", "values": [labels[key] for labels in narrow]}]}


def _priority_class(child: ResourceOptions) -> Output[str]:
    """Declare the class of MLflow, endpoints and a local stack's stores, which get room before training runs.

    They have one class, so that none of them evicts another. Training runs have none, because another template would
    replace their Jobs and train every model again.
    """
    return k8s.scheduling.v1.PriorityClass(
        PRIORITY_CLASS,
        metadata={"name": PRIORITY_CLASS, "labels": names.labels(PRIORITY_CLASS, PRIORITY_CLASS, "priority")},
        value=PRIORITY,
        global_default=False,
        description="Pods that answer requests; they evict training runs from a node that is full.",
        opts=child,
    ).metadata.name


def _pod_security() -> Mapping[str, str]:
    modes = ("enforce", "audit", "warn")
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in modes}
    return levels | {f"pod-security.kubernetes.io/{mode}-version": POD_SECURITY_VERSION for mode in modes}


def _hard(quota: QuotaArgs) -> Mapping[str, str]:
    return {
        "requests.cpu": quota.cpu,
        "requests.memory": quota.memory,
        "limits.memory": quota.memory,
        "requests.nvidia.com/gpu": str(quota.gpus),
        "pods": str(quota.pods),
    }


def _defaults(quota: QuotaArgs) -> k8s.core.v1.LimitRangeItemArgsDict:
    return {
        "type": "Container",
        "default_request": {"cpu": quota.container_cpu, "memory": quota.container_memory},
        "default": {"memory": quota.container_memory},
    }


def _only_dns(args: NamespacesArgs) -> k8s.networking.v1.NetworkPolicySpecArgsDict:
    return {"pod_selector": {}, "policy_types": ["Ingress", "Egress"], "egress": [args.dns]}
