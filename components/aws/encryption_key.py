"""A key of our own for one store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.policy_documents import Statement, key_policy


@dataclass(frozen=True, kw_only=True)
class EncryptionKeyArgs:
    """What the key is for."""

    description: str
    alias: str
    """Its name for people, without `alias/`; one for each key of the account and region."""
    account: Account
    uses: Sequence[Statement] = ()
    """Who may use it beside those whom IAM policies of the account let."""
    protected: bool


class EncryptionKey(pulumi.ComponentResource):
    """A symmetric KMS key, rotated yearly, with a name. A deleted one can be taken back for 30 days.

    Its policy is written out: the one that AWS gives a key without grants the account `kms:*`.
    """

    arn: pulumi.Output[str]
    """For encryption settings and policies."""

    def __init__(self, name: str, args: EncryptionKeyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:EncryptionKey", name, {}, opts)
        key = aws.kms.Key(
            name,
            description=args.description,
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=key_policy(*args.uses, account=args.account.id, partition=args.account.partition),
            # Data under a deleted key is lost for good.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protected),
        )
        aws.kms.Alias(
            name,
            name=f"alias/{args.alias}",
            target_key_id=key.key_id,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = key.arn
        self.register_outputs({"arn": self.arn})
