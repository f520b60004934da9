"""The bucket that datasets, models and predictions live in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.policy_documents import encrypted_connections_only

ARTIFACTS, DATASETS, PREDICTIONS = "mlflow/", "datasets/", "predictions/"
"""Where things lie: MLflow's runs and models, tables to train on, what was predicted."""


@dataclass(frozen=True, kw_only=True)
class ArtifactBucketArgs:
    """What is kept, and how long."""

    bucket: str | None
    """Its name in the whole of AWS; None: made up by Pulumi."""
    key_alias: str
    noncurrent_days: int
    """An object that was overwritten or deleted can be had back for this long."""
    prediction_log_days: int
    access_log_bucket: str | None
    """A bucket of yours that takes one line for each request."""
    protected: bool
    """Refuses to be deleted; without it, deleting the bucket deletes what is in it."""
    account: Account


class ArtifactBucket(pulumi.ComponentResource):
    """A private, versioned bucket, encrypted with its own key, that answers over TLS only."""

    name: pulumi.Output[str]
    arn: pulumi.Output[str]
    key_arn: pulumi.Output[str]
    """Who reads or writes objects needs this key as well."""

    def __init__(self, name: str, args: ArtifactBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:ArtifactBucket", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        key = EncryptionKey(
            name,
            EncryptionKeyArgs(
                description="Datasets, models and predictions",
                alias=args.key_alias,
                account=args.account,
                protected=args.protected,
            ),
            child,
        )
        bucket = aws.s3.Bucket(
            name,
            bucket=args.bucket,
            force_destroy=not args.protected,
            # Models that serve and the data they were made of; nothing brings them back.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protected),
        )
        aws.s3.BucketVersioning(name, bucket=bucket.id, versioning_configuration={"status": "Enabled"}, opts=child)
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            bucket=bucket.id,
            rules=encryption(key.arn),
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
        aws.s3.BucketPolicy(
            name,
            bucket=bucket.id,
            policy=encrypted_connections_only(bucket.arn),
            # S3 answers 409 when both are put at once.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[closed]),
        )
        aws.s3.BucketLifecycleConfiguration(name, bucket=bucket.id, rules=lifecycle(args), opts=child)
        if args.access_log_bucket:
            aws.s3.BucketLogging(
                name,
                bucket=bucket.id,
                target_bucket=args.access_log_bucket,
                target_prefix=f"{args.key_alias}/",
                opts=child,
            )
        self.name, self.arn, self.key_arn = bucket.bucket, bucket.arn, key.arn
        self.register_outputs({"name": self.name, "arn": self.arn, "key_arn": self.key_arn})


def encryption(
    key_arn: pulumi.Input[str],
) -> Sequence[aws.s3.BucketServerSideEncryptionConfigurationRuleArgsDict]:
    """Our key for every object; a bucket key, so that not every object costs a request to KMS."""
    default: aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgsDict = {
        "sse_algorithm": "aws:kms",
        "kms_master_key_id": key_arn,
    }
    return [{"bucket_key_enabled": True, "apply_server_side_encryption_by_default": default}]


def lifecycle(args: ArtifactBucketArgs) -> Sequence[aws.s3.BucketLifecycleConfigurationRuleArgsDict]:
    """What goes away by itself."""
    return [
        {
            "id": "unfinished-uploads",
            "status": "Enabled",
            "filter": {},
            "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
        },
        {
            "id": "overwritten-and-deleted",
            "status": "Enabled",
            "filter": {},
            "noncurrent_version_expiration": {"noncurrent_days": args.noncurrent_days},
            # What was deleted leaves a marker, which would stay and slow down every listing.
            "expiration": {"expired_object_delete_marker": True},
        },
        {
            "id": "prediction-logs",
            "status": "Enabled",
            "filter": {"prefix": PREDICTIONS},
            "expiration": {"days": args.prediction_log_days},
        },
    ]
