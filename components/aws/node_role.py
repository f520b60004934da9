"""The role of EC2 instances that are nodes."""

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
    """A role that instances of this account may take, with AWS's own `policies` by name.

    `role_name` is fixed: image repositories grant pulls to the role by its ARN, and may come before it.
    """
    role = aws.iam.Role(
        name,
        name=role_name,
        assume_role_policy=trust_instances(),
        permissions_boundary=permissions_boundary,
        opts=opts,
    )
    return role, managed_policies(name, role, policies, account=account, opts=opts)
