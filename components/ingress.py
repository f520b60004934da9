"""Ingress of one Service, with the network rules that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import timeouts
from components.foundation import Ingress


def ingress(
    name: str,
    settings: Ingress,
    service: Input[str] | Mapping[str, Input[str]],
    port: int,
    backend_seconds: int,
    *,
    metadata: k8s.meta.v1.ObjectMetaArgsDict,
    opts: ResourceOptions,
) -> k8s.networking.v1.Ingress:
    """Declare an Ingress that routes all paths of the host to the Service, or each beginning of a path to its Service.

    Pulumi waits until the load balancer has an address and the Service has a ready pod, which may take
    `backend_seconds`.
    """
    services = service if isinstance(service, Mapping) else {"/": service}
    paths: list[k8s.networking.v1.HTTPIngressPathArgsDict] = [
        {"path": path, "path_type": "Prefix", "backend": {"service": {"name": each, "port": {"number": port}}}}
        for path, each in services.items()
    ]
    return k8s.networking.v1.Ingress(
        name,
        metadata={**metadata, "annotations": dict(settings.annotations)},
        spec={
            "ingress_class_name": settings.class_name,
            "rules": [{"host": settings.host, "http": {"paths": paths}}],
        },
        opts=ResourceOptions.merge(opts, ResourceOptions(custom_timeouts=timeouts.ingress(backend_seconds))),
    )


def from_load_balancer(settings: Ingress, port: int) -> k8s.networking.v1.NetworkPolicyIngressRuleArgsDict:
    """Return the NetworkPolicy rule that lets the load balancer reach the pods."""
    return {"from_": peers(settings.sources), "ports": [{"protocol": "TCP", "port": port}]}


def peers(blocks: Input[Sequence[str]]) -> Output[Sequence[Input[k8s.networking.v1.NetworkPolicyPeerArgsDict]]]:
    """Return the NetworkPolicy peers that have an address in one of these CIDR blocks."""

    def each(known: Sequence[str]) -> Sequence[Input[k8s.networking.v1.NetworkPolicyPeerArgsDict]]:
        return [{"ip_block": {"cidr": block}} for block in known]

    return Output.from_input(blocks).apply(each)
