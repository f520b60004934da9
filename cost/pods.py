"""CPUs, memory and GPUs that the pods of a plan request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cost.plan import Plan, Resource
from cost.prices import NotPricedError
from cost.unpriced import Unpriced, read_each

GPU = "nvidia.com/gpu"
COMPONENT = "app.kubernetes.io/component"
"""Label with the part of the platform that an object belongs to, such as `training` or `serving`."""
KIND = "app.kubernetes.io/name"
ENDPOINTS = ("model-endpoint", "model-challenger", "model-shadow", "model-router")
"""Values of KIND on the Deployments of model endpoints."""
HOST = "kubernetes.io/hostname"
UNITS_IN_GIB = {"Ki": 2**-20, "Mi": 2**-10, "Gi": 1.0, "Ti": 2.0**10, "": 2.0**-30}


@dataclass(frozen=True, kw_only=True)
class Pod:
    """Requests of a pod, and the nodes on which it may run."""

    name: str
    cpus: float
    memory_gib: float
    gpus: int
    selector: Mapping[str, str]
    """Labels that the pod's node must have; if empty, any node without a taint."""
    spread: bool = False
    """True if each of several such pods gets its own node: Karpenter follows even a soft spread over hosts."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Training, validation, batch or drift job: a Job, or a CronJob that creates Jobs."""

    name: str
    pod: Pod
    parallel: int
    """Number of pods that run at the same time."""
    hours: float
    """Deadline of one run in hours, with all its retries."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """Workload whose pods run all the time."""

    name: str
    endpoint: bool
    pod: Pod
    least: int
    most: int


METRICS_SERVER = Pod(name="metrics-server", cpus=0.1, memory_gib=0.2, gpus=0, selector={})
"""Pod of the EKS add-on metrics-server, which runs two such pods on nodes of the pools."""


def services(plan: Plan, unpriced: list[Unpriced]) -> list[Service]:
    """Return every Deployment and StatefulSet with its fewest and most replicas, and the add-on metrics-server."""
    scalers = {each.name: each.inputs for each in plan.of("kubernetes:autoscaling/v2:HorizontalPodAutoscaler")}
    kinds = ("kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:StatefulSet")
    found = read_each(plan.of(*kinds), lambda each: _service(each, scalers.get(each.name)), unpriced)
    if any(addon.inputs.get("addonName") == METRICS_SERVER.name for addon in plan.of("aws:eks/addon:Addon")):
        found.append(Service(name=METRICS_SERVER.name, endpoint=False, pod=METRICS_SERVER, least=2, most=2))
    return found


def _service(resource: Resource, scaler: Mapping[str, Any] | None) -> Service:
    spec = resource.inputs["spec"]
    fixed = spec.get("replicas", 1)
    least, most = (scaler["spec"].get("minReplicas", 1), scaler["spec"]["maxReplicas"]) if scaler else (fixed, fixed)
    if min(least, most) < 0:
        raise NotPricedError(f"Kubernetes has no {min(least, most)} replicas")
    return Service(
        name=resource.name,
        endpoint=_labels(resource).get(KIND) in ENDPOINTS,
        pod=pod(resource.name, spec["template"]["spec"]),
        least=int(least),
        most=int(most),
    )


def agents(plan: Plan, unpriced: list[Unpriced]) -> list[Pod]:
    """Return the pod that each DaemonSet runs on every node."""
    sets = plan.of("kubernetes:apps/v1:DaemonSet")
    return read_each(sets, lambda each: pod(each.name, each.inputs["spec"]["template"]["spec"]), unpriced)


def work(plan: Plan, unpriced: list[Unpriced]) -> list[Work]:
    """Return each training, validation, batch and drift job of the plan; a CronJob's first Job is not counted again."""
    declared = {
        (component, resource.name): resource
        for resource in plan.of("kubernetes:batch/v1:CronJob", "kubernetes:batch/v1:Job")
        if (component := _labels(resource).get(COMPONENT)) in {"training", "validation", "batch", "drift"}
    }
    return read_each(declared.values(), _work, unpriced)


def _work(resource: Resource) -> Work:
    spec = resource.inputs["spec"]
    job = spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec
    if "activeDeadlineSeconds" not in job:
        raise NotPricedError("it has no deadline, so the price of a run has no upper limit")
    return Work(
        name=resource.name,
        pod=pod(resource.name, job["template"]["spec"]),
        parallel=int(job.get("parallelism", 1)),
        hours=float(job["activeDeadlineSeconds"]) / 3600,
    )


def pod(name: str, spec: Mapping[str, Any]) -> Pod:
    """Return the requests of a pod, and the nodes on which it may run.

    The request is the sum of the containers and sidecars, or the largest init container if that requests more
    (Kubernetes, "Resource sharing within containers").
    """
    init = spec.get("initContainers", [])
    beside = [each for each in init if each.get("restartPolicy") == "Always"]
    before = [each for each in init if each not in beside]
    together = [_requests(each) for each in [*spec["containers"], *beside]]
    alone = [_requests(each) for each in before]

    def most(resource: str) -> float:
        return max(sum(each[resource] for each in together), *(each[resource] for each in alone), 0.0)

    return Pod(
        name=name,
        cpus=most("cpu"),
        memory_gib=most("memory"),
        gpus=int(most(GPU)),
        selector=spec.get("nodeSelector", {}),
        spread=any(each.get("topologyKey") == HOST for each in spec.get("topologySpreadConstraints", [])),
    )


def _requests(container: Mapping[str, Any]) -> Mapping[str, float]:
    asked = container.get("resources", {})
    amounts = {**asked.get("limits", {}), **asked.get("requests", {})}
    return {
        "cpu": cpus(amounts.get("cpu", "0")),
        "memory": gib(amounts.get("memory", "0")),
        GPU: float(amounts.get(GPU, 0)),
    }


def cpus(quantity: object) -> float:
    """Return the CPUs in a Kubernetes quantity, such as `500m` or `2`. NotPricedError for an unknown amount."""
    text = str(quantity)
    return _number(text.removesuffix("m"), text) / (1000 if text.endswith("m") else 1)


def gib(quantity: object) -> float:
    """Return the GiB in a Kubernetes quantity, such as `512Mi`. NotPricedError for an unknown amount."""
    text = str(quantity)
    unit = text[-2:] if text[-2:] in UNITS_IN_GIB else ""
    return _number(text.removesuffix(unit), text) * UNITS_IN_GIB[unit]


def _number(digits: str, text: str) -> float:
    try:
        number = float(digits)
    except ValueError:
        raise NotPricedError(f"the amount {text} is not known before the update") from None
    if not 0 <= number < math.inf:
        raise NotPricedError(f"Kubernetes has no amount {text}")
    return number


def _labels(resource: Resource) -> Mapping[str, str]:
    return resource.inputs.get("metadata", {}).get("labels", {})


def largest(pods: Sequence[Pod]) -> Pod:
    """Return a pod that requests the largest amount of each resource that any of the pods requests."""
    return Pod(
        name="",
        cpus=max((each.cpus for each in pods), default=0),
        memory_gib=max((each.memory_gib for each in pods), default=0),
        gpus=max((each.gpus for each in pods), default=0),
        selector={},
    )
