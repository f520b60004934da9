"""Checks of a cluster that exists already: node pools, room for the stack's pods, images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import cast

from contract import names
from doctor.cluster import Kubernetes
from doctor.findings import Finding, ok, problem, warning
from doctor.stack_file import Stack
from infra.config.quantities import octets, thousandths
from infra.config.stack import GPU_RESOURCES, LocalFoundation
from runs.cluster import Object

UNITS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    **{f"{unit}i": 1024.0**power for power, unit in enumerate("KMGT", start=1)},
}
STORE = (0.1, 256 * 2.0**20)
"""CPUs and bytes that Postgres and the S3 gateway request, each."""
OWN = (names.PLATFORM, names.TRAINING, names.SERVING)
Amount = tuple[float, float]
"""CPUs and bytes of memory."""


def quantity(text: str) -> float:
    """Return the number in a quantity of Kubernetes, such as `1930m` or `24479300Ki`."""
    found = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", text)
    return float(found[1]) * UNITS[found[2]] if found else 0.0


def pools(kubernetes: Kubernetes, stack: Stack, chosen: LocalFoundation) -> Iterator[Finding]:
    """Check that each node pool has nodes, and that one of them is large enough for each training run."""
    nodes = kubernetes.items("nodes")
    for name, pool in chosen.node_pools.items():
        own = [node for node in nodes if pool.labels.items() <= node["metadata"].get("labels", {}).items()]
        labels = names.matching(pool.labels)
        if not own:
            yield problem(
                f"no node has the labels of node pool {name}: {labels}",
                "training runs on this pool stay pending",
                f"run {kubernetes.command(f'label node NODE {labels.replace(chr(44), chr(32))}')}",
            )
            continue
        gpu = GPU_RESOURCES[pool.gpu.kind] if pool.gpu else ""
        for job, training in stack.settings.training.items():
            wanted = (thousandths(training.cpu) / 1000, float(octets(training.memory)), float(training.gpus or 0))
            if training.node_pool == name and not any(_holds(node, wanted, gpu) for node in own):
                yield problem(
                    f"no node of pool {name} is large enough for one run of {job}: cpu {training.cpu}, memory "
                    f"{training.memory}" + (f", gpus {training.gpus}" if training.gpus else ""),
                    "the run stays pending until its deadline",
                    f"lower the requests in mlops:training.{job}, or add a larger node",
                )
        yield ok(f"node pool {name}: {', '.join(node['metadata']['name'] for node in own)}")


def _holds(node: Object, wanted: tuple[float, float, float], gpu: str) -> bool:
    room = node["status"].get("allocatable", {})
    there = (quantity(room.get("cpu", "0")), quantity(room.get("memory", "0")), quantity(room.get(gpu, "0")))
    return all(have >= want for have, want in zip(there, wanted, strict=True))


def room(kubernetes: Kubernetes, stack: Stack) -> Iterator[Finding]:
    """Check that the open nodes have room for the sum of the stack's requests, at rest and at its peak."""
    nodes = {
        node["metadata"]["name"]: _amount(node["status"].get("allocatable", {}))
        for node in kubernetes.items("nodes")
        if not any(taint.get("effect") != "PreferNoSchedule" for taint in node["spec"].get("taints", []))
    }
    others = [
        _requests(pod)
        for pod in kubernetes.read("get", "pods", "--all-namespaces")["items"]
        if pod["metadata"]["namespace"] not in OWN
        and pod["spec"].get("nodeName") in nodes
        and pod["status"].get("phase") not in {"Succeeded", "Failed"}
    ]
    free = _minus(_sum(list(nodes.values())), _sum(others))
    rest, peak = demand(stack)
    more = "add a node, or lower replicas, cpu and memory in the stack file"
    has = f"the nodes have room for {_words(free)}"
    if _exceeds(rest, free):
        yield problem(f"{has}, and the stack requests {_words(rest)} at rest", "some of its pods stay pending", more)
    elif _exceeds(peak, free):
        yield warning(
            f"{has}, and the stack requests {_words(peak)} at its peak",
            "with all replicas and one training run at the same time, some pods stay pending",
            more,
        )
    else:
        yield ok(f"{has}, and the stack requests at most {_words(peak)}")


