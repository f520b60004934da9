"""Resources that the nodes of all pools share: a role, the permission to join, a key for their disks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.node_role import node_role
from components.aws.policy_documents import key_for_disks

POLICIES = ("AmazonEC2ContainerRegistryPullOnly", "AmazonEKSWorkerNodeMinimalPolicy")
"""Managed policies that Auto Mode requires (EKS user guide, "Create an EKS Auto Mode node role"); none covers S3."""


@dataclass(frozen=True, kw_only=True)
class NodesArgs:
    """Settings of the nodes."""

    prefix: str
    """Prefix of the names of the role and the key."""
    cluster_name: pulumi.Input[str]
    """Name of the cluster that the nodes join."""
    cluster_role_arn: pulumi.Input[str]
    """ARN of the role with which EKS starts nodes."""
    disk_role_arns: Sequence[pulumi.Input[str]]
    """ARNs of further roles that start nodes with encrypted disks."""
    permissions_boundary: str | None
    """ARN of the policy that limits the role; None for none."""
    protected: bool
    """True: Pulumi refuses to delete the key that encrypts the disks."""
    account: Account
    """AWS account of the nodes."""


class Nodes(pulumi.ComponentResource):
    """Role with which nodes join the cluster and pull images, and key of their disks; pods have their own roles."""

    role_name: pulumi.Output[str]
    """Name of the role; it resolves when nodes with the role may join."""
    disk_key_arn: pulumi.Output[str]
    """ARN of the key that encrypts the disks."""

    def __init__(self, name: str, args: NodesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:Nodes", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        here = args.account
        key = EncryptionKey(
            name,
            EncryptionKeyArgs(
                description=f"Disks of the nodes of {args.prefix}",
                alias=f"{args.prefix}-nodes",
                account=here,
                uses=key_for_disks([args.cluster_role_arn, *args.disk_role_arns]),
                protected=args.protected,
            ),
            child,
        )
        role, attached = node_role(
            name,
            role_name(args.prefix),
            POLICIES,
            permissions_boundary=args.permissions_boundary,
            account=here,
            opts=child,
        )
        entry = aws.eks.AccessEntry(
            name, cluster_name=args.cluster_name, principal_arn=role.arn, type="EC2", opts=child
        )
        joined = aws.eks.AccessPolicyAssociation(
            name,
            cluster_name=args.cluster_name,
            principal_arn=entry.principal_arn,
            policy_arn=f"arn:{here.partition}:eks::aws:cluster-access-policy/AmazonEKSAutoNodePolicy",
            access_scope={"type": "cluster"},
            opts=child,
        )
        ready = pulumi.Output.all(role.name, joined.id, *(attachment.id for attachment in attached))
        self.role_name = ready.apply(lambda known: known[0])
        self.disk_key_arn = key.arn
        self.register_outputs({"role_name": self.role_name, "disk_key_arn": self.disk_key_arn})


def role_name(prefix: str) -> str:
    """Return the name of the role; it is fixed, because image repositories refer to its ARN before the role exists."""
    return f"{prefix}-nodes"
