"""Service of a Deployment or StatefulSet inside the cluster."""

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
    more: Mapping[str, int] | None = None,
) -> k8s.core.v1.Service:
    """Declare a Service for which Pulumi does not wait. `more` are further ports, by name, the same as the pods'.

    Otherwise Pulumi would wait until a pod is ready: forever where a StatefulSet in turn waits for the Service's name,
    and ten minutes where a first version does not start, which its Deployment reports within one minute.
    """
    return k8s.core.v1.Service(
        name,
        metadata={**metadata, "annotations": {"pulumi.com/skipAwait": "true"}},
        spec={
            "selector": selector,
            "ports": [
                {"name": "main", "port": port, "target_port": target_port, "protocol": "TCP"},
                *(
                    {"name": other, "port": number, "target_port": number, "protocol": "TCP"}
                    for other, number in (more or {}).items()
                ),
            ],
        },
        opts=opts,
    )
