"""Node pools: which instance types they may start, how many, and what a node of them costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cost.plan import Plan, Resource
from cost.pods import GPU, Pod, cpus, gib
from cost.prices import HOURS, NodeType, NotPricedError, Prices
from cost.unpriced import Unpriced, read_each

AUTO = "kubernetes:karpenter.sh/v1:NodePool"
AUTO_CLASS = "kubernetes:eks.amazonaws.com/v1:NodeClass"
MANAGED = "aws:eks/nodeGroup:NodeGroup"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
USABLE_CPU, USABLE_MEMORY = 0.95, 0.85
"""Share of a node that pods get; the rest is the kubelet's and the operating system's."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of a pool, and the price of an hour of it with its disk and its fee."""

    type_name: str
    type: NodeType
    spot: bool
    usd_hour: float

    @property
    def label(self) -> str:
        """Type and capacity, as in `g6.xlarge on spot`."""
        return f"{self.type_name} on {'spot' if self.spot else 'demand'}"

    def holds(self, pod: Pod, *, beside: Sequence[Pod] = ()) -> int:
        """How many such pods fit on the node beside others."""
        free = _free(self.type, beside)
        asked = (pod.cpus, pod.memory_gib, float(pod.gpus))
        rooms = [int(room / want + 1e-9) for room, want in zip(free, asked, strict=True) if want > 0]
        return max(0, min(rooms, default=110))  # as many pods as a kubelet takes


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A node pool of Auto Mode, or a managed node group, whose number of nodes is fixed."""

    name: str
    auto: bool
    labels: Mapping[str, str]
    open: bool
    """Nodes carry no taint, so pods that select no pool run here too."""
    choices: Sequence[Sequence[str]]
    """Instance types with a price, by family; of a managed group, each type alone in the order in which it is tried."""
    unpriced: Sequence[str]
    """Families or types of the pool that the price table lacks."""
    capacity: Sequence[str]
    """`spot`, `on-demand`."""
    unit: str
    """What `limit` counts: `vCPUs`, `GPUs` or `nodes`."""
    limit: float
    disk_gib: float

    def takes(self, pod: Pod) -> bool:
        """The pod may run here."""
        return pod.selector.items() <= self.labels.items() if pod.selector else self.open

    def node(self, name: str, prices: Prices, *, spot: bool) -> Node:
        """A node of this type. NotPricedError if a price is missing."""
        kind = prices.nodes[name]
        fee = kind.auto_mode_usd if self.auto else 0.0
        if fee is None:
            raise NotPricedError(f"the price table of {prices.region} has no fee of Auto Mode for {name}")
        disk = self.disk_gib * prices.unit("node_disk_gb_month") / HOURS
        usd = kind.usd * (prices.spot_share if spot else 1) + fee + disk
        return Node(type_name=name, type=kind, spot=spot, usd_hour=usd)

    def dearest(self, pod: Pod, prices: Prices) -> Node:
        """The node that the pod gets at the worst: in each family the cheapest that holds it, of these the dearest; on
        demand if the pool may take that. NotPricedError if no type holds the pod.
        """
        fitting = [
            self._cheapest(family, pod, prices, spot="on-demand" not in self.capacity) for family in self.choices
        ]
        return max(self._some(fitting, pod, prices), key=lambda node: node.usd_hour)

    def share(self, pod: Pod, prices: Prices, *, spot: bool) -> float:
        """Price of an hour of the pod's part of a node, of the type on which that is cheapest."""
        nodes = [self.node(name, prices, spot=spot) for family in self.choices for name in family]
        parts = [node.usd_hour / count for node in nodes if (count := node.holds(pod))]
        if not parts:
            raise NotPricedError(self._too_large(pod, prices))
        return min(parts)

    def packed(self, pods: Sequence[Pod], agents: Sequence[Pod], prices: Prices) -> tuple[Node, int]:
        """The cheapest way to run the pods at the same time on nodes of one type, and the number of nodes."""
        nodes = [self.node(name, prices, spot="spot" in self.capacity) for family in self.choices for name in family]
        ways = [(node, count) for node in nodes if (count := _nodes_for(node, pods, agents))]
        if not ways:
            raise NotPricedError(self._too_large(pods[0], prices))
        return min(ways, key=lambda way: way[0].usd_hour * way[1])

    def full(self, largest: Pod, prices: Prices) -> tuple[Node, int]:
        """The dearest way to fill the pool with nodes that hold its largest pod, and the number of nodes."""
        ways: list[tuple[Node, int]] = []
        for family in self.choices:
            if node := self._cheapest(family, largest, prices, spot="on-demand" not in self.capacity):
                each = {"vCPUs": node.type.vcpus, "GPUs": node.type.gpus, "nodes": 1}[self.unit]
                ways.append((node, int(self.limit // each)))
        self._some([node for node, _ in ways], largest, prices)
        return max(ways, key=lambda way: way[0].usd_hour * way[1])

    def _cheapest(self, family: Sequence[str], pod: Pod, prices: Prices, *, spot: bool) -> Node | None:
        nodes = [self.node(name, prices, spot=spot) for name in family]
        return min((node for node in nodes if node.holds(pod)), key=lambda node: node.usd_hour, default=None)

    def _some(self, nodes: Sequence[Node | None], pod: Pod, prices: Prices) -> list[Node]:
        if found := [node for node in nodes if node]:
            return found
        raise NotPricedError(self._too_large(pod, prices))

    def _too_large(self, pod: Pod, prices: Prices) -> str:
        asked = f"{pod.cpus:g} CPUs, {pod.memory_gib:g} GiB and {pod.gpus} GPUs"
        return f"no instance type of node pool {self.name} with a price in {prices.region} holds a pod of {asked}"


def pools(plan: Plan, prices: Prices, unpriced: list[Unpriced]) -> list[Pool]:
    """Every node pool of the plan."""
    classes = {each.name: each for each in plan.of(AUTO_CLASS)}
    templates = {each.name: each for each in plan.of(TEMPLATE)}
    auto = read_each(plan.of(AUTO), lambda each: _auto(each, classes, prices), unpriced)
    return [*auto, *read_each(plan.of(MANAGED), lambda each: _managed(each, templates, prices), unpriced)]


def _auto(resource: Resource, classes: Mapping[str, Resource], prices: Prices) -> Pool:
    spec = resource.inputs["spec"]
    template = spec["template"]["spec"]
    wanted = {each["key"]: each["values"] for each in template["requirements"]}
    families = wanted["eks.amazonaws.com/instance-family"]
    limits = spec["limits"]
    gpus = GPU in limits
    return Pool(
        name=resource.name,
        auto=True,
        labels=spec["template"]["metadata"]["labels"],
        open=not template.get("taints"),
        choices=[[name for name in prices.nodes if name.startswith(f"{family}.")] for family in families],
        unpriced=sorted(set(families) - prices.families()),
        capacity=wanted["karpenter.sh/capacity-type"],
        unit="GPUs" if gpus else "vCPUs",
        limit=float(limits[GPU]) if gpus else cpus(limits["cpu"]),
        disk_gib=gib(classes[template["nodeClassRef"]["name"]].inputs["spec"]["ephemeralStorage"]["size"]),
    )


def _managed(resource: Resource, templates: Mapping[str, Resource], prices: Prices) -> Pool:
    inputs = resource.inputs
    types = inputs["instanceTypes"]
    return Pool(
        name=resource.name,
        auto=False,
        labels=inputs.get("labels", {}),
        open=not inputs.get("taints"),
        choices=[[name] for name in types if name in prices.nodes],
        unpriced=[name for name in types if name not in prices.nodes],
        capacity=["spot" if inputs.get("capacityType") == "SPOT" else "on-demand"],
        unit="nodes",
        limit=float(inputs["scalingConfig"]["maxSize"]),
        disk_gib=_volume_gib(templates[resource.name].inputs) if resource.name in templates else 20.0,
    )


def _volume_gib(template: Mapping[str, Any]) -> float:
    """GiB of the disks whose size the template states; the operating system's own has a few more."""
    return float(sum(each.get("ebs", {}).get("volumeSize", 0) for each in template.get("blockDeviceMappings", [])))


def _free(kind: NodeType, pods: Sequence[Pod]) -> tuple[float, float, float]:
    return (
        kind.vcpus * USABLE_CPU - sum(each.cpus for each in pods),
        kind.memory_gib * USABLE_MEMORY - sum(each.memory_gib for each in pods),
        float(kind.gpus - sum(each.gpus for each in pods)),
    )


def _nodes_for(node: Node, pods: Sequence[Pod], agents: Sequence[Pod]) -> int:
    """Nodes that the pods need, each put on the first node with room for it, the largest first; 0 if one never fits."""
    nodes: list[list[Pod]] = []
    for pod in sorted(pods, key=lambda each: (each.cpus, each.memory_gib), reverse=True):
        rooms = (each for each in nodes if not (pod.spread and pod in each))
        home = next((each for each in rooms if node.holds(pod, beside=each)), None)
        if home is None:
            home = list(agents)
            if not node.holds(pod, beside=home):
                return 0
            nodes.append(home)
        home.append(pod)
    return len(nodes)