def demand(stack: Stack) -> tuple[Amount, Amount]:
    """Return what the stack's pods request at rest, and at the peak: all replicas, a release and the largest run.

    A run is one of a training job, of a batch or of a drift job. The largest has the most CPU and memory of any.
    """
    settings = stack.settings
    tracking = (thousandths(settings.tracking.cpu) / 1000, float(octets(settings.tracking.memory)))
    watching = settings.monitoring.pods if settings.monitoring else []
    always = [STORE, STORE, *[tracking] * settings.tracking.replicas]
    always += [(cpu / 1000, float(memory)) for cpu, memory in watching]
    few, many = list[Amount](), list[Amount]()
    for endpoint in settings.endpoints.values():
        for least, most, cpu, memory in endpoint.kinds_of_pods:
            few += _pods(least, cpu, memory)
            many += _pods(most + 1, cpu, memory)
    runs = [
        (thousandths(job.cpu) / 1000 * pods, float(octets(job.memory)) * pods)
        for job in settings.training.values()
        for pods in [job.sweep.most_at_once if job.sweep else 1]
    ]
    runs += [
        (thousandths(batch.cpu) / 1000 * batch.workers, float(octets(batch.memory)) * batch.workers)
        for batch in settings.batch.values()
    ]
    runs += [(thousandths(drift.cpu) / 1000, float(octets(drift.memory))) for drift in settings.watched.values()]
    largest = max((cpu for cpu, _ in runs), default=0.0), max((memory for _, memory in runs), default=0.0)
    return _sum([*always, *few]), _sum([*always, *many, largest])


def _pods(number: int, cpu: int, memory: int) -> list[Amount]:
    return [(cpu / 1000, float(memory))] * number


def _amount(resources: Object) -> Amount:
    return quantity(resources.get("cpu", "0")), quantity(resources.get("memory", "0"))


def _requests(pod: Object) -> Amount:
    return _sum([_amount(each.get("resources", {}).get("requests", {})) for each in pod["spec"]["containers"]])


def _sum(amounts: Sequence[Amount]) -> Amount:
    return sum(cpu for cpu, _ in amounts), sum(memory for _, memory in amounts)


def _minus(one: Amount, other: Amount) -> Amount:
    return one[0] - other[0], one[1] - other[1]


def _exceeds(wanted: Amount, free: Amount) -> bool:
    return wanted[0] > free[0] + 1e-9 or wanted[1] > free[1]


def _words(amount: Amount) -> str:
    return f"{amount[0]:.4g} CPUs and {amount[1] / 2**30:.4g} GiB"


def images(kubernetes: Kubernetes, stack: Stack, chosen: LocalFoundation) -> Iterator[Finding]:
    """Check that the stack's images are on a node; Kubernetes does not tell whether a registry has an image."""
    there = {
        _plain(name)
        for node in kubernetes.items("nodes")
        for image in node["status"].get("images", [])
        for name in cast("list[str] | None", image.get("names")) or []
    }
    wanted = {
        **stack.images,
        "mlops:foundation.images.postgres": chosen.images.postgres,
        "mlops:foundation.images.s3_gateway": chosen.images.s3_gateway,
    }
    absent = {key: name for key, name in wanted.items() if _plain(name) not in there}
    for key, name in absent.items():
        yield warning(
            f"no node has {key}: {name}",
            "nodes pull it from its registry, which was not asked; without it, pods wait with ImagePullBackOff",
            f"run docker manifest inspect {name}, and push the image if it does not exist (the lab: lab images)",
        )
    if not absent:
        yield ok(f"the nodes have all {len(wanted)} images")


def _plain(image: str) -> str:
    """Return the name without Docker Hub's prefixes, which nodes add."""
    return image.removeprefix("docker.io/").removeprefix("library/")
