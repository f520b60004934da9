"""Checks of instance types: where they are offered, and how many of them the account may start."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from doctor.aws.account import used_zones
from doctor.aws.quotas import Quota, increase, quotas
from doctor.aws.requests import Aws
from doctor.findings import Finding, ok, problem, unchecked, warning
from infra.config.aws import AutoNodePool, AwsFoundation, ManagedNodePool

Pool = AutoNodePool | ManagedNodePool
Capacity = Literal["on-demand", "spot"]
Family = Literal["standard", "g", "p4", "p5"]
"""Group of instance families that share quotas."""
QUOTAS: Mapping[tuple[Family, Capacity], str] = {
    ("standard", "on-demand"): r"Running On-Demand Standard \(.*\) instances",
    ("standard", "spot"): r"All Standard \(.*\) Spot Instance Requests",
    ("g", "on-demand"): r"Running On-Demand G and VT instances",
    ("g", "spot"): r"All G and VT Spot Instance Requests",
    ("p4", "on-demand"): r"Running On-Demand P instances",
    ("p4", "spot"): r"All P4, P3 and P2 Spot Instance Requests",
    ("p5", "on-demand"): r"Running On-Demand P instances",
    ("p5", "spot"): r"All P5 Spot Instance Requests",
}
"""Name of each quota in Service Quotas; its value is a number of vCPUs."""


@dataclass(frozen=True, kw_only=True)
class InstanceType:
    """EC2 instance type."""

    name: str
    vcpus: int
    gpus: int

    @property
    def family(self) -> Family:
        """Group of the type's family."""
        if re.match(r"g\d|gr\d|vt\d", self.name):
            return "g"
        if re.match(r"p[2-4]", self.name):
            return "p4"
        return "p5" if re.match(r"p\d", self.name) else "standard"


def kinds(pool: Pool) -> Sequence[str]:
    """Return the instance families of a pool; for managed nodes, its instance types."""
    return pool.instance_types if isinstance(pool, ManagedNodePool) else pool.instance_families


def capacities(pool: Pool) -> Sequence[Capacity]:
    """Return the purchase options of a pool."""
    return [pool.capacity] if isinstance(pool, ManagedNodePool) else list(pool.capacity)


def _pattern(kind: str) -> str:
    return kind if "." in kind else f"{kind}.*"


def offered(aws: Aws, chosen: AwsFoundation) -> Iterator[Finding]:
    """Check that each zone of the stack offers the instance types of each node pool."""
    all_kinds = {kind for pool in chosen.node_pools.values() for kind in kinds(pool)}
    filters = [{"Name": "instance-type", "Values": sorted(map(_pattern, all_kinds))}]
    found = aws.ask("ec2", "describe_instance_type_offerings", LocationType="availability-zone", Filters=filters)
    there = defaultdict[str, set[str]](set)
    for each in found["InstanceTypeOfferings"]:
        there[each["Location"]] |= {each["InstanceType"], each["InstanceType"].partition(".")[0]}
    zones = used_zones(aws, chosen)
    for name, pool in chosen.node_pools.items():
        yield from _offered(name, pool, (isinstance(pool, AutoNodePool) and pool.zones) or zones, there)


def _offered(name: str, pool: Pool, zones: Sequence[str], there: Mapping[str, set[str]]) -> Iterator[Finding]:
    key = "instance_types" if isinstance(pool, ManagedNodePool) else "instance_families"

    def look(kinds: Iterable[str]) -> str:
        return (
            "run aws ec2 describe-instance-type-offerings --location-type availability-zone "
            f"--filters 'Name=instance-type,Values={','.join(map(_pattern, kinds))}' "
            "--query 'InstanceTypeOfferings[].[Location,InstanceType]', and change "
            f"mlops:foundation.node_pools.{name}.{key}"
        )

    empty = [zone for zone in zones if not set(kinds(pool)) & there.get(zone, set())]
    if empty:
        yield problem(
            f"node pool {name}: {', '.join(empty)} offers none of {', '.join(kinds(pool))}",
            "no node of the pool starts there, and pods that need this zone stay pending",
            look(kinds(pool)),
        )
        return
    partly = {
        kind: missing
        for kind in kinds(pool)
        if (missing := [zone for zone in zones if kind not in there.get(zone, set())])
    }
    for kind, missing in partly.items():
        yield warning(
            f"node pool {name}: {', '.join(missing)} does not offer {kind}",
            "there are fewer types to choose from, so capacity runs out earlier",
            look([kind]),
        )
    if not partly:
        yield ok(f"node pool {name}: {', '.join(kinds(pool))} in {', '.join(zones)}")


