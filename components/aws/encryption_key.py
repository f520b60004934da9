"""A key of our own for one store."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True, kw_only=True)
class EncryptionKeyArgs:
    """What the key is for."""

    description: str
    alias: str
    """Its name for people, without `alias/`; one for each key of the account and region."""
    policy: pulumi.Input[str] | None = None
    """A key policy; without one, IAM policies of the account decide."""
    protected: bool


class EncryptionKey(pulumi.ComponentResource):
    """A symmetric KMS key, rotated yearly, with a name. A deleted one can be taken back for 30 days."""

    arn: pulumi.Output[str]
    """For encryption settings and policies."""

    def __init__(self, name: str, args: EncryptionKeyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:EncryptionKey", name, {}, opts)
        key = aws.kms.Key(
            name,
            description=args.description,
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=args.policy,
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
