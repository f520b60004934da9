"""CPUs, memory and GPUs that the pods of a plan request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cost.plan import Plan, Resource
from cost.prices import NotPricedError

GPU = "nvidia.com/gpu"
COMPONENT = "app.kubernetes.io/component"
"""Label that says what an object is part of: `training`, `validation`, `serving`, `tracking`."""
KIND = "app.kubernetes.io/name"
ENDPOINT = "model-endpoint"
"""Value of KIND on every object of a model endpoint."""
HOST = "kubernetes.io/hostname"
UNITS_IN_GIB = {"Ki": 2**-20, "Mi": 2**-10, "Gi": 1.0, "Ti": 2.0**10, "": 2.0**-30}


@dataclass(frozen=True, kw_only=True)
class Pod:
    """What one pod requests, and where it may run."""

    name: str
    cpus: float
    memory_gib: float
    gpus: int
    selector: Mapping[str, str]
    """Labels that its node must carry; empty: any node without a taint."""
    spread: bool = False
    """Each of several such pods gets its own node: Karpenter keeps to a spread over hosts, even to a soft one."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A Job, or a CronJob that Jobs are made from."""

    name: str
    component: str
    pod: Pod
    parallel: int
    """Pods that run at the same time."""
    hours: float
    """Deadline of one run with all its retries."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """Pods that run all the time."""

    name: str
    endpoint: bool
    pod: Pod
    least: int
    most: int


METRICS_SERVER = Pod(name="metrics-server", cpus=0.1, memory_gib=0.2, gpus=0, selector={})
"""One pod of EKS's add-on of that name, which runs two of them on nodes of the pools."""


def services(plan: Plan) -> list[Service]:
    """Every Deployment and StatefulSet with its fewest and most replicas, and the add-ons that run as one."""
    scaled = {each.name: each.inputs["spec"] for each in plan.of("kubernetes:autoscaling/v2:HorizontalPodAutoscaler")}
    found: list[Service] = []
    for deployment in plan.of("kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:StatefulSet"):
        spec, scaler = deployment.inputs["spec"], scaled.get(deployment.name)
        fixed = spec.get("replicas", 1)
        found.append(
            Service(
                name=deployment.name,
                endpoint=_labels(deployment).get(KIND) == ENDPOINT,
                pod=pod(deployment.name, spec["template"]["spec"]),
                least=int(scaler.get("minReplicas", 1) if scaler else fixed),
                most=int(scaler["maxReplicas"] if scaler else fixed),
            )
        )
    addons = {addon.inputs.get("addonName") for addon in plan.of("aws:eks/addon:Addon")}
    if METRICS_SERVER.name in addons:
        found.append(Service(name=METRICS_SERVER.name, endpoint=False, pod=METRICS_SERVER, least=2, most=2))
    return found


def agents(plan: Plan) -> list[Pod]:
    """The pod that each DaemonSet runs on every node."""
    return [pod(each.name, each.inputs["spec"]["template"]["spec"]) for each in plan.of("kubernetes:apps/v1:DaemonSet")]


def work(plan: Plan) -> Iterator[Work | NotPricedError]:
    """Every run of a training or a validation that the plan declares, once; or the reason why one cannot be priced."""
    seen: set[str] = set()
    for resource in plan.of("kubernetes:batch/v1:CronJob", "kubernetes:batch/v1:Job"):
        component = _labels(resource).get(COMPONENT, "")
        if component not in {"training", "validation"} or resource.name in seen:
            continue
        seen.add(resource.name)
        spec = resource.inputs["spec"]
        job = spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec
        if "activeDeadlineSeconds" not in job:
            yield NotPricedError(f"{resource.name} has no deadline, so a run of it has no highest price")
            continue
        yield Work(
            name=resource.name,
            component=component,
            pod=pod(resource.name, job["template"]["spec"]),
            parallel=int(job.get("parallelism", 1)),
            hours=float(job["activeDeadlineSeconds"]) / 3600,
        )


def pod(name: str, spec: Mapping[str, Any]) -> Pod:
    """Sum of the containers and sidecars, or the largest init container if that requests more (Kubernetes, "Resource
    sharing within containers").
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
    """CPUs in Kubernetes' notation, such as `500m` or `2`. NotPricedError for an unknown amount."""
    text = str(quantity)
    return _number(text.removesuffix("m"), text) / (1000 if text.endswith("m") else 1)


def gib(quantity: object) -> float:
    """GiB of an amount in Kubernetes' notation, such as `512Mi`. NotPricedError for an unknown amount."""
    text = str(quantity)
    unit = text[-2:] if text[-2:] in UNITS_IN_GIB else ""
    return _number(text.removesuffix(unit), text) * UNITS_IN_GIB[unit]


def _number(digits: str, text: str) -> float:
    try:
        return float(digits)
    except ValueError:
        raise NotPricedError(f"the amount {text} is not known before the update") from None


def _labels(resource: Resource) -> Mapping[str, str]:
    return resource.inputs.get("metadata", {}).get("labels", {})


def largest(pods: Sequence[Pod]) -> Pod:
    """The pod that requests, of each resource, as much as any of them."""
    return Pod(
        name="",
        cpus=max((each.cpus for each in pods), default=0),
        memory_gib=max((each.memory_gib for each in pods), default=0),
        gpus=max((each.gpus for each in pods), default=0),
        selector={},
    )
