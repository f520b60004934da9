"""CloudWatch log group for the logs of AWS services."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account, arn
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.policy_documents import key_for_logs


@dataclass(frozen=True, kw_only=True)
class LogGroupArgs:
    """Settings of the log group."""

    log_group: str
    """Full name, which the service that writes to the group prescribes."""
    retention_days: int
    """Days for which logs are kept, one of the numbers that CloudWatch Logs accepts (PutRetentionPolicy)."""
    account: Account
    """AWS account of the log group."""


class LogGroup(pulumi.ComponentResource):
    """CloudWatch log group that deletes old logs and is encrypted with its own key."""

    arn: pulumi.Output[str]
    """ARN without the suffix `:*`, which means all its streams."""

    def __init__(self, name: str, args: LogGroupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:LogGroup", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        here = args.account
        key = EncryptionKey(
            name,
            EncryptionKeyArgs(
                description=f"Logs of {args.log_group}",
                alias=f"logs{args.log_group}",
                account=here,
                uses=[key_for_logs(region=here.region, log_group_arn=arn("logs", f"log-group:{args.log_group}", here))],
                protected=False,
            ),
            child,
        )
        group = aws.cloudwatch.LogGroup(
            name, name=args.log_group, retention_in_days=args.retention_days, kms_key_id=key.arn, opts=child
        )
        self.arn = group.arn
        self.register_outputs({"arn": self.arn})
