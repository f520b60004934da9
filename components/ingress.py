"""A way in from outside the cluster to one Service."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import timeouts
from components.foundation import Ingress


def ingress(
    name: str,
    way: Ingress,
    service: Input[str],
    port: int,
    backend_seconds: int,
    *,
    metadata: k8s.meta.v1.ObjectMetaArgsDict,
    opts: ResourceOptions,
) -> k8s.networking.v1.Ingress:
    """All paths of the host lead to the Service, whose first pod is ready within `backend_seconds`.

    It is there once the load balancer has an address and the Service a ready pod.
    """
    backend: k8s.networking.v1.IngressBackendArgsDict = {"service": {"name": service, "port": {"number": port}}}
    return k8s.networking.v1.Ingress(
        name,
        metadata={**metadata, "annotations": dict(way.annotations)},
        spec={
            "ingress_class_name": way.class_name,
            "rules": [
                {"host": way.host, "http": {"paths": [{"path": "/", "path_type": "Prefix", "backend": backend}]}}
            ],
        },
        opts=ResourceOptions.merge(opts, ResourceOptions(custom_timeouts=timeouts.ingress(backend_seconds))),
    )


def from_load_balancer(way: Ingress, port: int) -> k8s.networking.v1.NetworkPolicyIngressRuleArgsDict:
    """Of a NetworkPolicy: the load balancer reaches the pods."""
    return {"from_": peers(way.sources), "ports": [{"protocol": "TCP", "port": port}]}


def peers(blocks: Input[Sequence[str]]) -> Output[Sequence[Input[k8s.networking.v1.NetworkPolicyPeerArgsDict]]]:
    """Of a NetworkPolicy: whoever has an address in one of these blocks."""

    def each(known: Sequence[str]) -> Sequence[Input[k8s.networking.v1.NetworkPolicyPeerArgsDict]]:
        return [{"ip_block": {"cidr": block}} for block in known]

    return Output.from_input(blocks).apply(each)
