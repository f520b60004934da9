"""Daily backups of database and bucket by AWS Backup, each with a copy in another region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.managed_policies import managed_policies
from components.aws.policy_documents import trust_backups

POLICIES = (
    "service-role/AWSBackupServiceRolePolicyForBackup",
    "service-role/AWSBackupServiceRolePolicyForRestores",
    "AWSBackupServiceRolePolicyForS3Backup",
    "AWSBackupServiceRolePolicyForS3Restore",
)
"""Managed policies of the role with which AWS Backup reads and restores (AWS Backup guide, "Managed policies")."""
START = "cron(0 4 * * ? *)"
"""Daily start in UTC. AWS Backup makes no snapshot of a database during its backup and maintenance windows."""
START_MINUTES, COMPLETION_MINUTES = 60, 720
"""Minutes within which a backup must begin, and within which it must end."""


@dataclass(frozen=True, kw_only=True)
class BackupArgs:
    """Settings of the backups."""

    prefix: str
    """Prefix of the names of vaults, keys and plan, unique in the account."""
    days: int
    """Days for which a backup is kept."""
    copy_region: str
    """Region of the copies."""
    copy_days: int
    """Days for which a copy is kept."""
    resource_arns: Sequence[pulumi.Input[str]]
    """ARNs of the database and the bucket."""
    protected: bool
    """False: Pulumi deletes the vaults with the backups in them."""
    permissions_boundary: str | None
    """ARN of the policy that limits the role; None for none."""
    account: Account
    """AWS account of the backups."""


class Backup(pulumi.ComponentResource):
    """Vault, a vault in another region, and a plan that fills both every day; each vault has its own key."""

    vault: pulumi.Output[str]
    """Name of the vault."""
    copy_vault_arn: pulumi.Output[str]
    """ARN of the vault in the other region."""

    def __init__(self, name: str, args: BackupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:Backup", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        vault = _vault(name, args, child, region=None)
        copies = _vault(f"{name}-copies", args, child, region=args.copy_region)
        plan = aws.backup.Plan(
            name,
            name=args.prefix,
            rules=[
                {
                    "rule_name": "daily",
                    "target_vault_name": vault.name,
                    "schedule": START,
                    "start_window": START_MINUTES,
                    "completion_window": COMPLETION_MINUTES,
                    "lifecycle": {"delete_after": args.days},
                    "copy_actions": [
                        {"destination_vault_arn": copies.arn, "lifecycle": {"delete_after": args.copy_days}}
                    ],
                }
            ],
            opts=child,
        )
        role = aws.iam.Role(
            name,
            assume_role_policy=trust_backups(),
            permissions_boundary=args.permissions_boundary,
            opts=child,
        )
        attached = managed_policies(name, role, POLICIES, account=args.account, opts=child)
        aws.backup.Selection(
            name,
            name=args.prefix,
            plan_id=plan.id,
            iam_role_arn=role.arn,
            resources=list(args.resource_arns),
            # A backup that begins before the role has its policies fails.
            opts=pulumi.ResourceOptions(parent=self, depends_on=attached),
        )
        self.vault, self.copy_vault_arn = vault.name, copies.arn
        self.register_outputs({"vault": self.vault, "copy_vault_arn": self.copy_vault_arn})


def _vault(name: str, args: BackupArgs, child: pulumi.ResourceOptions, *, region: str | None) -> aws.backup.Vault:
    """Create a vault with its own key, in the provider's region unless another is named."""
    key = EncryptionKey(
        name,
        EncryptionKeyArgs(
            description=f"Backups of {args.prefix}",
            alias=f"{args.prefix}-backups",
            account=args.account,
            region=region,
            protected=args.protected,
        ),
        child,
    )
    return aws.backup.Vault(
        name,
        name=f"{args.prefix}-backups",
        region=region,
        kms_key_arn=key.arn,
        force_destroy=not args.protected,
        # The backups in it may be the only ones.
        opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(protect=args.protected)),
    )
