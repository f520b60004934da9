"""VPC that the program creates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws

from components.aws.account import Account, arn
from components.aws.log_group import LogGroup, LogGroupArgs
from components.aws.policy_documents import trust_service, write_flow_logs
from components.aws.subnets import plan

NatGateways = Literal["none", "one", "per_zone"]
LoadBalancers = Literal["shared", "moving", "own"]


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """Settings of the VPC."""

    cidr: str
    """Address block of the VPC."""
    zones: Sequence[str]
    """Names of the availability zones; the order and names of existing zones must not change."""
    nat_gateways: NatGateways
    """NAT gateways of the private subnets."""
    load_balancers: LoadBalancers
    """Subnets of internal load balancers: the private ones (`shared`), or further ones, from which alone pods admit
    load balancers (`own`). With `moving` the load balancers get the further ones, and pods still admit the whole VPC.
    """
    interface_endpoints: Sequence[str]
    """AWS services with an endpoint in the VPC, such as `ecr.api`; AWS charges each by hour and zone."""
    flow_log_days: int
    """Days for which flow logs are kept."""
    cluster_name: str
    """Name of the cluster whose load balancers may use the subnets."""
    permissions_boundary: str | None
    """ARN of the policy that limits the role; None for none."""
    account: Account
    """AWS account of the VPC."""


class Network(pulumi.ComponentResource):
    """VPC with a public and a private subnet in each zone, and one for internal load balancers unless these share.

    Private subnets reach S3 through a gateway endpoint, and the internet through NAT gateways, if any. Every connection
    is logged. The default security group blocks all traffic, so a resource without its own group has no network.
    """

    vpc_id: pulumi.Output[str]
    """ID of the VPC."""
    cidrs: pulumi.Output[list[str]]
    """Address blocks of the VPC."""
    private_subnet_ids: pulumi.Output[list[str]]
    """Private subnet of each zone, in the order of the zones."""
    public_subnet_ids: pulumi.Output[list[str]]
    """Public subnet of each zone, for load balancers and NAT gateways only."""
    internal_subnet_ids: pulumi.Output[list[str]]
    """Subnet of each zone for internal load balancers."""
    public_sources: pulumi.Output[list[str]]
    """Address blocks from which public load balancers reach pods."""
    internal_sources: pulumi.Output[list[str]]
    """Address blocks from which internal load balancers reach pods."""
    nat_gateway_ids: Mapping[str, pulumi.Output[str]]
    """Id of each NAT gateway, by its name in the program."""
    control_plane_subnet_ids: pulumi.Output[list[str]]
    """Private subnets of the first two zones. The zones of a cluster cannot change (EKS API, UpdateClusterConfig), so
    a third zone can be added and removed only if the control plane does not use it."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:Network", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        zones = dict(zip(args.zones, plan(args.cidr, len(args.zones)), strict=True))
        vpc = aws.ec2.Vpc(
            name,
            cidr_block=args.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags={"Name": args.cluster_name},
            opts=child,
        )
        aws.ec2.DefaultSecurityGroup(name, vpc_id=vpc.id, ingress=[], egress=[], opts=child)
        public = [
            _subnet(f"{name}-public-{zone}", args, vpc, child, zone=zone, cidr=blocks.public, role="elb")
            for zone, blocks in zones.items()
        ]
        private = [
            _subnet(f"{name}-private-{zone}", args, vpc, child, zone=zone, cidr=blocks.private, role="internal-elb")
            for zone, blocks in zones.items()
        ]
        internal = [
            _subnet(f"{name}-internal-{zone}", args, vpc, child, zone=zone, cidr=blocks.internal, role="internal-elb")
            for zone, blocks in zones.items()
            if args.load_balancers != "shared" and blocks.internal
        ]
        internet = _open_routes(name, vpc, public, child)
        gateways = _gateways(name, args, public, internet, child)
        tables = _private_routes(name, vpc, private, gateways, child)
        for position, (table, subnet) in enumerate(zip(tables, internal, strict=False)):
            # A route that you add to a private table, as to a VPN, holds for the load balancers too.
            aws.ec2.RouteTableAssociation(
                f"{name}-internal-{position}", route_table_id=table.id, subnet_id=subnet.id, opts=child
            )
        _endpoints(name, args, vpc, child, subnets=private, tables=tables)
        _log_flows(name, args, vpc, child)
        self.nat_gateway_ids = {f"{name}-{place}": gateway.id for place, gateway in enumerate(gateways)}
        self.vpc_id, self.cidrs = vpc.id, pulumi.Output.all(vpc.cidr_block)
        self.private_subnet_ids = pulumi.Output.all(*(subnet.id for subnet in private))
        self.public_subnet_ids = pulumi.Output.all(*(subnet.id for subnet in public))
        self.internal_subnet_ids = pulumi.Output.all(*(subnet.id for subnet in internal or private))
        own = args.load_balancers == "own"
        self.public_sources = _blocks(public) if own else self.cidrs
        self.internal_sources = _blocks(internal) if own else self.cidrs
        self.control_plane_subnet_ids = pulumi.Output.all(*(subnet.id for subnet in private[:2]))
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "cidrs": self.cidrs,
                "private_subnet_ids": self.private_subnet_ids,
                "public_subnet_ids": self.public_subnet_ids,
            }
        )


