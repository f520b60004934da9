"""Load balancer of one host whose paths belong to several endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi import Input, ResourceOptions

from components.foundation import Ingress
from components.ingress import ingress
from contract import names


@dataclass(frozen=True, kw_only=True)
class SharedIngressArgs:
    """Settings of the load balancer of a host."""

    ingress: Ingress
    """Settings of the Ingress."""
    namespace: Input[str]
    """Namespace of the endpoints."""
    paths: Mapping[str, str]
    """Beginning of the path by the name of the endpoint that gets its requests."""
    backend_seconds: int
    """Seconds in which each endpoint has a ready pod."""
    after: Sequence[pulumi.Resource]
    """Endpoints, which must exist before."""


class SharedIngress(pulumi.ComponentResource):
    """One Ingress, and so one load balancer, that routes each path of its host to an endpoint.

    It does not rewrite paths, because EKS Auto Mode cannot; the endpoint removes its own (ADR 0036).
    """

    def __init__(self, name: str, args: SharedIngressArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:SharedIngress", name, None, opts)
        ingress(
            name,
            args.ingress,
            {path: endpoint for endpoint, path in args.paths.items()},
            80,
            args.backend_seconds,
            metadata={
                "name": name,
                "namespace": args.namespace,
                "labels": names.labels("ingress", "shared", "ingress"),
            },
            opts=ResourceOptions(parent=self, depends_on=list(args.after)),
        )
        self.register_outputs({})
