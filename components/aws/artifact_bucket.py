"""S3 bucket for datasets, models and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.policy_documents import pods_from_network_only
from components.aws.private_bucket import keep_private
from contract import names

ARTIFACTS, DATASETS, PREDICTIONS, REPORTS = "mlflow/", "datasets/", "predictions/", f"{names.VALIDATION_REPORTS}/"
BATCHES = "batch/"
"""Prefixes in the bucket: MLflow's runs and models, tables to train on, prediction logs, reports of validations."""


@dataclass(frozen=True, kw_only=True)
class PodNetwork:
    """Network that a cluster's pods must use to reach the bucket."""

    cluster_arn: pulumi.Input[str]
    """ARN of the cluster; people, CI and other clusters are not affected."""
    vpc_id: pulumi.Input[str]
    """ID of the VPC, which has an endpoint for S3."""
    athena: bool = False
    """True: Athena, which has no address of the VPC, may read the bucket for pods."""


@dataclass(frozen=True, kw_only=True)
class ArtifactBucketArgs:
    """Settings of the bucket."""

    bucket: str | None
    """Name, unique in all of AWS; None if Pulumi chooses it."""
    key_alias: str
    """Alias of the encryption key, without `alias/`."""
    noncurrent_days: int
    """Days for which overwritten and deleted objects can be restored."""
    prediction_log_days: int
    """Days after which prediction logs are deleted."""
    access_log_bucket: pulumi.Input[str] | None
    """Bucket that receives one line for each request; None for no access log."""
    access_log_prefix: str
    """Prefix of the access log's objects, without a slash at the end."""
    pods: PodNetwork | None
    """Network that pods must use; None if they may use any."""
    protected: bool
    """True: Pulumi refuses to delete the bucket. False: Pulumi deletes it with its objects."""
    account: Account
    """AWS account of the bucket."""


class ArtifactBucket(pulumi.ComponentResource):
    """Private, versioned bucket, encrypted with its own key, that accepts only TLS connections."""

    name: pulumi.Output[str]
    """Name of the bucket."""
    arn: pulumi.Output[str]
    """ARN of the bucket."""
    key_arn: pulumi.Output[str]
    """ARN of the encryption key, which every reader and writer of objects must be allowed to use."""

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
            # Models in use and their training data cannot be recreated.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protected),
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            bucket=bucket.id,
            rules=encryption(key.arn),
            opts=child,
        )
        further = (
            [
                pods_from_network_only(
                    bucket.arn,
                    cluster_arn=args.pods.cluster_arn,
                    vpc_id=args.pods.vpc_id,
                    athena=args.pods.athena,
                )
            ]
            if args.pods
            else []
        )
        keep_private(name, bucket, *further, opts=child)
        aws.s3.BucketLifecycleConfiguration(name, bucket=bucket.id, rules=lifecycle(args), opts=child)
        if args.access_log_bucket:
            aws.s3.BucketLogging(
                name,
                bucket=bucket.id,
                target_bucket=args.access_log_bucket,
                target_prefix=f"{args.access_log_prefix}/",
                opts=child,
            )
        self.name, self.arn, self.key_arn = bucket.bucket, bucket.arn, key.arn
        self.register_outputs({"name": self.name, "arn": self.arn, "key_arn": self.key_arn})


def addresses(region: str) -> pulumi.Output[Sequence[str]]:
    """Return the address blocks of S3 in the region, as AWS lists them at each preview and update."""
    listed = aws.ec2.get_prefix_list_output(name=f"com.amazonaws.{region}.s3")
    return listed.cidr_blocks.apply(sorted)


def encryption(
    key_arn: pulumi.Input[str],
) -> Sequence[aws.s3.BucketServerSideEncryptionConfigurationRuleArgsDict]:
    """Return the rule that encrypts every object with the key; a bucket key saves one KMS request per object."""
    default: aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgsDict = {
        "sse_algorithm": "aws:kms",
        "kms_master_key_id": key_arn,
    }
    return [{"bucket_key_enabled": True, "apply_server_side_encryption_by_default": default}]


def lifecycle(args: ArtifactBucketArgs) -> Sequence[aws.s3.BucketLifecycleConfigurationRuleArgsDict]:
    """Return the rules by which S3 deletes unfinished uploads, old versions of objects and prediction logs."""
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
            # S3 keeps a marker for each deleted object, and markers slow down every listing.
            "expiration": {"expired_object_delete_marker": True},
        },
        {
            "id": "prediction-logs",
            "status": "Enabled",
            "filter": {"prefix": PREDICTIONS},
            "expiration": {"days": args.prediction_log_days},
        },
    ]
