"""Amazon Managed Grafana: a workspace whose role may query one Managed Prometheus, and the login of its users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account, arn
from components.aws.policy_documents import query_prometheus, trust_service


@dataclass(frozen=True, kw_only=True)
class IdentityCenter:
    """Login by the organization's IAM Identity Center."""

    admin_groups: Sequence[str]
    """Ids of the groups that administer the workspace."""
    viewer_groups: Sequence[str]
    """Ids of the groups that read dashboards."""


@dataclass(frozen=True, kw_only=True)
class Saml:
    """Login by an identity provider that speaks SAML; its users without one of the named roles read dashboards."""

    metadata_url: str
    """URL of the provider's metadata."""
    role_attribute: str
    """Attribute of the provider's assertions that has the roles of a user."""
    admin_roles: Sequence[str]
    """Roles of the users that administer the workspace."""
    editor_roles: Sequence[str]
    """Roles of the users that edit dashboards."""


@dataclass(frozen=True, kw_only=True)
class ManagedGrafanaArgs:
    """Workspace that is queried, and the login of the users."""

    prefix: str
    """Name of the workspace, unique in the account and region."""
    prometheus_arn: pulumi.Input[str]
    """ARN of the workspace of Managed Prometheus."""
    login: IdentityCenter | Saml
    """Login of the users."""
    permissions_boundary: str | None
    """ARN of the permissions boundary of the workspace's role."""
    account: Account
    """AWS account of the workspace."""


class ManagedGrafana(pulumi.ComponentResource):
    """Workspace of Grafana that AWS runs, without a data source and dashboards, which only its own API can add."""

    url: pulumi.Output[str]
    """URL of the workspace."""

    def __init__(self, name: str, args: ManagedGrafanaArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:ManagedGrafana", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            name,
            assume_role_policy=trust_service(
                "grafana.amazonaws.com",
                account=args.account.id,
                source_arn=arn("grafana", "/workspaces/*", args.account),
            ),
            permissions_boundary=args.permissions_boundary,
            opts=child,
        )
        aws.iam.RolePolicy(name, role=role.id, policy=query_prometheus(args.prometheus_arn), opts=child)
        workspace = aws.grafana.Workspace(
            name,
            name=args.prefix,
            account_access_type="CURRENT_ACCOUNT",
            authentication_providers=["AWS_SSO" if isinstance(args.login, IdentityCenter) else "SAML"],
            data_sources=["PROMETHEUS"],
            # With SERVICE_MANAGED, AWS's console would write the policies of the role.
            permission_type="CUSTOMER_MANAGED",
            role_arn=role.arn,
            opts=child,
        )
        _declare_login(name, workspace.id, args.login, child)
        self.url = pulumi.Output.concat("https://", workspace.endpoint)
        self.register_outputs({"url": self.url})


def _declare_login(
    name: str, workspace_id: pulumi.Output[str], login: IdentityCenter | Saml, child: pulumi.ResourceOptions
) -> None:
    if isinstance(login, Saml):
        aws.grafana.WorkspaceSamlConfiguration(
            name,
            workspace_id=workspace_id,
            idp_metadata_url=login.metadata_url,
            role_assertion=login.role_attribute,
            admin_role_values=login.admin_roles,
            editor_role_values=login.editor_roles,
            opts=child,
        )
        return
    for role, groups in (("ADMIN", login.admin_groups), ("VIEWER", login.viewer_groups)):
        if groups:
            aws.grafana.RoleAssociation(
                f"{name}-{role.lower()}", workspace_id=workspace_id, role=role, group_ids=groups, opts=child
            )
