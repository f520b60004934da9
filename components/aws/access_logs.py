"""S3 bucket for the access logs of load balancers and of the artifact bucket."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.policy_documents import written_by_log_services
from components.aws.private_bucket import keep_private

LOAD_BALANCERS, BUCKETS = "load-balancers", "buckets"
"""Prefixes in the bucket, without a slash at the end."""


@dataclass(frozen=True, kw_only=True)
class AccessLogsArgs:
    """Settings of the bucket."""

    bucket: str
    """Name, unique in all of AWS, which ends in `-access-logs`."""
    days: int
    """Days after which a log file is deleted."""
    protected: bool
    """False: Pulumi deletes the bucket with its objects."""
    account: Account
    """AWS account whose load balancers and buckets write to the bucket."""


class AccessLogs(pulumi.ComponentResource):
    """Private bucket into which only the log services of AWS write, and only over TLS.

    It is encrypted with S3's own key, because these services cannot use another one (ELB user guide, "Enable access
    logs"; S3 user guide, "Enabling server access logging").
    """

    bucket: pulumi.Output[str]
    """Name of the bucket; it resolves when the services may write to it."""

    def __init__(self, name: str, args: AccessLogsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:AccessLogs", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        bucket = aws.s3.Bucket(name, bucket=args.bucket, force_destroy=not args.protected, opts=child)
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            # The name is known before the bucket exists, and by it the policy pack knows that this is its purpose.
            bucket=bucket.bucket,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
            opts=child,
        )
        allowed = keep_private(
            name,
            bucket,
            *written_by_log_services(bucket.arn, load_balancers=LOAD_BALANCERS, buckets=BUCKETS, account=args.account),
            opts=child,
        )
        aws.s3.BucketLifecycleConfiguration(
            name,
            bucket=bucket.id,
            rules=[
                {
                    "id": "old-logs",
                    "status": "Enabled",
                    "filter": {},
                    "expiration": {"days": args.days},
                    "noncurrent_version_expiration": {"noncurrent_days": 1},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
                }
            ],
            opts=child,
        )
        self.bucket = pulumi.Output.all(bucket.bucket, allowed.id).apply(lambda ready: ready[0])
        self.register_outputs({"bucket": self.bucket})
