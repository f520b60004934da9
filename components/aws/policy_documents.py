"""IAM policy documents of the program, as pure functions of names and ARNs.

No statement allows an action that contains `*`, or the resource `*`. Key policies are an exception: their resource must
be `*`, which means the key that has the policy (KMS developer guide, "Key policies").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from components.aws.account import Account, arn, role_arn

Statement = Mapping[str, object]

INSPECTOR = "aws-service-role/inspector2.amazonaws.com/AWSServiceRoleForAmazonInspector2"
"""Path and name of the role with which Inspector reads images (ECR user guide, "Enhanced scanning")."""
USE_KEY = (
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)
ADMINISTER_KEY = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:CreateGrant",
    "kms:DeleteAlias",
    "kms:DisableKey",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:DisableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListAliases",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:RetireGrant",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
"""Actions that an account needs to manage its key, listed one by one instead of `kms:*`."""


def document(*statements: Statement) -> pulumi.Output[str]:
    """Return a policy document as JSON."""
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": statements}, sort_keys=True)


def trust_service(
    service: str, *, account: str, source_arn: str, actions: Sequence[str] = ("sts:AssumeRole",)
) -> pulumi.Output[str]:
    """Return a trust policy for one AWS service, on behalf of this account and the resources of `source_arn` only."""
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Service": service},
            "Action": list(actions),
            "Condition": {
                "StringEquals": {"aws:SourceAccount": account},
                "ArnLike": {"aws:SourceArn": source_arn},
            },
        }
    )


def trust_instances() -> pulumi.Output[str]:
    """Return a trust policy for EC2 instances, which can only be of the role's own account."""
    return document({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": ["sts:AssumeRole"]})


def trust_backups() -> pulumi.Output[str]:
    """Return a trust policy for AWS Backup, to which a role can be passed only inside its own account."""
    return document({"Effect": "Allow", "Principal": {"Service": "backup.amazonaws.com"}, "Action": ["sts:AssumeRole"]})


def trust_pod(
    *, namespace: pulumi.Input[str], service_account: pulumi.Input[str], cluster_arn: pulumi.Input[str]
) -> pulumi.Output[str]:
    """Return a trust policy for the pods of one service account in one cluster, by EKS Pod Identity."""
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {
                "StringEquals": {
                    "aws:RequestTag/eks-cluster-arn": cluster_arn,
                    "aws:RequestTag/kubernetes-namespace": namespace,
                    "aws:RequestTag/kubernetes-service-account": service_account,
                }
            },
        }
    )


def key_policy(*uses: Statement, account: str, partition: str) -> pulumi.Output[str]:
    """Return a key policy by which the account administers the key and `uses` permit further use."""
    administrators: Statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
        "Action": [*ADMINISTER_KEY, *USE_KEY],
        "Resource": "*",
    }
    return document(administrators, *uses)


def key_for_logs(*, region: str, log_group_arn: str) -> Statement:
    """Return a key policy's statement that lets CloudWatch encrypt one log group."""
    return {
        "Effect": "Allow",
        "Principal": {"Service": f"logs.{region}.amazonaws.com"},
        "Action": list(USE_KEY),
        "Resource": "*",
        "Condition": {"ArnEquals": {"kms:EncryptionContext:aws:logs:arn": log_group_arn}},
    }


def key_for_disks(role_arns: Sequence[pulumi.Input[str]]) -> list[Statement]:
    """Return a key policy's statements that let roles start instances with encrypted disks.

    Source: EKS user guide, "Enable EBS Volume Encryption with Customer Managed KMS Keys for EKS Auto Mode".
    """
    roles = {"Effect": "Allow", "Principal": {"AWS": list(role_arns)}, "Resource": "*"}
    return [
        {**roles, "Action": list(USE_KEY)},
        {
            **roles,
            "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
            "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        },
    ]


def key_for_alarms() -> Statement:
    """Return a key policy's statement that lets CloudWatch alarms write to a topic that the key encrypts."""
    return {
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": "*",
    }


def published_by_alarms(topic_arn: pulumi.Input[str], account: Account) -> pulumi.Output[str]:
    """Return a topic policy by which only the account's alarms publish."""
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Action": ["sns:Publish"],
            "Resource": [topic_arn],
            "Condition": {"ArnLike": {"aws:SourceArn": arn("cloudwatch", "alarm:*", account)}},
        }
    )


