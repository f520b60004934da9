"""Encryption key (KMS) of one store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.policy_documents import Statement, key_policy


@dataclass(frozen=True, kw_only=True)
class EncryptionKeyArgs:
    """Settings of the key."""

    description: str
    """Purpose of the key, as the AWS console shows it."""
    alias: str
    """Alias, without `alias/`, unique in the account and region."""
    account: Account
    """AWS account that administers the key."""
    region: str | None = None
    """Region of the key; None for the provider's."""
    uses: Sequence[Statement] = ()
    """Statements that let further identities use the key, in addition to the account's IAM policies."""
    protected: bool
    """True: Pulumi refuses to delete the key."""


class EncryptionKey(pulumi.ComponentResource):
    """Symmetric KMS key with an alias, rotated yearly; AWS can restore a deleted key for 30 days.

    The key has its own policy, because AWS's default policy grants the account `kms:*`.
    """

    arn: pulumi.Output[str]
    """ARN of the key."""

    def __init__(self, name: str, args: EncryptionKeyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:EncryptionKey", name, {}, opts)
        key = aws.kms.Key(
            name,
            region=args.region,
            description=args.description,
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=key_policy(*args.uses, account=args.account.id, partition=args.account.partition),
            # Data that a deleted key encrypts cannot be read again.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protected),
        )
        aws.kms.Alias(
            name,
            name=f"alias/{args.alias}",
            region=args.region,
            target_key_id=key.key_id,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = key.arn
        self.register_outputs({"arn": self.arn})
