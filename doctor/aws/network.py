"""Checks of networks: quotas of a new VPC, its addresses, and the parts of an existing one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from contract import names
from doctor.aws.account import used_zones
from doctor.aws.quotas import increase, quotas
from doctor.aws.requests import AbsentError, Answer, Aws
from doctor.cluster import Kubernetes
from doctor.findings import Finding, ok, problem, unchecked, warning
from doctor.stack_file import Stack
from infra.config.aws import AwsFoundation, ExistingNetwork, NewNetwork

FEW_ADDRESSES = 32
"""Number of free addresses of a subnet below which a release may have no address for its pods."""
TAGS = {"kubernetes.io/role/internal-elb": "private", "kubernetes.io/role/elb": "public"}
"""Tags by which EKS finds the subnets of load balancers."""


@dataclass(frozen=True, kw_only=True)
class _Need:
    """Things of one kind that the stack adds to those in the account."""

    service: str
    quota: str
    """Name of the quota."""
    there: int
    """Number that exists."""
    added: int
    """Number that the next update creates."""
    where: str = ""


def network_quotas(aws: Aws, stack: Stack, chosen: AwsFoundation) -> Iterator[Finding]:
    """Check that the quotas allow the VPC, its NAT gateways and their addresses, in addition to what exists."""
    network = chosen.network
    if isinstance(network, ExistingNetwork):
        yield ok("the network exists already, and the stack adds nothing to it")
        return
    for need in _needs(aws, stack, chosen, network):
        quota = next((each for each in quotas(aws, need.service) if each.name == need.quota), None)
        if quota is None:
            yield unchecked(
                f"Service Quotas lists no quota named {need.quota}", "look at the console of Service Quotas"
            )
        elif need.added and need.there + need.added > quota.value:
            yield problem(
                f"{quota.name} is {quota.value:g}; {need.there} exist{need.where} and the stack adds {need.added}",
                "pulumi up stops half way",
                increase(aws, quota, need.there + need.added),
            )
        else:
            yield ok(
                f"{quota.name}{need.where}: {need.there} exist, {need.added} are added, {quota.value:g} are allowed"
            )


def _needs(aws: Aws, stack: Stack, chosen: AwsFoundation, network: NewNetwork) -> Iterator[_Need]:
    vpcs = aws.ask("ec2", "describe_vpcs")["Vpcs"]
    own = {vpc["VpcId"] for vpc in vpcs if _name(vpc) == stack.full_name}
    yield _Need(service="vpc", quota="VPCs per Region", there=len(vpcs), added=0 if own else 1)
    zones = used_zones(aws, chosen)
    wanted = {"none": [], "one": zones[:1], "per_zone": zones}[network.nat_gateways]
    alive = [{"Name": "state", "Values": ["pending", "available"]}]
    gateways = aws.ask("ec2", "describe_nat_gateways", Filters=alive)["NatGateways"]
    subnets = {each["SubnetId"]: each["AvailabilityZone"] for each in aws.ask("ec2", "describe_subnets")["Subnets"]}
    there = Counter(subnets.get(each.get("SubnetId", "")) for each in gateways)
    mine = Counter(subnets.get(each.get("SubnetId", "")) for each in gateways if each.get("VpcId") in own)
    for zone in wanted:
        added = 0 if mine[zone] else 1
        yield _Need(
            service="vpc",
            quota="NAT gateways per Availability Zone",
            there=there[zone],
            added=added,
            where=f" in {zone}",
        )
    addresses = aws.ask("ec2", "describe_addresses")["Addresses"]
    added = sum(not mine[zone] for zone in wanted)
    yield _Need(service="ec2", quota="EC2-VPC Elastic IPs", there=len(addresses), added=added)


def vpc(aws: Aws, stack: Stack, chosen: AwsFoundation) -> Iterator[Finding]:
    """Check the addresses of a new VPC, or the parts of an existing one."""
    if isinstance(chosen.network, ExistingNetwork):
        yield from _existing(aws, chosen.network)
    else:
        yield from _addresses(aws, stack, chosen.network)


def _addresses(aws: Aws, stack: Stack, network: NewNetwork) -> Iterator[Finding]:
    """Check that the addresses of a new VPC are not those of another VPC in the region."""
    mine = IPv4Network(network.cidr)
    vpcs = aws.ask("ec2", "describe_vpcs")["Vpcs"]
    taken = {vpc["VpcId"]: _blocks(vpc) for vpc in vpcs if _name(vpc) != stack.full_name}
    clashes = [(vpc, block) for vpc, blocks in taken.items() for block in blocks if block.overlaps(mine)]
    for vpc, block in clashes:
        free = _free(mine, [each for blocks in taken.values() for each in blocks])
        yield warning(
            f"network.cidr {mine} overlaps {block} of {vpc}",
            "the two VPCs can never be peered or share a transit gateway, and the CIDR of a VPC cannot be changed",
            f"before the first pulumi up, {stack.set_command('foundation.network.cidr', free)}",
        )
    if not clashes:
        yield ok(f"network.cidr {mine} overlaps none of {len(taken)} other VPCs")


def s3(aws: Aws, kubernetes: Kubernetes) -> Iterator[Finding]:
    """Check that the NetworkPolicies admit every address of S3 in the region; AWS adds some from time to time."""
    named = {"Name": "prefix-list-name", "Values": [f"com.amazonaws.{aws.region}.s3"]}
    (listed,) = aws.ask("ec2", "describe_prefix_lists", Filters=[named])["PrefixLists"]
    wanted = {IPv4Network(cidr) for cidr in listed["Cidrs"] if ":" not in cidr}
    found = False
    for namespace in (names.PLATFORM, names.TRAINING, names.SERVING):
        for policy in kubernetes.items("networkpolicies", namespace=namespace):
            admitted = _https(policy)
            missing = sorted(each for each in wanted if not any(each.subnet_of(block) for block in admitted))
            # A policy that admits none of the blocks is about something else.
            if missing and len(missing) < len(wanted):
                found = True
                yield problem(
                    f"{policy['metadata']['name']} in {namespace} lacks {len(missing)} of S3's {len(wanted)} address "
                    f"blocks, such as {missing[0]}",
                    "its pods reach S3 only as long as they get another address for it",
                    "run pulumi up",
                )
    if not found:
        yield ok(f"the NetworkPolicies admit S3's {len(wanted)} address blocks")


def _https(policy: Answer) -> list[IPv4Network]:
    """Return the blocks to which a NetworkPolicy lets its pods connect on port 443."""
    rules: list[Answer] = policy["spec"].get("egress", [])
    ports: list[list[Answer]] = [rule.get("ports", []) for rule in rules]
    peers: list[list[Answer]] = [rule.get("to", []) for rule in rules]
    return [
        IPv4Network(peer["ipBlock"]["cidr"])
        for of_rule, targets in zip(ports, peers, strict=True)
        if 443 in [port.get("port") for port in of_rule]
        for peer in targets
        if "ipBlock" in peer
    ]


def _blocks(vpc: Answer) -> list[IPv4Network]:
    listed = vpc.get("CidrBlockAssociationSet") or [vpc]
    return [IPv4Network(each["CidrBlock"]) for each in listed]


def _free(like: IPv4Network, taken: Sequence[IPv4Network]) -> str:
    """Return a private block of the same size that overlaps none of these."""
    blocks = IPv4Network("10.0.0.0/8").subnets(new_prefix=like.prefixlen)
    return str(next((block for block in blocks if not any(block.overlaps(each) for each in taken)), "a free block"))


def _existing(aws: Aws, network: ExistingNetwork) -> Iterator[Finding]:
    """Check that an existing VPC has the subnets of the stack file, in enough zones, with addresses and tags."""
    wanted = {
        **dict.fromkeys(network.private_subnet_ids, "private"),
        **dict.fromkeys(network.public_subnet_ids, "public"),
    }
    try:
        aws.ask("ec2", "describe_vpcs", VpcIds=[network.vpc_id])
        found = aws.ask("ec2", "describe_subnets", SubnetIds=list(wanted))["Subnets"]
    except AbsentError as error:
        yield problem(
            f"a part of the network does not exist: {error}",
            "pulumi stops at the first resource that needs it",
            "run aws ec2 describe-subnets --query 'Subnets[].[SubnetId,VpcId,AvailabilityZone]', and change "
            "mlops:foundation.network",
        )
        return
    others = [each for each in found if each["VpcId"] != network.vpc_id]
    for each in others:
        yield problem(
            f"{each['SubnetId']} belongs to {each['VpcId']}, not to {network.vpc_id}",
            "nodes there cannot reach the cluster",
            f"run aws ec2 describe-subnets --filters Name=vpc-id,Values={network.vpc_id}, and change the list",
        )
    zones = {each["AvailabilityZone"] for each in found if wanted[each["SubnetId"]] == "private"}
    if len(zones) < network.availability_zones:
        yield problem(
            f"the private subnets are in {', '.join(sorted(zones))}, the file asks for {network.availability_zones}",
            "a zone without a subnet gets no node and no standby database",
            f"add a subnet of another zone, or write availability_zones: {len(zones)}",
        )
    for each in found:
        yield from _subnet(each, wanted[each["SubnetId"]])
    yield ok(f"{network.vpc_id} with {len(found)} subnets in {', '.join(sorted(zones))}")


def _subnet(subnet: Answer, use: str) -> Iterator[Finding]:
    name, free = subnet["SubnetId"], subnet["AvailableIpAddressCount"]
    if free < FEW_ADDRESSES:
        yield warning(
            f"{name} has {free} free addresses",
            "each pod takes one; without a free address, pods stay pending",
            "add a larger subnet to mlops:foundation.network.private_subnet_ids",
        )
    tag = next(tag for tag, kind in TAGS.items() if kind == use)
    if tag not in {each["Key"] for each in subnet.get("Tags", [])}:
        yield problem(
            f"{name} lacks the tag {tag}",
            "load balancers are created only in subnets with this tag",
            f"run aws ec2 create-tags --resources {name} --tags Key={tag},Value=1",
        )


def _name(resource: Answer) -> str:
    return next((tag["Value"] for tag in resource.get("Tags", []) if tag["Key"] == "Name"), "")