def _blocks(subnets: Sequence[aws.ec2.Subnet]) -> pulumi.Output[list[str]]:
    return pulumi.Output.all(*(subnet.cidr_block for subnet in subnets)).apply(
        lambda blocks: [block for block in blocks if block]
    )


def _subnet(
    name: str, args: NetworkArgs, vpc: aws.ec2.Vpc, child: pulumi.ResourceOptions, *, zone: str, cidr: str, role: str
) -> aws.ec2.Subnet:
    """Create a subnet with the tags by which Auto Mode finds it (EKS user guide, "Tag subnets for EKS Auto Mode")."""
    return aws.ec2.Subnet(
        name,
        vpc_id=vpc.id,
        availability_zone=zone,
        cidr_block=cidr,
        map_public_ip_on_launch=False,
        tags={
            "Name": f"{args.cluster_name}-{name}",
            f"kubernetes.io/role/{role}": "1",
            f"kubernetes.io/cluster/{args.cluster_name}": "shared",
        },
        opts=child,
    )


def _open_routes(
    name: str, vpc: aws.ec2.Vpc, subnets: Sequence[aws.ec2.Subnet], child: pulumi.ResourceOptions
) -> aws.ec2.InternetGateway:
    """Create the internet gateway and the route table of the public subnets."""
    internet = aws.ec2.InternetGateway(name, vpc_id=vpc.id, opts=child)
    table = aws.ec2.RouteTable(f"{name}-public", vpc_id=vpc.id, tags={"Name": "public"}, opts=child)
    aws.ec2.Route(
        f"{name}-public",
        route_table_id=table.id,
        destination_cidr_block="0.0.0.0/0",
        gateway_id=internet.id,
        opts=child,
    )
    for position, subnet in enumerate(subnets):
        aws.ec2.RouteTableAssociation(
            f"{name}-public-{position}", route_table_id=table.id, subnet_id=subnet.id, opts=child
        )
    return internet


def _gateways(
    name: str,
    args: NetworkArgs,
    public: Sequence[aws.ec2.Subnet],
    internet: aws.ec2.InternetGateway,
    child: pulumi.ResourceOptions,
) -> list[aws.ec2.NatGateway]:
    """Create the requested NAT gateways; a change from `one` to `per_zone` keeps the first."""
    count = {"none": 0, "one": 1, "per_zone": len(public)}[args.nat_gateways]
    return [
        aws.ec2.NatGateway(
            f"{name}-{position}",
            subnet_id=subnet.id,
            allocation_id=aws.ec2.Eip(f"{name}-{position}", domain="vpc", opts=child).allocation_id,
            # AWS creates a NAT gateway only in a VPC that has an internet gateway.
            opts=pulumi.ResourceOptions(parent=child.parent, depends_on=[internet]),
        )
        for position, subnet in enumerate(public[:count])
    ]


