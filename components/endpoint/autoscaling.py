"""How many pods serve: more at once when there is more to do, fewer only after a while."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pulumi_kubernetes as k8s
from pulumi import Input

IN_FLIGHT = "serving_requests_in_flight"
"""The server's gauge of requests that it has not answered yet."""
SERVER = "server"
"""The container whose load counts: what ships the prediction log says nothing about how busy a pod is."""


@dataclass(frozen=True, kw_only=True)
class Autoscaling:
    """Between `min_replicas` and `max_replicas`, as many pods as keep every average below its target.

    `cpu_percent` and `memory_percent` are of what a pod asks for; `in_flight` is requests of a pod, and needs an
    adapter in the cluster that serves `serving_requests_in_flight` of pods. None leaves a target out.
    """

    min_replicas: int
    max_replicas: int
    cpu_percent: int
    memory_percent: int | None
    in_flight: int | None
    scale_down_stabilization_seconds: int


def spec(deployment: Input[str], args: Autoscaling) -> k8s.autoscaling.v2.HorizontalPodAutoscalerSpecArgsDict:
    """Of a HorizontalPodAutoscaler.

    Up without waiting, twice as many or four more each 15 s. Down to the highest number that the last
    `scale_down_stabilization_seconds` asked for, by a fifth or two a minute: load that comes in waves finds its pods
    still there.
    """
    return {
        "scale_target_ref": {"api_version": "apps/v1", "kind": "Deployment", "name": deployment},
        "min_replicas": args.min_replicas,
        "max_replicas": args.max_replicas,
        "metrics": list(_metrics(args)),
        "behavior": {
            "scale_up": {
                "stabilization_window_seconds": 0,
                "select_policy": "Max",
                "policies": [
                    {"type": "Percent", "value": 100, "period_seconds": 15},
                    {"type": "Pods", "value": 4, "period_seconds": 15},
                ],
            },
            "scale_down": {
                "stabilization_window_seconds": args.scale_down_stabilization_seconds,
                "select_policy": "Max",
                "policies": [
                    {"type": "Percent", "value": 20, "period_seconds": 60},
                    {"type": "Pods", "value": 2, "period_seconds": 60},
                ],
            },
        },
    }


def _metrics(args: Autoscaling) -> Iterator[k8s.autoscaling.v2.MetricSpecArgsDict]:
    for resource, percent in (("cpu", args.cpu_percent), ("memory", args.memory_percent)):
        if percent is not None:
            target: k8s.autoscaling.v2.MetricTargetArgsDict = {"type": "Utilization", "average_utilization": percent}
            yield {
                "type": "ContainerResource",
                "container_resource": {"name": resource, "container": SERVER, "target": target},
            }
    if args.in_flight is not None:
        average: k8s.autoscaling.v2.MetricTargetArgsDict = {
            "type": "AverageValue",
            "average_value": str(args.in_flight),
        }
        yield {"type": "Pods", "pods": {"metric": {"name": IN_FLIGHT}, "target": average}}
