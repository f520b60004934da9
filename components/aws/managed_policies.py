"""Attachments of AWS managed policies to a role."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from components.aws.account import Account


def managed_policies(
    name: str, role: aws.iam.Role, policies: Sequence[str], *, account: Account, opts: pulumi.ResourceOptions
) -> list[aws.iam.RolePolicyAttachment]:
    """Attach AWS managed policies, given by name with their path, to a role."""
    return [
        aws.iam.RolePolicyAttachment(
            f"{name}-{policy.rpartition('/')[2]}",
            role=role.name,
            policy_arn=f"arn:{account.partition}:iam::aws:policy/{policy}",
            opts=opts,
        )
        for policy in policies
    ]
