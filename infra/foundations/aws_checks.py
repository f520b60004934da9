"""Whether account, region and stack name are those that the stack file was written for: asked before any resource."""

import re
from collections.abc import Iterator, Mapping, Sequence

import pulumi

from components.aws import account as accounts
from components.aws.account import Account, role_of
from components.aws.existing_cluster import Seen, look
from infra.config import aws_rules
from infra.config.aws import (
    AutoNodePool,
    AwsFoundation,
    ExistingCluster,
    ExistingNetwork,
    Ingress,
    ManagedNodePool,
    NewCluster,
    NewNetwork,
)
from infra.config.problems import Problem, refusal, shown
from infra.config.rules import Rule
from infra.config.stack import Settings


def check(name: str, account: Account, zones: Sequence[str], stack: Settings) -> None:
    """pulumi.RunError with every reason not to go on.

    `name` is what everything with a fixed name begins with, `zones` are those of the region that can hold a cluster.
    """
    if not isinstance(chosen := stack.foundation, AwsFoundation):
        return
    found = [*_name(name), *_credentials(account, chosen), *_zones(account, zones, chosen)]
    if not found:
        found = list(_absent(chosen))
        if isinstance(chosen.cluster, ExistingCluster):
            found += _existing(look(chosen.cluster.name), chosen)
    if found := [*found, *_certificates(account, _ingresses(stack))]:
        raise refusal(found)


def _name(name: str) -> Iterator[Problem]:
    stack = pulumi.get_stack()
    if not re.fullmatch(aws_rules.STACK_NAME, name) or len(stack) > aws_rules.MAX_STACK:
        yield Problem(
            path="foundation",
            found=f"is of stack {stack}",
            rule=Rule(
                must=f"must be of a stack whose name is a-z, 0-9 and single hyphens, {aws_rules.MAX_STACK} at most",
                because="cluster, database, repositories and roles are named after it, and AWS takes no other name",
                instead="run pulumi stack init with such a name, as in prod, and rename the file",
            ),
        )


def _credentials(account: Account, chosen: AwsFoundation) -> Iterator[Problem]:
    if account.id != chosen.account_id:
        yield Problem(
            path="foundation.account_id",
            found=f'is "{chosen.account_id}"',
            rule=Rule(
                must=f"must be the account of your credentials, {account.id}",
                because="a stack that is deployed with the wrong profile changes somebody else's account",
                instead="choose the right profile (AWS_PROFILE), or correct the number if this account is meant",
            ),
        )
    elif isinstance(chosen.cluster, NewCluster) and not _may_administer(account.caller_arn, chosen.cluster):
        yield Problem(
            path="foundation.cluster.admin_role_arns",
            found=f"lacks {role_of(account.caller_arn)}",
            rule=Rule(
                must="must hold the role that runs pulumi",
                because="the cluster lets in nobody else, so its first object would fail with 401",
                instead="add it, or run pulumi with one of the roles in the list",
            ),
        )


def _may_administer(caller_arn: str, cluster: NewCluster) -> bool:
    """A session names its role without the role's path, so only the last part of an ARN can be compared."""
    return role_of(caller_arn).rpartition("/")[2] in {arn.rpartition("/")[2] for arn in cluster.admin_role_arns}


def _zones(account: Account, zones: Sequence[str], chosen: AwsFoundation) -> Iterator[Problem]:
    network = chosen.network
    if isinstance(network, NewNetwork) and network.availability_zones > len(zones):
        yield Problem(
            path="foundation.network.availability_zones",
            found=f"is {network.availability_zones}",
            rule=Rule(
                must=f"must be at most {len(zones)} in {account.region}",
                because=f"it has no more zones that can hold a cluster than {', '.join(zones)}",
                instead="write fewer, or choose another aws:region",
            ),
        )
    there = zones[: network.availability_zones] if isinstance(network, NewNetwork) else zones
    for name, pool in chosen.node_pools.items():
        if isinstance(pool, AutoNodePool) and not set(pool.zones) <= set(there):
            yield Problem(
                path=f"foundation.node_pools.{name}.zones",
                found=f"is {shown(pool.zones)}",
                rule=Rule(
                    must=f"must be among {', '.join(there)}",
                    because="nowhere else are subnets, so no node would ever start",
                    instead="choose some of these, or leave the key out for all",
                ),
            )


AUTOSCALING = "AWSServiceRoleForAutoScaling"