def key_for_alerts(account: Account) -> Statement:
    """Return a key policy's statement that lets the account's Managed Prometheus write to a topic that it encrypts."""
    return {
        "Effect": "Allow",
        "Principal": {"Service": "aps.amazonaws.com"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:SourceAccount": account.id}},
    }


def published_by_alerts(
    topic_arn: pulumi.Input[str], workspace_arn: pulumi.Input[str], account: Account
) -> pulumi.Output[str]:
    """Return a topic policy by which only the Alertmanager of one workspace publishes.

    Source: Managed Prometheus user guide, "Giving Amazon Managed Service for Prometheus permission to send alert
    messages to your Amazon SNS topic".
    """
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Service": "aps.amazonaws.com"},
            "Action": ["sns:GetTopicAttributes", "sns:Publish"],
            "Resource": [topic_arn],
            "Condition": {
                "ArnEquals": {"aws:SourceArn": workspace_arn},
                "StringEquals": {"aws:SourceAccount": account.id},
            },
        }
    )


def query_prometheus(workspace_arn: pulumi.Input[str]) -> pulumi.Output[str]:
    """Return a policy that allows queries of one workspace of Managed Prometheus, and the list of workspaces."""
    return document(
        {
            "Effect": "Allow",
            "Action": [
                *("aps:DescribeWorkspace", "aps:GetLabels", "aps:GetMetricMetadata", "aps:GetSeries"),
                "aps:QueryMetrics",
            ],
            "Resource": [workspace_arn],
        },
        # AWS allows this action for all workspaces only; Grafana's page of data sources uses it.
        {"Effect": "Allow", "Action": ["aps:ListWorkspaces"], "Resource": "*"},
    )


def write_flow_logs(log_group_arn: pulumi.Input[str]) -> pulumi.Output[str]:
    """Return a policy that allows flow logs to be written to one log group."""
    return document(
        {
            "Effect": "Allow",
            "Action": [
                "logs:CreateLogStream",
                "logs:DescribeLogGroups",
                "logs:DescribeLogStreams",
                "logs:PutLogEvents",
            ],
            "Resource": [pulumi.Output.concat(log_group_arn, ":*")],
        }
    )


@dataclass(frozen=True, kw_only=True)
class Rights:
    """Prefixes of a bucket, each with a final `/`, for each permission; neither includes the other."""

    read: Sequence[str] = ()
    """Prefixes below which objects can be listed and read."""
    write: Sequence[str] = ()
    """Prefixes below which objects can be written and overwritten; S3 keeps old versions."""


def objects(
    *further: Statement, bucket_arn: pulumi.Input[str], key_arn: pulumi.Input[str], rights: Rights
) -> pulumi.Output[str]:
    """Return a policy for the bucket's objects, with the use of the key that encrypts them and further statements."""

    def below(actions: Sequence[str], prefixes: Sequence[str]) -> Statement:
        under = [pulumi.Output.concat(bucket_arn, "/", prefix, "*") for prefix in sorted(prefixes)]
        return {"Effect": "Allow", "Action": actions, "Resource": under}

    listing: Statement = {
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [bucket_arn],
        "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in sorted(rights.read)]}},
    }
    # A multipart upload reads its own parts, so a writer must decrypt too.
    key = ["kms:Decrypt", *(["kms:GenerateDataKey"] if rights.write else [])]
    return document(
        {"Effect": "Allow", "Action": key, "Resource": [key_arn]},
        *([listing, below(["s3:GetObject"], rights.read)] if rights.read else []),
        *([below(["s3:AbortMultipartUpload", "s3:PutObject"], rights.write)] if rights.write else []),
        *further,
    )