def _private_routes(
    name: str,
    vpc: aws.ec2.Vpc,
    subnets: Sequence[aws.ec2.Subnet],
    gateways: Sequence[aws.ec2.NatGateway],
    child: pulumi.ResourceOptions,
) -> list[aws.ec2.RouteTable]:
    """Create a route table for each private subnet, with a route through its zone's NAT gateway, if there are any."""
    tables: list[aws.ec2.RouteTable] = []
    for position, subnet in enumerate(subnets):
        label = f"{name}-private-{position}"
        table = aws.ec2.RouteTable(label, vpc_id=vpc.id, tags={"Name": f"private-{position}"}, opts=child)
        aws.ec2.RouteTableAssociation(label, route_table_id=table.id, subnet_id=subnet.id, opts=child)
        if gateways:
            gateway = gateways[min(position, len(gateways) - 1)]
            aws.ec2.Route(
                label,
                route_table_id=table.id,
                destination_cidr_block="0.0.0.0/0",
                nat_gateway_id=gateway.id,
                opts=child,
            )
        tables.append(table)
    return tables


def _endpoints(
    name: str,
    args: NetworkArgs,
    vpc: aws.ec2.Vpc,
    child: pulumi.ResourceOptions,
    *,
    subnets: Sequence[aws.ec2.Subnet],
    tables: Sequence[aws.ec2.RouteTable],
) -> None:
    """Create a gateway endpoint for S3 (no charge) and the interface endpoints, which accept HTTPS from the VPC."""
    service = f"com.amazonaws.{args.account.region}"
    aws.ec2.VpcEndpoint(
        f"{name}-s3",
        vpc_id=vpc.id,
        service_name=f"{service}.s3",
        vpc_endpoint_type="Gateway",
        route_table_ids=[table.id for table in tables],
        opts=child,
    )
    if not args.interface_endpoints:
        return
    group = aws.ec2.SecurityGroup(
        f"{name}-endpoints", vpc_id=vpc.id, description="Interface endpoints: HTTPS from the VPC", opts=child
    )
    aws.vpc.SecurityGroupIngressRule(
        f"{name}-endpoints",
        security_group_id=group.id,
        cidr_ipv4=args.cidr,
        ip_protocol="tcp",
        from_port=443,
        to_port=443,
        opts=child,
    )
    for endpoint in args.interface_endpoints:
        aws.ec2.VpcEndpoint(
            f"{name}-{endpoint}",
            vpc_id=vpc.id,
            service_name=f"{service}.{endpoint}",
            vpc_endpoint_type="Interface",
            private_dns_enabled=True,
            subnet_ids=[subnet.id for subnet in subnets],
            security_group_ids=[group.id],
            opts=child,
        )


def _log_flows(name: str, args: NetworkArgs, vpc: aws.ec2.Vpc, child: pulumi.ResourceOptions) -> None:
    """Log accepted and rejected connections of the VPC to CloudWatch."""
    logs = LogGroup(
        f"{name}-flows",
        LogGroupArgs(
            log_group=f"/aws/vpc/{args.cluster_name}", retention_days=args.flow_log_days, account=args.account
        ),
        child,
    )
    role = aws.iam.Role(
        f"{name}-flows",
        assume_role_policy=trust_service(
            "vpc-flow-logs.amazonaws.com",
            account=args.account.id,
            source_arn=arn("ec2", "vpc-flow-log/*", args.account),
        ),
        permissions_boundary=args.permissions_boundary,
        opts=child,
    )
    permission = aws.iam.RolePolicy(f"{name}-flows", role=role.name, policy=write_flow_logs(logs.arn), opts=child)
    aws.ec2.FlowLog(
        name,
        vpc_id=vpc.id,
        traffic_type="ALL",
        log_destination=logs.arn,
        iam_role_arn=role.arn,
        # No argument of the flow log refers to the permission, so Pulumi would not create it first.
        opts=pulumi.ResourceOptions(parent=child.parent, depends_on=[permission]),
    )