def _types(aws: Aws, pools: Sequence[Pool]) -> list[InstanceType]:
    wanted = sorted({_pattern(kind) for pool in pools for kind in kinds(pool)})
    found = aws.ask("ec2", "describe_instance_types", Filters=[{"Name": "instance-type", "Values": wanted}])
    return [
        InstanceType(
            name=each["InstanceType"],
            vcpus=each["VCpuInfo"]["DefaultVCpus"],
            gpus=sum(gpu["Count"] for gpu in each.get("GpuInfo", {}).get("Gpus", [])),
        )
        for each in found["InstanceTypes"]
    ]


def demand(pool: Pool, types: Sequence[InstanceType]) -> dict[str, int]:
    """Return the vCPUs that a pool may ask for at its maximum, for each quota that its nodes can use.

    A GPU pool counts its smallest types, because these start for pods that need one GPU.
    """
    found = defaultdict[str, list[int]](list)
    for each in types:
        if not {each.name, each.name.partition(".")[0]} & set(kinds(pool)):
            continue
        match pool:
            case ManagedNodePool():
                amount = pool.max * each.vcpus
            case AutoNodePool(max_cpus=int(most)):
                amount = most
            case _:
                amount = (pool.gpu.max // each.gpus) * each.vcpus if pool.gpu and each.gpus else 0
        for capacity in capacities(pool) if amount else ():
            found[QUOTAS[each.family, capacity]].append(amount)
    choose = max if isinstance(pool, ManagedNodePool) else min
    return {quota: choose(amounts) for quota, amounts in found.items()}


def cpu_quotas(aws: Aws, chosen: AwsFoundation) -> Iterator[Finding]:
    """Check that the quotas of vCPUs allow every node pool to reach its maximum."""
    pools = chosen.node_pools
    types = _types(aws, [*pools.values()])
    demands = {name: demand(pool, types) for name, pool in pools.items()}
    for name, pool in pools.items():
        if not demands[name] and pool.gpu and any(each.gpus for each in types):
            yield problem(
                f"node pool {name} has at most {pool.gpu.max} GPUs, and each of its instance types has more",
                "no node of the pool ever starts",
                f"raise mlops:foundation.node_pools.{name}.gpu.max, or add a family with smaller types",
            )
    limits = quotas(aws, "ec2")
    gaps = dict[str, tuple[Quota, int]]()
    for pattern in dict.fromkeys(quota for each in demands.values() for quota in each):
        needed = sum(each.get(pattern, 0) for each in demands.values())
        quota = next((quota for quota in limits if re.fullmatch(pattern, quota.name)), None)
        if quota is None:
            yield unchecked(
                f"Service Quotas of {aws.region} lists no {pattern}",
                "look at https://console.aws.amazon.com/servicequotas",
            )
        elif quota.value < needed:
            gaps[pattern] = quota, needed
        else:
            yield ok(f"{quota.name}: {quota.value:g} vCPUs, at most {needed} are used")
    for pattern, (quota, needed) in gaps.items():
        names = [name for name, each in demands.items() if pattern in each]
        # A pool that can also use another quota grows there.
        report = warning if all(demands[name].keys() - gaps.keys() for name in names) else problem
        yield report(
            f"{quota.name} is {quota.value:g} vCPUs, and node pool {', '.join(names)} may ask for {needed}",
            "beyond the quota, only nodes of another sort start" if report is warning else "no node beyond it starts",
            increase(aws, quota, needed),
        )
