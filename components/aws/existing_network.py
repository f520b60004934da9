"""VPC that exists outside this program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True, kw_only=True)
class ExistingNetworkArgs:
    """References to the VPC and its subnets."""

    vpc_id: str
    """ID of the VPC."""
    private_subnet_ids: Sequence[str]
    """Subnets for nodes, pods and the database."""
    public_subnet_ids: Sequence[str]
    """Subnets for public load balancers."""


class ExistingNetwork(pulumi.ComponentResource):
    """Existing VPC, with the outputs of `Network`; the program only reads it and adds no routes or endpoints."""

    vpc_id: pulumi.Output[str]
    """ID of the VPC."""
    cidrs: pulumi.Output[list[str]]
    """Address blocks of the VPC."""
    private_subnet_ids: pulumi.Output[list[str]]
    """IDs of the private subnets."""
    public_subnet_ids: pulumi.Output[list[str]]
    """IDs of the public subnets."""
    internal_subnet_ids: pulumi.Output[list[str]]
    """IDs of the subnets for internal load balancers: the private ones."""
    public_sources: pulumi.Output[list[str]]
    """Address blocks from which public load balancers reach pods: those of the VPC."""
    internal_sources: pulumi.Output[list[str]]
    """Address blocks from which internal load balancers reach pods: those of the VPC."""
    control_plane_subnet_ids: pulumi.Output[list[str]]
    """All private subnets, because the program does not know their zones."""

    def __init__(self, name: str, args: ExistingNetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:ExistingNetwork", name, {}, opts)
        vpc = aws.ec2.get_vpc_output(id=args.vpc_id, opts=pulumi.InvokeOutputOptions(parent=self))
        self.vpc_id = vpc.id
        # A VPC often has a second address block for its pods.
        self.cidrs = vpc.cidr_block_associations.apply(lambda blocks: [block.cidr_block for block in blocks])
        self.private_subnet_ids = pulumi.Output.from_input(list(args.private_subnet_ids))
        self.public_subnet_ids = pulumi.Output.from_input(list(args.public_subnet_ids))
        self.internal_subnet_ids = self.private_subnet_ids
        self.public_sources = self.internal_sources = self.cidrs
        self.control_plane_subnet_ids = self.private_subnet_ids
        self.register_outputs({"vpc_id": self.vpc_id, "cidrs": self.cidrs})
