"""AWS account and region of the program's credentials, with read-only requests about them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pulumi_aws as aws

T = TypeVar("T")
ZONES_WITHOUT_EKS = ("use1-az3", "usw1-az2", "cac1-az3")
"""IDs of zones where an EKS control plane cannot have a subnet (EKS user guide, "Subnet requirements for clusters")."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """AWS account, region and caller of the program's credentials."""

    id: str
    """Account number of 12 digits."""
    partition: str
    """Second field of every ARN: `aws`, `aws-cn` or `aws-us-gov`."""
    region: str
    """Name of the region, such as `eu-central-1`."""
    caller_arn: str
    """ARN of the user, or of the role's session, that runs the program."""


def role_arn(name: str, account: Account) -> str:
    """Return the ARN that a role of the account has or will have."""
    return f"arn:{account.partition}:iam::{account.id}:role/{name}"


def arn(service: str, rest: str, account: Account) -> str:
    """Return the ARN of a resource of the account in its region."""
    return f"arn:{account.partition}:{service}:{account.region}:{account.id}:{rest}"


def current() -> Account:
    """Return the account of the credentials; errors of AWS, such as missing credentials, are raised unchanged."""
    caller = aws.get_caller_identity()
    return Account(
        id=caller.account_id,
        partition=aws.get_partition().partition,
        region=aws.get_region().region,
        caller_arn=caller.arn,
    )


def zones() -> list[str]:
    """Return the names of the region's availability zones that can hold a cluster, sorted.

    Impaired zones are included: without one, the next zones would move up in the list and take its subnets.
    """
    return sorted(
        aws.get_availability_zones(
            exclude_zone_ids=list(ZONES_WITHOUT_EKS),
            filters=[{"name": "opt-in-status", "values": ["opt-in-not-required"]}],
        ).names
    )


ABSENT = re.compile("NoSuchEntity|couldn't find resource|not ?found|empty result", re.IGNORECASE)
"""Parts of the AWS provider's messages for a resource that does not exist."""


def role(name: str) -> str | None:
    """Return the ARN, with its path, of a role of the account; None if there is no such role."""
    return _none_if_absent(lambda: aws.iam.get_role(name=name).arn)


def policy(arn: str) -> str | None:
    """Return the ARN of an IAM policy; None if there is no such policy."""
    return _none_if_absent(lambda: aws.iam.get_policy(arn=arn).arn)


def bucket(name: str) -> str | None:
    """Return the name of a bucket that the credentials reach; None if there is no such bucket."""
    return _none_if_absent(lambda: aws.s3.get_bucket(bucket=name).bucket)


def oidc_audiences(arn: str) -> list[str] | None:
    """Return the audiences that an OIDC provider of the account accepts; None if there is no such provider."""
    return _none_if_absent(lambda: list(aws.iam.get_open_id_connect_provider(arn=arn).client_id_lists))


def _none_if_absent(request: Callable[[], T]) -> T | None:
    """Return the result of a request; None if AWS reports that the resource does not exist."""
    try:
        return request()
    except Exception as error:
        if ABSENT.search(str(error)):
            return None
        raise


def role_of(caller_arn: str) -> str:
    """Return the ARN under which IAM and EKS know the caller: for a session, that of its role.

    The ARN of a session omits the path of its role, so the result has no path either.
    """
    if ":assumed-role/" not in caller_arn:
        return caller_arn
    head, _, tail = caller_arn.partition(":assumed-role/")
    return f"{head.replace(':sts:', ':iam:')}:role/{tail.split('/')[0]}"
