"""Objects for the prometheus-operator, and dashboards for the Grafana beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, ResourceOptions

from contract import names

API = "monitoring.coreos.com/v1"
DASHBOARD = {"grafana_dashboard": "1"}
"""Label by which the sidecar of Grafana's chart finds dashboards."""


@dataclass(frozen=True, kw_only=True)
class OperatorObjectsArgs:
    """Settings of the objects."""

    namespace: Input[str]
    """Name of the namespace mlops-platform."""
    labels: Mapping[str, str]
    """Labels by which Prometheus selects its objects."""
    pod_monitors: Mapping[str, Mapping[str, Any]]
    """Specs of the PodMonitors, by name."""
    rules: Mapping[str, Any]
    """Spec of the PrometheusRule."""
    boards: Mapping[str, str]
    """Dashboards as JSON, by name."""


class OperatorObjects(pulumi.ComponentResource):
    """PodMonitors, a PrometheusRule and dashboards; the operator and Grafana exist already."""

    def __init__(self, name: str, args: OperatorObjectsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:OperatorObjects", name, None, opts)
        child = ResourceOptions(parent=self)

        def metadata(each: str) -> k8s.meta.v1.ObjectMetaArgsDict:
            labels = {**names.labels(each, each, "monitoring"), **args.labels}
            return {"name": each, "namespace": args.namespace, "labels": labels}

        for each, spec in args.pod_monitors.items():
            k8s.apiextensions.CustomResource(
                each, api_version=API, kind="PodMonitor", metadata=metadata(each), spec=spec, opts=child
            )
        k8s.apiextensions.CustomResource(
            "mlops-rules", api_version=API, kind="PrometheusRule", metadata=metadata("mlops-rules"), spec=args.rules,
            opts=child,
        )  # fmt: skip
        boards(args.boards, args.namespace, child)
        self.register_outputs({})


def boards(texts: Mapping[str, str], namespace: Input[str], opts: ResourceOptions) -> None:
    """Declare one ConfigMap for each dashboard."""
    for each, text in texts.items():
        name = f"mlops-board-{each}"
        labels = {**names.labels(name, name, "monitoring"), **DASHBOARD}
        k8s.core.v1.ConfigMap(
            name,
            metadata={"name": name, "namespace": namespace, "labels": labels},
            data={f"mlops-{each}.json": text},
            opts=opts,
        )
