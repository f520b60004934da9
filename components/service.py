"""A name and a port in the cluster."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi_kubernetes as k8s
from pulumi import ResourceOptions


def service(
    name: str,
    selector: Mapping[str, str],
    port: int,
    target_port: int,
    *,
    metadata: k8s.meta.v1.ObjectMetaArgsDict,
    opts: ResourceOptions,
) -> k8s.core.v1.Service:
    """It is there at once, with pods behind it or not.

    Pulumi would wait for pods: for ever where a StatefulSet waits for the Service's name, and for ten minutes where a
    first version does not start, which the Deployment says within one.
    """
    return k8s.core.v1.Service(
        name,
        metadata={**metadata, "annotations": {"pulumi.com/skipAwait": "true"}},
        spec={
            "selector": selector,
            "ports": [{"name": "main", "port": port, "target_port": target_port, "protocol": "TCP"}],
        },
        opts=opts,
    )