def query_logs(
    *, workgroup_arn: str, database: str, results_arn: pulumi.Input[str], account: Account
) -> Sequence[Statement]:
    """Return statements that allow queries in one workgroup, and tables of single versions in its database.

    Athena reads the log and writes results with the rights of the caller (Athena user guide, "Identity and access
    management"). The right to read the log and to use its key is in `objects`.
    """
    catalog = [arn("glue", name, account) for name in ("catalog", f"database/{database}")]
    below = pulumi.Output.concat(results_arn, "/*")
    return [
        {
            "Effect": "Allow",
            "Action": ["athena:GetQueryExecution", "athena:StartQueryExecution"],
            "Resource": [workgroup_arn],
        },
        {
            "Effect": "Allow",
            "Action": ["glue:GetDatabase", "glue:GetTable"],
            "Resource": [*catalog, arn("glue", f"table/{database}/*", account)],
        },
        {
            "Effect": "Allow",
            "Action": ["glue:CreateTable"],
            "Resource": [*catalog, arn("glue", f"table/{database}/predictions_*", account)],
        },
        {"Effect": "Allow", "Action": ["s3:GetBucketLocation"], "Resource": [results_arn]},
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": [below]},
    ]


def encrypted_connections_only(bucket_arn: pulumi.Input[str], *more: Statement) -> pulumi.Output[str]:
    """Return a bucket policy that denies plain HTTP and TLS before 1.2, with further statements."""
    return document(
        *(
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": ["s3:*"],
                "Resource": [bucket_arn, pulumi.Output.concat(bucket_arn, "/*")],
                "Condition": condition,
            }
            for condition in (
                {"Bool": {"aws:SecureTransport": "false"}},
                {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
            )
        ),
        *more,
    )


def pods_from_network_only(
    bucket_arn: pulumi.Input[str], *, cluster_arn: pulumi.Input[str], vpc_id: pulumi.Input[str], athena: bool = False
) -> Statement:
    """Return a bucket policy's statement that refuses a cluster's pods unless they use the VPC's endpoint for S3.

    EKS tags the session of a pod's credentials with the cluster, and the pod cannot remove the tag (EKS user guide,
    "Grant Pods access to AWS resources based on tags"). A request over the internet has no `aws:SourceVpc`, so it is
    refused too. People and CI have no such tag.

    With `athena`, requests that Athena makes for a pod are accepted, because they come from Athena's network and never
    have `aws:SourceVpc` (Athena user guide, "Control access to Amazon S3 from Athena").
    """
    apart: Statement = {"ForAllValues:StringNotEquals": {"aws:CalledVia": ["athena.amazonaws.com"]}} if athena else {}
    return {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:*"],
        "Resource": [bucket_arn, pulumi.Output.concat(bucket_arn, "/*")],
        "Condition": {
            "StringEquals": {"aws:PrincipalTag/eks-cluster-arn": cluster_arn},
            "StringNotEquals": {"aws:SourceVpc": vpc_id},
            **apart,
        },
    }


def written_by_log_services(
    bucket_arn: pulumi.Input[str], *, load_balancers: str, buckets: str, account: Account
) -> list[Statement]:
    """Return a bucket policy's statements that let load balancers and S3 write access logs of the account's resources.

    Sources: ELB user guide, "Enable access logs"; S3 user guide, "Enabling server access logging".
    """
    put: Statement = {"Effect": "Allow", "Action": ["s3:PutObject"]}
    below = pulumi.Output.concat(bucket_arn, f"/{load_balancers}/AWSLogs/{account.id}/*")
    return [
        {**put, "Principal": {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"}, "Resource": [below]},
        {
            **put,
            "Principal": {"Service": "logging.s3.amazonaws.com"},
            "Resource": [pulumi.Output.concat(bucket_arn, f"/{buckets}/*")],
            "Condition": {"StringEquals": {"aws:SourceAccount": account.id}},
        },
    ]


def pulled_by(role_arns: Sequence[str], *, account: Account) -> pulumi.Output[str]:
    """Return a repository policy that denies layers to all but these roles and AWS's image scanners.

    ECR's basic scan is a request of the service itself. Inspector uses its service-linked role, for which
    `aws:PrincipalIsAWSService` is false (IAM user guide, "AWS global condition context keys"). The roles need their
    own policies to pull. They may be created later, because a condition may name a role that does not exist.
    """
    return document(
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": ["ecr:GetDownloadUrlForLayer"],
            "Condition": {
                "ArnNotEquals": {"aws:PrincipalArn": [*role_arns, role_arn(INSPECTOR, account)]},
                "Bool": {"aws:PrincipalIsAWSService": "false"},
            },
        }
    )
