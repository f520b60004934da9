"""Protection that every bucket gets: versions, no public access, no ACLs, and TLS connections only."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from components.aws.policy_documents import Statement, encrypted_connections_only


def keep_private(
    name: str, bucket: aws.s3.Bucket, *further: Statement, opts: pulumi.ResourceOptions | None = None
) -> aws.s3.BucketPolicy:
    """Declare the protection of a bucket and return its policy.

    Args:
        name: name of the resources.
        bucket: bucket to protect.
        further: statements of the policy about who may use the bucket.
        opts: options of the resources, such as their parent.
    """
    aws.s3.BucketVersioning(name, bucket=bucket.id, versioning_configuration={"status": "Enabled"}, opts=opts)
    closed = aws.s3.BucketPublicAccessBlock(
        name,
        bucket=bucket.id,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        opts=opts,
    )
    aws.s3.BucketOwnershipControls(name, bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=opts)
    return aws.s3.BucketPolicy(
        name,
        bucket=bucket.id,
        policy=encrypted_connections_only(bucket.arn, *further),
        # S3 answers 409 if the public access block and the policy are set at the same time.
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[closed])),
    )