def _absent(chosen: AwsFoundation) -> Iterator[Problem]:
    """What the stack file names and AWS does not have: an update would stop half way where it is first needed."""
    admins = chosen.cluster.admin_role_arns if isinstance(chosen.cluster, NewCluster) else ()
    for place, arn in enumerate(admins):
        if _is_absent(arn, there := accounts.role(arn.rpartition("/")[2])):
            yield Problem(
                path=f"foundation.cluster.admin_role_arns.{place}",
                found=f"is {arn}",
                rule=Rule(
                    must="must be a role that exists" if there is None else f"must be {there}, the role of that name",
                    because="EKS refuses an access entry for any other, so the update would stop half way",
                    instead="create it (docs/aws.md, step 2), or take it out of the list"
                    if there is None
                    else "write the ARN with its path",
                ),
            )
    if (boundary := chosen.permissions_boundary) and accounts.policy(boundary) is None:
        yield Problem(
            path="foundation.permissions_boundary",
            found=f"is {boundary}",
            rule=Rule(
                must="must be a policy that exists",
                because="IAM refuses to make a role with any other",
                instead="create it (aws iam create-policy), or leave the key out",
            ),
        )
    if (logs := chosen.artifacts.access_log_bucket) and accounts.bucket(logs) is None:
        yield Problem(
            path="foundation.artifacts.access_log_bucket",
            found=f"is {logs}",
            rule=Rule(
                must="must be a bucket that exists and that your credentials reach",
                because="S3 refuses to log into any other",
                instead="create it, or leave the key out",
            ),
        )
    managed = [name for name, pool in chosen.node_pools.items() if isinstance(pool, ManagedNodePool)]
    if managed and accounts.role(AUTOSCALING) is None:
        yield Problem(
            path=f"foundation.node_pools.{managed[0]}.kind",
            found="is managed",
            rule=Rule(
                must=f"must be auto where the account has no role {AUTOSCALING}",
                because="EC2 Auto Scaling starts managed nodes by it, and the key of their disks names it",
                instead="run aws iam create-service-linked-role --aws-service-name autoscaling.amazonaws.com",
            ),
        )


def _is_absent(arn: str, there: str | None) -> bool:
    """Whether no role has the name, or one with another path."""
    return there is None or there not in {"", arn}


def _existing(seen: Seen, chosen: AwsFoundation) -> Iterator[Problem]:
    if isinstance(chosen.network, ExistingNetwork) and chosen.network.vpc_id != seen.vpc_id:
        yield Problem(
            path="foundation.network.vpc_id",
            found=f"is {chosen.network.vpc_id}",
            rule=Rule(
                must=f"must be {seen.vpc_id}, where the existing cluster is",
                because="nodes elsewhere cannot join it, and its pods not reach the database",
                instead="write that one and its subnets, or another cluster.name",
            ),
        )
    if seen.authentication_mode == "CONFIG_MAP":
        yield Problem(
            path="foundation.cluster.name",
            found="is a cluster with authentication mode CONFIG_MAP",
            rule=Rule(
                must="must be one that takes access entries",
                because="new nodes are let in by one",
                instead="run aws eks update-cluster-config --access-config authenticationMode=API_AND_CONFIG_MAP",
            ),
        )
    if not seen.auto_mode and any(isinstance(pool, AutoNodePool) for pool in chosen.node_pools.values()):
        yield Problem(
            path="foundation.cluster.name",
            found="is a cluster without Auto Mode",
            rule=Rule(
                must="must be one in Auto Mode for node pools of kind auto",
                because="nothing in it would start their nodes",
                instead="switch Auto Mode on, or write kind: managed in each pool",
            ),
        )


def _ingresses(stack: Settings) -> Mapping[str, Ingress]:
    """By path."""
    ways = {
        "tracking.ingress": stack.tracking.ingress,
        **{f"endpoints.{name}.ingress": endpoint.ingress for name, endpoint in stack.endpoints.items()},
    }
    return {path: way for path, way in ways.items() if way}


def _certificates(account: Account, ways: Mapping[str, Ingress]) -> Iterator[Problem]:
    for path, way in ways.items():
        if way.certificate_arn and way.certificate_arn.split(":")[3:5] != [account.region, account.id]:
            yield Problem(
                path=f"{path}.certificate_arn",
                found=f"is {way.certificate_arn}",
                rule=Rule(
                    must=f"must be a certificate of account {account.id} in {account.region}",
                    because="a load balancer shows no other",
                    instead="choose one that `aws acm list-certificates` lists there, or request one",
                ),
            )
