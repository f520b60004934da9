"""The account and region that the program's AWS credentials reach."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pulumi_aws as aws

ZONES_WITHOUT_EKS = ("use1-az3", "usw1-az2", "cac1-az3")
"""Zones where a control plane cannot have a subnet (EKS user guide, "Subnet requirements for clusters")."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Asked of AWS once, before any resource."""

    id: str
    partition: str
    """`aws`, `aws-cn` or `aws-us-gov`: the second field of every ARN."""
    region: str
    caller_arn: str


def role_arn(name: str, account: Account) -> str:
    """The ARN that a role of the account has or will have."""
    return f"arn:{account.partition}:iam::{account.id}:role/{name}"


def arn(service: str, rest: str, account: Account) -> str:
    """Of a resource of the account in its region."""
    return f"arn:{account.partition}:{service}:{account.region}:{account.id}:{rest}"


def current() -> Account:
    """Whom these credentials belong to. No network, no account: AWS's own error."""
    caller = aws.get_caller_identity()
    return Account(
        id=caller.account_id,
        partition=aws.get_partition().partition,
        region=aws.get_region().region,
        caller_arn=caller.arn,
    )


def zones() -> list[str]:
    """The region's availability zones that can hold a cluster, by name.

    Whatever their state: were one left out while it is impaired, the others would move up and take its subnets.
    """
    return sorted(
        aws.get_availability_zones(
            exclude_zone_ids=list(ZONES_WITHOUT_EKS),
            filters=[{"name": "opt-in-status", "values": ["opt-in-not-required"]}],
        ).names
    )


ABSENT = re.compile("NoSuchEntity|couldn't find resource|not ?found|empty result", re.IGNORECASE)
"""Words of the AWS provider for something that is not there, whatever asked for it."""


def role(name: str) -> str | None:
    """The ARN of a role of the account, with its path; None if there is no such role."""
    return _found(lambda: aws.iam.get_role(name=name).arn)


def policy(arn: str) -> str | None:
    """The ARN of an IAM policy; None if there is no such policy."""
    return _found(lambda: aws.iam.get_policy(arn=arn).arn)


def bucket(name: str) -> str | None:
    """The name of a bucket that these credentials reach; None if there is none."""
    return _found(lambda: aws.s3.get_bucket(bucket=name).bucket)


def _found(ask: Callable[[], str]) -> str | None:
    """The answer, or None where AWS says that the thing is not there; any other error of AWS is raised as it is."""
    try:
        return ask()
    except Exception as error:
        if ABSENT.search(str(error)):
            return None
        raise


def role_of(caller_arn: str) -> str:
    """The ARN under which IAM and EKS know the caller: a session of a role counts as the role.

    A role below a path is seen without it in a session, so such a role is named by its last part only.
    """
    if ":assumed-role/" not in caller_arn:
        return caller_arn
    head, _, tail = caller_arn.partition(":assumed-role/")
    return f"{head.replace(':sts:', ':iam:')}:role/{tail.split('/')[0]}"
