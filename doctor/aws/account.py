"""Checks of credentials, region and availability zones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from components.aws.account import ZONES_WITHOUT_EKS, role_of
from doctor.aws.requests import Answer, Aws, CredentialsError
from doctor.findings import Finding, ok, problem, warning
from doctor.stack_file import Stack
from infra.config.aws import AutoNodePool, AwsFoundation, ExistingNetwork, NewCluster


@dataclass(frozen=True, kw_only=True)
class Zone:
    """Availability zone of the region."""

    name: str
    """Name in this account, such as `eu-west-1a`."""
    state: str
    """State, such as `available` or `impaired`."""


def identity(connect: Callable[[], Aws], chosen: AwsFoundation) -> Iterator[Finding]:
    """Check that the credentials work, and that they are those of the stack's account."""
    try:
        caller = connect().ask("sts", "get_caller_identity")
    except CredentialsError as error:
        yield problem("there are no valid AWS credentials", str(error), error.mend)
        return
    if caller["Account"] != chosen.account_id:
        yield problem(
            f"the credentials belong to account {caller['Account']}, the stack to {chosen.account_id}",
            "pulumi refuses to deploy with the credentials of another account",
            "set AWS_PROFILE to a profile of the stack's account (aws configure list-profiles), or write the account "
            "into mlops:foundation.account_id",
        )
        return
    yield ok(f"{caller['Arn']} in account {caller['Account']}")
    yield from _access(role_of(caller["Arn"]), chosen)


def _access(caller: str, chosen: AwsFoundation) -> Iterator[Finding]:
    if not isinstance(chosen.cluster, NewCluster):
        return
    name = caller.rpartition("/")[2]
    if name in {arn.rpartition("/")[2] for arn in chosen.cluster.admin_role_arns}:
        return
    if name in {arn.rpartition("/")[2] for arn in chosen.cluster.preview_role_arns}:
        yield warning(
            f"{caller} is only in cluster.preview_role_arns",
            "with it, pulumi preview works and pulumi up is refused",
            "to deploy, set AWS_PROFILE to a role in cluster.admin_role_arns",
        )
        return
    yield problem(
        f"{caller} is not in cluster.admin_role_arns",
        "the cluster accepts only the roles in this list, so pulumi refuses to deploy",
        "set AWS_PROFILE to one of these roles, or add the role to mlops:foundation.cluster.admin_role_arns",
    )


def region(aws: Aws, stack: Stack, named: str) -> Iterator[Finding]:
    """Check that the stack names a region, and that it has EKS and is enabled in the account."""
    if not named:
        yield problem(
            "neither the stack file nor AWS_REGION names a region",
            "pulumi does not know where to deploy",
            f"run pulumi config set --stack {stack.name} aws:region eu-west-1",
        )
        return
    if aws.region not in aws.session.get_available_regions("eks", partition_name=aws.partition):
        yield problem(
            f"{aws.region} is not a region with EKS",
            "there is no endpoint that could create a cluster",
            "run aws ec2 describe-regions --query 'Regions[].RegionName', and write one into aws:region",
        )
        return
    try:
        found = aws.ask("ec2", "describe_regions", RegionNames=[aws.region], AllRegions=True)["Regions"]
    except CredentialsError:  # a region that is not enabled does not know the account's credentials
        found = [{"OptInStatus": "not-opted-in"}]
    if any(each.get("OptInStatus") == "not-opted-in" for each in found):
        yield problem(
            f"region {aws.region} is not enabled in the account",
            "it refuses every request",
            f"run aws account enable-region --region-name {aws.region}",
        )
        return
    yield ok(f"{aws.region} is enabled")


def list_zones(aws: Aws) -> list[Zone]:
    """Return the zones that can hold a cluster, in the order in which the program uses them."""
    opted_in = [{"Name": "opt-in-status", "Values": ["opt-in-not-required"]}]
    found = aws.ask("ec2", "describe_availability_zones", Filters=opted_in)
    return sorted(
        (
            Zone(name=each["ZoneName"], state=each["State"])
            for each in found["AvailabilityZones"]
            if each["ZoneId"] not in ZONES_WITHOUT_EKS
        ),
        key=lambda zone: zone.name,
    )


def subnets(aws: Aws, network: ExistingNetwork) -> list[Answer]:
    """Return the private subnets of an existing network."""
    return aws.ask("ec2", "describe_subnets", SubnetIds=list(network.private_subnet_ids))["Subnets"]


def used_zones(aws: Aws, chosen: AwsFoundation) -> list[str]:
    """Return the names of the zones in which the stack has private subnets."""
    if isinstance(chosen.network, ExistingNetwork):
        return sorted({each["AvailabilityZone"] for each in subnets(aws, chosen.network)})
    return [zone.name for zone in list_zones(aws)][: chosen.network.availability_zones]


def zones(aws: Aws, stack: Stack, chosen: AwsFoundation) -> Iterator[Finding]:
    """Check that the region has as many zones as the stack uses, and that node pools name some of these."""
    known = list_zones(aws)
    wanted = chosen.network.availability_zones
    if not isinstance(chosen.network, ExistingNetwork) and wanted > len(known):
        yield problem(
            f"the stack uses {wanted} zones, and {aws.region} has {len(known)} that can hold a cluster",
            "pulumi refuses to deploy",
            stack.set_command("foundation.network.availability_zones", len(known)),
        )
        return
    used = used_zones(aws, chosen)
    if impaired := [zone for zone in known if zone.name in used and zone.state != "available"]:
        yield warning(
            f"zone {impaired[0].name} is {impaired[0].state}",
            "AWS may not start nodes or a database there",
            "read https://health.aws.amazon.com, and deploy later",
        )
    for name, pool in chosen.node_pools.items():
        if isinstance(pool, AutoNodePool) and (others := sorted(set(pool.zones) - set(used))):
            yield problem(
                f"node pool {name} names zone {', '.join(others)}, and the stack has subnets in {', '.join(used)}",
                "no node starts in a zone without a subnet",
                f"change mlops:foundation.node_pools.{name}.zones",
            )
    yield ok(f"{len(used)} zones: {', '.join(used)}")
