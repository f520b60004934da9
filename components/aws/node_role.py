"""IAM role of nodes."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.managed_policies import managed_policies
from components.aws.policy_documents import trust_instances


def node_role(
    name: str,
    role_name: str,
    policies: Sequence[str],
    *,
    permissions_boundary: str | None,
    account: Account,
    opts: pulumi.ResourceOptions,
) -> tuple[aws.iam.Role, list[aws.iam.RolePolicyAttachment]]:
    """Create a role for EC2 instances, with AWS managed policies given by name.

    `role_name` is fixed, because image repositories refer to the role's ARN before the role exists.
    """
    role = aws.iam.Role(
        name,
        name=role_name,
        assume_role_policy=trust_instances(),
        permissions_boundary=permissions_boundary,
        opts=opts,
    )
    return role, managed_policies(name, role, policies, account=account, opts=opts)
