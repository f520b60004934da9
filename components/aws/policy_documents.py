"""Every IAM document of the program, as pure functions of names and ARNs.

No statement grants an action with `*` in it, or the resource `*`. A key policy must say `*` for its resource: there it
means the one key that it hangs on (KMS developer guide, "Key policies").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from components.aws.account import Account, role_arn

Statement = Mapping[str, object]

INSPECTOR = "aws-service-role/inspector2.amazonaws.com/AWSServiceRoleForAmazonInspector2"
"""The role, with its path, by which Inspector reads images (ECR user guide, "Enhanced scanning")."""
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
"""What an account needs so that its key can never lock it out, one by one instead of `kms:*`."""


def document(*statements: Statement) -> pulumi.Output[str]:
    """The JSON that IAM takes."""
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": statements}, sort_keys=True)


def trust_service(
    service: str, *, account: str, source_arn: str, actions: Sequence[str] = ("sts:AssumeRole",)
) -> pulumi.Output[str]:
    """A role that one AWS service may take, on behalf of this account and of what `source_arn` names alone."""
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
    """A role for EC2 instances. EC2 sets no source account: it hands a role to instances of the role's own account."""
    return document({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": ["sts:AssumeRole"]})


def trust_pod(
    *, namespace: pulumi.Input[str], service_account: pulumi.Input[str], cluster_arn: pulumi.Input[str]
) -> pulumi.Output[str]:
    """A role for the pods of one service account in one cluster, through Pod Identity."""
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
    """A key that the account administers, with what else is allowed to use it."""
    administrators: Statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
        "Action": [*ADMINISTER_KEY, *USE_KEY],
        "Resource": "*",
    }
    return document(administrators, *uses)


def key_for_logs(*, region: str, log_group_arn: str) -> Statement:
    """Of a key's policy: CloudWatch encrypts one log group with it."""
    return {
        "Effect": "Allow",
        "Principal": {"Service": f"logs.{region}.amazonaws.com"},
        "Action": list(USE_KEY),
        "Resource": "*",
        "Condition": {"ArnEquals": {"kms:EncryptionContext:aws:logs:arn": log_group_arn}},
    }


def key_for_disks(role_arns: Sequence[pulumi.Input[str]]) -> list[Statement]:
    """Of a key's policy: these roles start instances whose disks are encrypted with it.

    After EKS user guide, "Enable EBS Volume Encryption with Customer Managed KMS Keys for EKS Auto Mode".
    """
    who = {"Effect": "Allow", "Principal": {"AWS": list(role_arns)}, "Resource": "*"}
    return [
        {**who, "Action": list(USE_KEY)},
        {
            **who,
            "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
            "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        },
    ]


def write_flow_logs(log_group_arn: pulumi.Input[str]) -> pulumi.Output[str]:
    """Streams and events of one log group."""
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
    """Prefixes of a bucket, each ends with `/`, by what may be done below them; no right brings another."""

    read: Sequence[str] = ()
    """Get objects, and list them."""
    write: Sequence[str] = ()
    """Put objects, also over others, whose old versions stay."""
    delete: Sequence[str] = ()


def objects(*, bucket_arn: pulumi.Input[str], key_arn: pulumi.Input[str], rights: Rights) -> pulumi.Output[str]:
    """What `rights` says of the bucket's objects, and the use of their key that it takes."""

    def below(actions: Sequence[str], prefixes: Sequence[str]) -> Statement:
        under = [pulumi.Output.concat(bucket_arn, "/", prefix, "*") for prefix in sorted(prefixes)]
        return {"Effect": "Allow", "Action": actions, "Resource": under}

    listing: Statement = {
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [bucket_arn],
        "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in sorted(rights.read)]}},
    }
    # A multipart upload reads back its own parts, so a writer decrypts as well.
    key = ["kms:Decrypt", *(["kms:GenerateDataKey"] if rights.write else [])]
    return document(
        {"Effect": "Allow", "Action": key, "Resource": [key_arn]},
        *([listing, below(["s3:GetObject"], rights.read)] if rights.read else []),
        *([below(["s3:AbortMultipartUpload", "s3:PutObject"], rights.write)] if rights.write else []),
        *([below(["s3:DeleteObject"], rights.delete)] if rights.delete else []),
    )


def encrypted_connections_only(bucket_arn: pulumi.Input[str]) -> pulumi.Output[str]:
    """A bucket policy that refuses plain HTTP and TLS before 1.2."""
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
        )
    )


def pulled_by(role_arns: Sequence[str], *, account: Account) -> pulumi.Output[str]:
    """A repository policy: layers go to these roles and to AWS's own scanners, to nobody else in the account.

    ECR's basic scan is a call of the service itself; Inspector's comes from its service-linked role, for which
    `aws:PrincipalIsAWSService` is false (IAM user guide, "AWS global condition context keys").
    It only denies: what the roles may, they have from their own policies, and a role that is named in a condition need
    not exist yet.
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
