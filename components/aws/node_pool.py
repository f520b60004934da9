"""Node pool of EKS Auto Mode, which adds and removes nodes as pods need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_kubernetes as k8s

from components.aws.instance_families import Architecture
from components.foundation import TRAINING_ONLY

Capacity = Literal["on-demand", "spot"]
GPU_TAINT = "nvidia.com/gpu"
UNDISTURBED = {"karpenter.sh/do-not-disrupt": "true"}
"""Pod annotation: its node is not drained or replaced before the pod has ended (Karpenter, "Disruption")."""
GRACE_HOURS = 24
"""Smallest number of hours for which the pods of an expired node may keep running; Auto Mode's own default."""
MAX_AGE_DAYS = 21
"""Largest age of a node of Auto Mode in days, with the time after its expiry (EKS user guide, "Create a Node Pool")."""
CONSOLIDATE_AFTER = {"cpu": "1m", "gpu": "10m"}
"""Time for which a node may be idle. A GPU image takes more than 5 minutes to pull, and the node must not be removed
while a pod waits for its image."""


@dataclass(frozen=True, kw_only=True)
class NodePoolArgs:
    """Settings of the node pool."""

    labels: Mapping[str, str]
    """Labels by which pods select the nodes."""
    instance_families: Sequence[str]
    """EC2 instance families, such as `m7i`."""
    capacity: Sequence[Capacity]
    """Allowed purchase options; if both are allowed, Auto Mode tries spot first."""
    architecture: Architecture
    """CPU architecture of the nodes."""
    zones: Sequence[str]
    """Availability zones of the nodes; empty for every zone of the subnets."""
    max_cpus: int | None
    """Largest number of virtual CPUs of all nodes together; None for no limit."""
    max_gpus: int | None
    """Largest number of GPUs of all nodes together; None for nodes without GPUs. GPU nodes have a taint."""
    disk_gib: int
    """Size of a node's disk in GiB."""
    expire_after_days: int
    """Days after which a node is replaced, which also updates its operating system."""
    grace_hours: int
    """Hours for which the pods of a node that is being replaced may keep running."""
    training_only: bool
    """True: the nodes have a taint that keeps all pods away except training runs."""
    max_disrupted: str
    """Nodes that may be drained at the same time, as a number or a percentage."""
    policy_logs: bool
    """True: a file on each node has a line for each connection that a NetworkPolicy allows or refuses."""
    node_role: pulumi.Input[str]
    """Name of the nodes' role."""
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    """IDs of the nodes' subnets."""
    security_group_id: pulumi.Input[str]
    """Security group of the nodes."""
    disk_key_arn: pulumi.Input[str]
    """ARN of the key that encrypts the disks."""


class NodePool(pulumi.ComponentResource):
    """NodeClass and NodePool of EKS Auto Mode, which start without nodes.

    Disks are encrypted. A pod cannot take its node's role, because Auto Mode requires IMDSv2 with one hop (EKS user
    guide, "Instance Metadata Service").
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
            # The pool refers to its class by a plain name, so Pulumi does not see the dependency.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[node_class]),
        )
        self.register_outputs({})


def node_class_spec(args: NodePoolArgs) -> dict[str, object]:
    """Return the spec of the NodeClass: role, subnets, security group and disk of the nodes."""
    return {
        "role": args.node_role,
        "subnetSelectorTerms": pulumi.Output.from_input(args.subnet_ids).apply(
            lambda subnets: [{"id": subnet} for subnet in subnets]
        ),
        "securityGroupSelectorTerms": [{"id": args.security_group_id}],
        "ephemeralStorage": {"size": f"{args.disk_gib}Gi", "kmsKeyID": args.disk_key_arn},
        "networkPolicy": "DefaultAllow",
        "networkPolicyEventLogs": "Enabled" if args.policy_logs else "Disabled",
        "snatPolicy": "Random",
    }


def node_pool_spec(name: str, args: NodePoolArgs) -> dict[str, object]:
    """Return the spec of the NodePool: instance types, limits and disruption of the nodes."""
    gpu = args.max_gpus is not None
    requirements = {
        "eks.amazonaws.com/instance-family": list(args.instance_families),
        "karpenter.sh/capacity-type": list(args.capacity),
        "kubernetes.io/arch": [args.architecture],
        "topology.kubernetes.io/zone": list(args.zones),
    }
    keys = taint_keys(gpu=gpu, training_only=args.training_only)
    limits = {"cpu": args.max_cpus, GPU_TAINT: args.max_gpus}
    return {
        "template": {
            "metadata": {"labels": dict(args.labels)},
            "spec": {
                "nodeClassRef": {"group": "eks.amazonaws.com", "kind": "NodeClass", "name": name},
                "requirements": [
                    {"key": key, "operator": "In", "values": values} for key, values in requirements.items() if values
                ],
                "taints": [{"key": key, "value": "present", "effect": "NoSchedule"} for key in keys],
                "expireAfter": f"{args.expire_after_days * 24}h",
                "terminationGracePeriod": f"{args.grace_hours}h",
            },
        },
        "limits": {resource: str(limit) for resource, limit in limits.items() if limit is not None},
        "disruption": {
            "consolidationPolicy": "WhenEmpty" if gpu else "WhenEmptyOrUnderutilized",
            "consolidateAfter": CONSOLIDATE_AFTER["gpu" if gpu else "cpu"],
            "budgets": [{"nodes": args.max_disrupted}],
        },
    }


def taint_keys(*, gpu: bool, training_only: bool) -> list[str]:
    """Return the keys of the taints of a pool's nodes."""
    return [*([GPU_TAINT] if gpu else []), *([TRAINING_ONLY] if training_only else [])]
