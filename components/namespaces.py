"""The three namespaces, with what every pod in them is held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Output, ResourceOptions

from contract import names

POD_SECURITY_VERSION = "v1.35"
"""The edition of the Pod Security Standards; an older cluster takes its own newest."""

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


@dataclass(frozen=True, kw_only=True)
class QuotaArgs:
    """What the pods of one namespace may ask for together, and what a container gets that does not say."""

    cpu: str
    memory: str
    pods: int
    container_cpu: str
    container_memory: str
    gpus: int = 0


@dataclass(frozen=True, kw_only=True)
class NamespacesArgs:
    """`artifact_store` is the way to the artifact store, for training and serving; `dns` the way to names, for all.

    `labels` are on each namespace, beside our own.
    """

    platform: QuotaArgs
    training: QuotaArgs
    serving: QuotaArgs
    artifact_store: Sequence[k8s.networking.v1.NetworkPolicyEgressRuleArgsDict]
    dns: k8s.networking.v1.NetworkPolicyEgressRuleArgsDict
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


class Namespaces(pulumi.ComponentResource):
    """mlops-platform, ml-training and ml-serving.

    Their pods obey the restricted Pod Security Standard or are refused, stay within a quota, and talk to nobody but
    DNS except where a NetworkPolicy names the flow. Probes need no policy: the kubelet always reaches its own pods.
    """

    platform: Output[str]
    """The namespace's name, known once it exists; so the next two."""
    training: Output[str]
    serving: Output[str]

    def __init__(self, name: str, args: NamespacesArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:Namespaces", name, None, opts)
        child = ResourceOptions(parent=self)
        made: dict[str, Output[str]] = {}
        quotas = {names.PLATFORM: args.platform, names.TRAINING: args.training, names.SERVING: args.serving}
        for namespace, quota in quotas.items():
            labels = {**names.labels(namespace, namespace, "namespace"), **_pod_security(), **args.labels}
            metadata: k8s.meta.v1.ObjectMetaArgsDict = {"name": namespace, "labels": labels}
            made[namespace] = k8s.core.v1.Namespace(namespace, metadata=metadata, opts=child).metadata.name
            inside: k8s.meta.v1.ObjectMetaArgsDict = {"namespace": made[namespace]}
            k8s.core.v1.ResourceQuota(namespace, metadata=inside, spec={"hard": _hard(quota)}, opts=child)
            k8s.core.v1.LimitRange(namespace, metadata=inside, spec={"limits": [_defaults(quota)]}, opts=child)
            k8s.networking.v1.NetworkPolicy(
                f"{namespace}-default", metadata=inside, spec=_nothing_but_dns(args), opts=child
            )
        for namespace in (names.TRAINING, names.SERVING):
            k8s.networking.v1.NetworkPolicy(
                f"{namespace}-stores",
                metadata={"namespace": made[namespace]},
                spec={"pod_selector": {}, "policy_types": ["Egress"], "egress": [TRACKING, *args.artifact_store]},
                opts=child,
            )
        k8s.networking.v1.NetworkPolicy(
            f"{names.SERVING}-requests",
            metadata={"namespace": made[names.SERVING]},
            spec={
                "pod_selector": {},
                "policy_types": ["Ingress"],
                "ingress": [{"ports": [{"protocol": "TCP", "port": names.SERVING_PORT}]}],
            },
            opts=child,
        )
        k8s.networking.v1.NetworkPolicy(
            f"{names.TRAINING}-endpoints",
            metadata={"namespace": made[names.TRAINING]},
            spec={
                "pod_selector": {"match_labels": names.VALIDATIONS},
                "policy_types": ["Egress"],
                "egress": [SERVERS],
            },
            opts=child,
        )
        self.platform, self.training, self.serving = made.values()
        self.register_outputs({"platform": self.platform, "training": self.training, "serving": self.serving})


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


def _nothing_but_dns(args: NamespacesArgs) -> k8s.networking.v1.NetworkPolicySpecArgsDict:
    return {"pod_selector": {}, "policy_types": ["Ingress", "Egress"], "egress": [args.dns]}
