"""S3 bucket for the access logs of load balancers and of the artifact bucket."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.policy_documents import encrypted_connections_only, written_by_log_services

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
        aws.s3.BucketVersioning(name, bucket=bucket.id, versioning_configuration={"status": "Enabled"}, opts=child)
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            # The name is known before the bucket exists, and by it the policy pack knows that this is its purpose.
            bucket=bucket.bucket,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
            opts=child,
        )
        closed = aws.s3.BucketPublicAccessBlock(
            name,
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketOwnershipControls(
            name, bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=child
        )
        allowed = aws.s3.BucketPolicy(
            name,
            bucket=bucket.id,
            policy=encrypted_connections_only(
                bucket.arn,
                *written_by_log_services(
                    bucket.arn, load_balancers=LOAD_BALANCERS, buckets=BUCKETS, account=args.account
                ),
            ),
            # S3 answers 409 if the public access block and the policy are set at the same time.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[closed]),
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
                }
            ],
            opts=child,
        )
        self.bucket = pulumi.Output.all(bucket.bucket, allowed.id).apply(lambda ready: ready[0])
        self.register_outputs({"bucket": self.bucket})
