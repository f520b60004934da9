"""Autoscaling of an endpoint: pods are added at once and removed slowly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pulumi_kubernetes as k8s
from pulumi import Input

IN_FLIGHT = "serving_requests_in_flight"
"""Metric of the model server: requests that have no response yet."""
SERVER = "server"
"""Container whose load is measured; the container that ships the prediction log does not count."""


@dataclass(frozen=True, kw_only=True)
class Autoscaling:
    """Limits and targets of the autoscaler, which runs enough pods to keep every average below its target."""

    min_replicas: int
    """Smallest number of pods."""
    max_replicas: int
    """Largest number of pods."""
    cpu_percent: int
    """Target for the CPU use of a pod, in percent of its request."""
    memory_percent: int | None
    """Target for the memory use of a pod, in percent of its request; None for no target."""
    in_flight: int | None
    """Target for the unanswered requests of a pod; None for no target.

    It needs an adapter in the cluster that serves the pods' metric `serving_requests_in_flight`.
    """
    scale_down_stabilization_seconds: int
    """Seconds for which the autoscaler keeps the highest number of pods that it has computed."""


def spec(deployment: Input[str], args: Autoscaling) -> k8s.autoscaling.v2.HorizontalPodAutoscalerSpecArgsDict:
    """Return the spec of a HorizontalPodAutoscaler.

    It scales up at once: every 15 s it doubles the pods or adds four, whichever is more. It scales down after
    `scale_down_stabilization_seconds`, by a fifth or two pods a minute, so that pods remain for load that comes in
    waves.
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
