"""EKS managed node group, for clusters that cannot use Auto Mode's nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.instance_families import Architecture
from components.aws.node_pool import Capacity, taint_keys
from components.aws.node_role import node_role

NODE_POLICIES = ("AmazonEC2ContainerRegistryPullOnly", "AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy")
IMAGES: dict[tuple[Architecture, bool], str] = {
    ("amd64", False): "BOTTLEROCKET_x86_64",
    ("arm64", False): "BOTTLEROCKET_ARM_64",
    ("amd64", True): "BOTTLEROCKET_x86_64_NVIDIA",
    ("arm64", True): "BOTTLEROCKET_ARM_64_NVIDIA",
}
"""Type of the node image (EKS API, `amiType`) for each architecture, without and with GPU."""


@dataclass(frozen=True, kw_only=True)
class ManagedNodeGroupArgs:
    """Settings of the node group."""

    role_name: str
    """Name of the nodes' role; it is fixed, because image repositories refer to its ARN before the role exists."""
    labels: Mapping[str, str]
    """Labels by which pods select the nodes."""
    instance_types: Sequence[str]
    """EC2 instance types, such as `m7i.large`."""
    capacity: Capacity
    """Purchase option of the instances."""
    architecture: Architecture
    """CPU architecture of the instances."""
    nodes: int
    """Number of nodes, which is constant."""
    gpu: bool
    """True: the nodes have GPUs, and a taint keeps pods away that request none."""
    training_only: bool
    """True: a taint keeps all pods away except training runs."""
    disk_gib: int
    """Size in GiB of the disk for images and containers."""
    cluster_name: pulumi.Input[str]
    """Name of the cluster."""
    kubernetes_version: pulumi.Input[str]
    """Kubernetes version of the cluster, which nodes do not follow by themselves."""
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    """IDs of the nodes' subnets."""
    disk_key_arn: pulumi.Input[str]
    """ARN of the key that encrypts the disks."""
    permissions_boundary: str | None
    """ARN of the policy that limits the role; None for none."""
    account: Account
    """AWS account of the nodes."""


class ManagedNodeGroup(pulumi.ComponentResource):
    """EKS managed node group of constant size, with encrypted disks; EKS replaces failing nodes.

    Pods cannot take the role of their node, because the metadata service requires IMDSv2 with one hop.
    """

    def __init__(self, name: str, args: ManagedNodeGroupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:ManagedNodeGroup", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        role, attached = node_role(
            name,
            args.role_name,
            NODE_POLICIES,
            permissions_boundary=args.permissions_boundary,
            account=args.account,
            opts=child,
        )
        template = aws.ec2.LaunchTemplate(
            name,
            update_default_version=True,
            metadata_options={"http_tokens": "required", "http_put_response_hop_limit": 1},
            # Bottlerocket keeps itself on the first disk, and images and the data of containers on the second.
            block_device_mappings=[_disk("/dev/xvda", args), _disk("/dev/xvdb", args, args.disk_gib)],
            opts=child,
        )
        aws.eks.NodeGroup(
            name,
            cluster_name=args.cluster_name,
            version=args.kubernetes_version,
            node_role_arn=role.arn,
            subnet_ids=args.subnet_ids,
            instance_types=list(args.instance_types),
            capacity_type={"on-demand": "ON_DEMAND", "spot": "SPOT"}[args.capacity],
            ami_type=IMAGES[args.architecture, args.gpu],
            scaling_config={"min_size": args.nodes, "max_size": args.nodes, "desired_size": args.nodes},
            update_config={"max_unavailable": 1},
            node_repair_config={"enabled": True},
            labels=dict(args.labels),
            taints=[
                {"key": key, "value": "present", "effect": "NO_SCHEDULE"}
                for key in taint_keys(gpu=args.gpu, training_only=args.training_only)
            ],
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            # A node that starts before its role has these policies never joins the cluster.
            opts=pulumi.ResourceOptions(parent=self, depends_on=attached),
        )
        self.register_outputs({})


def _disk(
    device: str, args: ManagedNodeGroupArgs, gib: int | None = None
) -> aws.ec2.LaunchTemplateBlockDeviceMappingArgsDict:
    """Return an encrypted disk of `gib` GiB, or of the image's own size."""
    disk: aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgsDict = {
        "encrypted": "true",
        "kms_key_id": args.disk_key_arn,
        "volume_type": "gp3",
        "delete_on_termination": "true",
    }
    return {"device_name": device, "ebs": {**disk, "volume_size": gib} if gib else disk}
