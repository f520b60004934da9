"""Nodes that come when pods need them and go when they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_kubernetes as k8s

from components.aws.instance_families import Architecture

Capacity = Literal["on-demand", "spot"]
GPU_TAINT = "nvidia.com/gpu"
UNDISTURBED = {"karpenter.sh/do-not-disrupt": "true"}
"""On a pod: its node is not emptied or replaced before the pod has ended (Karpenter, "Disruption")."""
GRACE_HOURS = 24
"""How long the pods of a node that has expired may go on; Auto Mode's own default."""
CONSOLIDATE_AFTER = {"cpu": "1m", "gpu": "10m"}
"""How long a node may stand idle. Pulling a GPU image takes longer than 5 minutes: a pod that waits for one must not
find its node taken away in between."""


@dataclass(frozen=True, kw_only=True)
class NodePoolArgs:
    """Which machines, how many, and how they may be disturbed."""

    labels: Mapping[str, str]
    """What pods select the pool by."""
    instance_families: Sequence[str]
    capacity: Sequence[Capacity]
    """Spot is taken first where both are allowed."""
    architecture: Architecture
    zones: Sequence[str]
    """Empty: every zone of the subnets."""
    max_cpus: int | None
    """Stop at this many virtual CPUs."""
    max_gpus: int | None
    """Stop at this many GPUs; the pool is tainted, so only pods that ask for a GPU land on it."""
    disk_gib: int
    expire_after_days: int
    """No node grows older: a fresh one carries the newest image of the operating system."""
    max_disrupted: str
    """Nodes that may be drained at the same time: a number or a percentage."""
    node_role: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    security_group_id: pulumi.Input[str]
    disk_key_arn: pulumi.Input[str]


class NodePool(pulumi.ComponentResource):
    """A NodeClass and a NodePool of EKS Auto Mode that start from zero nodes.

    Disks are encrypted with the cluster's key. Auto Mode itself holds nodes to IMDSv2 with one hop (EKS user guide,
    "Instance Metadata Service"), so a pod cannot take the node's role.
    """

    def __init__(self, name: str, args: NodePoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:NodePool", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        node_class = k8s.apiextensions.CustomResource(
            name,
            api_version="eks.amazonaws.com/v1",
            kind="NodeClass",
            metadata={"name": name},
            spec=node_class_spec(args),
            opts=child,
        )
        k8s.apiextensions.CustomResource(
            name,
            api_version="karpenter.sh/v1",
            kind="NodePool",
            metadata={"name": name},
            spec=node_pool_spec(name, args),
            # The pool names its class; a name is no output, so no argument shows the order.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[node_class]),
        )
        self.register_outputs({})


def node_class_spec(args: NodePoolArgs) -> dict[str, object]:
    """Where nodes stand and what they are made of."""
    return {
        "role": args.node_role,
        "subnetSelectorTerms": pulumi.Output.from_input(args.subnet_ids).apply(
            lambda subnets: [{"id": subnet} for subnet in subnets]
        ),
        "securityGroupSelectorTerms": [{"id": args.security_group_id}],
        "ephemeralStorage": {"size": f"{args.disk_gib}Gi", "kmsKeyID": args.disk_key_arn},
        "networkPolicy": "DefaultAllow",
        "networkPolicyEventLogs": "Disabled",
        "snatPolicy": "Random",
    }


def node_pool_spec(name: str, args: NodePoolArgs) -> dict[str, object]:
    """Which machines may come, how many at most, when they go."""
    gpu = args.max_gpus is not None
    requirements = {
        "eks.amazonaws.com/instance-family": list(args.instance_families),
        "karpenter.sh/capacity-type": list(args.capacity),
        "kubernetes.io/arch": [args.architecture],
        "topology.kubernetes.io/zone": list(args.zones),
    }
    limits = {"cpu": args.max_cpus, GPU_TAINT: args.max_gpus}
    return {
        "template": {
            "metadata": {"labels": dict(args.labels)},
            "spec": {
                "nodeClassRef": {"group": "eks.amazonaws.com", "kind": "NodeClass", "name": name},
                "requirements": [
                    {"key": key, "operator": "In", "values": values} for key, values in requirements.items() if values
                ],
                "taints": [{"key": GPU_TAINT, "value": "present", "effect": "NoSchedule"}] if gpu else [],
                "expireAfter": f"{args.expire_after_days * 24}h",
                "terminationGracePeriod": f"{GRACE_HOURS}h",
            },
        },
        "limits": {resource: str(limit) for resource, limit in limits.items() if limit is not None},
        "disruption": {
            "consolidationPolicy": "WhenEmpty" if gpu else "WhenEmptyOrUnderutilized",
            "consolidateAfter": CONSOLIDATE_AFTER["gpu" if gpu else "cpu"],
            "budgets": [{"nodes": args.max_disrupted}],
        },
    }
