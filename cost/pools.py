"""Node pools: their instance types, their largest size, and the price of one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cost.plan import Plan, Resource
from cost.pods import GPU, Pod, cpus, gib
from cost.prices import HOURS, NodeType, NotPricedError, Prices
from cost.unpriced import Unpriced, read_each

AUTO = "kubernetes:karpenter.sh/v1:NodePool"
AUTO_CLASS = "kubernetes:eks.amazonaws.com/v1:NodeClass"
MANAGED = "aws:eks/nodeGroup:NodeGroup"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
USABLE_CPU, USABLE_MEMORY = 0.95, 0.85
"""Share of a node that pods get; the kubelet and the operating system use the rest."""
MOST_PODS = 110
"""Largest number of pods on one node, whatever they request."""
TINY = 1e-9
"""Tolerance for rounding errors in sums of fractions."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """Node of a pool: its instance type, and its price per hour with disk and Auto Mode's fee."""

    type_name: str
    type: NodeType
    spot: bool
    usd_hour: float

    @property
    def label(self) -> str:
        """Instance type and purchase option, such as `g6.xlarge on spot`."""
        return f"{self.type_name} on {'spot' if self.spot else 'demand'}"

    def capacity_for(self, pod: Pod) -> int:
        """Return the number of such pods that fit on an empty node."""
        return _capacity(self.type, pod)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Node pool of Auto Mode, or a managed node group, which has a fixed number of nodes."""

    name: str
    auto: bool
    labels: Mapping[str, str]
    open: bool
    """True if the nodes have no taint, so that pods that select no pool run here too."""
    choices: Sequence[Mapping[str, NodeType]]
    """Instance types with a price, one mapping for each family; in a managed group, one for each type, in its order."""
    unpriced: Sequence[str]
    """Families or types of the pool that the price table lacks."""
    capacity: Sequence[str]
    """Purchase options of the pool: `spot`, `on-demand` or both."""
    unit: Literal["vCPUs", "GPUs", "nodes"]
    """Unit of `limit`."""
    limit: float
    """Largest size of the pool, counted in `unit`."""
    disk_gib: float
    prices: Prices

    @property
    def spot_first(self) -> bool:
        """True if the pool allows spot instances; it prefers them, because they are cheaper."""
        return "spot" in self.capacity

    @property
    def spot_only(self) -> bool:
        """True if the pool does not allow on-demand instances."""
        return "on-demand" not in self.capacity

    def accepts(self, pod: Pod) -> bool:
        """Return whether the pod's selector and the pool's taint let the pod run here."""
        return pod.selector.items() <= self.labels.items() if pod.selector else self.open

    def has_room_for(self, pod: Pod) -> bool:
        """Return whether one of the pool's instance types is large enough for the pod."""
        return any(_capacity(kind, pod) for family in self.choices for kind in family.values())

    def node(self, name: str, kind: NodeType, *, spot: bool) -> Node:
        """Return a node of this type. NotPricedError if the table has no price for its disk."""
        fee = (kind.auto_mode_usd or 0.0) if self.auto else 0.0
        disk = self.disk_gib * self.prices.unit("node_disk_gb_month") / HOURS
        usd = kind.usd * (self.prices.spot_share if spot else 1) + fee + disk
        return Node(type_name=name, type=kind, spot=spot, usd_hour=usd)

    def dearest(self, pod: Pod) -> Node:
        """Return the most expensive node that the pod may get, on demand if the pool allows on-demand instances.

        It is chosen from the cheapest size of each family that holds the pod.
        """
        return max(self._smallest(pod), key=lambda node: node.usd_hour)

    def share(self, pod: Pod, *, spot: bool) -> float:
        """Return the price per hour of the pod's part of a node, on the instance type where that part is cheapest."""
        return min(node.usd_hour / count for node in self._nodes(spot=spot) if (count := node.capacity_for(pod)))

    def packed(self, pods: Sequence[Pod], agents: Sequence[Pod]) -> tuple[Node, int]:
        """Return the cheapest nodes of one type that run all the pods at the same time, and their number."""
        counted = [(node, _nodes_for(node.type, pods, agents)) for node in self._nodes(spot=self.spot_first)]
        return min((each for each in counted if each[1]), key=lambda each: each[0].usd_hour * each[1])

    def filled(self, pod: Pod) -> tuple[Node, int]:
        """Return the most expensive nodes that fill the pool, each large enough for the pod, and their number."""
        counted = [(node, int(self.limit // self._size(node))) for node in self._smallest(pod)]
        return max(counted, key=lambda each: each[0].usd_hour * each[1])

    def _size(self, node: Node) -> int:
        return {"vCPUs": node.type.vcpus, "GPUs": node.type.gpus, "nodes": 1}[self.unit]

    def _nodes(self, *, spot: bool) -> list[Node]:
        return [self.node(name, kind, spot=spot) for family in self.choices for name, kind in family.items()]

    def _smallest(self, pod: Pod) -> list[Node]:
        """Return the cheapest node of each family that holds the pod."""
        found: list[Node] = []
        for family in self.choices:
            nodes = [self.node(name, kind, spot=self.spot_only) for name, kind in family.items()]
            fitting = [node for node in nodes if node.capacity_for(pod)]
            found += sorted(fitting, key=lambda node: node.usd_hour)[:1]
        return found


def pools(plan: Plan, prices: Prices, unpriced: list[Unpriced]) -> list[Pool]:
    """Return every node pool of the plan."""
    classes = {each.name: each for each in plan.of(AUTO_CLASS)}
    templates = {each.name: each for each in plan.of(TEMPLATE)}
    auto = read_each(plan.of(AUTO), lambda each: _auto(each, classes, prices), unpriced)
    return [*auto, *read_each(plan.of(MANAGED), lambda each: _managed(each, templates, prices), unpriced)]


def _auto(resource: Resource, classes: Mapping[str, Resource], prices: Prices) -> Pool:
    spec = resource.inputs["spec"]
    template = spec["template"]["spec"]
    wanted = {each["key"]: each["values"] for each in template["requirements"]}
    families = wanted["eks.amazonaws.com/instance-family"]
    choices = {family: _family(family, prices) for family in families}
    limits = spec["limits"]
    return _checked(
        Pool(
            name=resource.name,
            auto=True,
            labels=spec["template"]["metadata"]["labels"],
            open=not template.get("taints"),
            choices=[types for types in choices.values() if types],
            unpriced=[family for family, types in choices.items() if not types],
            capacity=wanted["karpenter.sh/capacity-type"],
            unit="GPUs" if GPU in limits else "vCPUs",
            limit=float(limits[GPU]) if GPU in limits else cpus(limits["cpu"]),
            disk_gib=gib(classes[template["nodeClassRef"]["name"]].inputs["spec"]["ephemeralStorage"]["size"]),
            prices=prices,
        )
    )


def _family(family: str, prices: Prices) -> dict[str, NodeType]:
    """Return the types of the family that Auto Mode starts; only these have a fee in the price table."""
    return {
        name: kind
        for name, kind in prices.nodes.items()
        if name.startswith(f"{family}.") and kind.auto_mode_usd is not None
    }


def _managed(resource: Resource, templates: Mapping[str, Resource], prices: Prices) -> Pool:
    inputs = resource.inputs
    types = inputs["instanceTypes"]
    return _checked(
        Pool(
            name=resource.name,
            auto=False,
            labels=inputs.get("labels", {}),
            open=not inputs.get("taints"),
            choices=[{name: prices.nodes[name]} for name in types if name in prices.nodes],
            unpriced=[name for name in types if name not in prices.nodes],
            capacity=["spot" if inputs.get("capacityType") == "SPOT" else "on-demand"],
            unit="nodes",
            limit=float(inputs["scalingConfig"]["maxSize"]),
            disk_gib=_volume_gib(templates[resource.name].inputs),
            prices=prices,
        )
    )


def _checked(pool: Pool) -> Pool:
    if not pool.choices:
        raise NotPricedError(f"the price table of {pool.prices.region} has no {', '.join(pool.unpriced)}")
    return pool


def _volume_gib(template: Mapping[str, Any]) -> float:
    """Return the GiB of the disks whose size the template states; the operating system's own disk adds a few GiB."""
    return float(sum(each.get("ebs", {}).get("volumeSize", 0) for each in template["blockDeviceMappings"]))


def _capacity(kind: NodeType, pod: Pod) -> int:
    free = (kind.vcpus * USABLE_CPU, kind.memory_gib * USABLE_MEMORY, float(kind.gpus))
    asked = (pod.cpus, pod.memory_gib, float(pod.gpus))
    counts = [int(room / want + TINY) for room, want in zip(free, asked, strict=True) if want > 0]
    return min(counts, default=MOST_PODS)


class _Room:
    """Free CPUs, memory and GPUs of one node on which pods are placed."""

    def __init__(self, kind: NodeType) -> None:
        self.free = [kind.vcpus * USABLE_CPU, kind.memory_gib * USABLE_MEMORY, float(kind.gpus)]
        self.names = set[str]()

    def put(self, pod: Pod) -> bool:
        """Place the pod on the node if there is room for it, and return whether there was."""
        asked = (pod.cpus, pod.memory_gib, float(pod.gpus))
        if (pod.spread and pod.name in self.names) or any(
            want > room + TINY for want, room in zip(asked, self.free, strict=True)
        ):
            return False
        self.free = [room - want for want, room in zip(asked, self.free, strict=True)]
        self.names.add(pod.name)
        return True


def _nodes_for(kind: NodeType, pods: Sequence[Pod], agents: Sequence[Pod]) -> int:
    """Return the number of nodes for the pods, placed by size on the first node with room; 0 if a pod fits on none."""
    rooms: list[_Room] = []
    for pod in sorted(pods, key=lambda each: (each.cpus, each.memory_gib), reverse=True):
        if any(room.put(pod) for room in rooms):
            continue
        room = _Room(kind)
        if not all(room.put(each) for each in [*agents, pod]):
            return 0
        rooms.append(room)
    return len(rooms)
