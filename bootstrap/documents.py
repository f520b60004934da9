"""IAM policy documents of the roles that deploy and preview, and of their boundary, as functions of names and ARNs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pulumi

from bootstrap import actions
from bootstrap.settings import Copies, Training
from components.aws.account import Account, role_arn
from components.aws.account import arn as arn_of
from components.aws.artifact_bucket import ARTIFACTS
from components.aws.policy_documents import Statement, document

ISSUER = "token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"
PREVIEW, DEPLOY, BOUNDARY = "mlops-preview", "mlops-deploy", "boundary/mlops"
TRAIN, PROPOSE = "mlops-train", "mlops-propose"
PROJECT = "mlops"
"""Pulumi project of the stacks; names of their keys and roles begin with it."""
ROLES = ("backup-*", "cluster-*", "grafana-*", "mlops-*", "network-flows-*", "serving-*", "tracking-*", "training-*")
"""Names of the roles in stacks of the project `mlops`; Pulumi adds random digits to most of them."""
SERVICES = (
    *(
        "acm",
        "aps",
        "athena",
        "autoscaling",
        "backup",
        "backup-storage",
        "cloudwatch",
        "cognito-idp",
        "ec2",
        "ecr",
        "eks",
        "eks-auth",
        "elasticloadbalancing",
        "glue",
        "grafana",
        "kms",
        "logs",
    ),
    *("events", "rds", "s3", "shield", "sns", "ssm", "tag", "waf-regional", "wafv2"),
)
"""Services of the platform, its nodes and its load balancers."""
SERVED = tuple(
    f"{service}.amazonaws.com" for service in ("backup", "ec2", "eks", "grafana", "pods.eks", "vpc-flow-logs")
)
"""Services that get roles of the stacks."""
LINKED = tuple(
    f"{service}.amazonaws.com"
    for service in (
        "autoscaling",
        "backup",
        "eks",
        "eks-nodegroup",
        "elasticloadbalancing",
        "rds",
        "scraper.aps",
        "spot",
    )
)
"""Services that make a role of their own in the account when they are used first."""
READ_POLICIES = ("iam:GetPolicy", "iam:GetPolicyVersion")
REGION_OF_IAM: Mapping[str, str] = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
"""Region of IAM's requests in each partition (IAM user guide, "AWS global condition context keys")."""


@dataclass(frozen=True, kw_only=True)
class State:
    """Bucket and key of the stacks' state."""

    bucket_arn: str
    """ARN of the bucket."""
    key_arn: pulumi.Input[str]
    """ARN of the key that encrypts the bucket's objects and the stacks' secrets."""


def provider_arn(account: Account) -> str:
    """Return the ARN that GitHub's OIDC provider has in an account."""
    return f"arn:{account.partition}:iam::{account.id}:oidc-provider/{ISSUER}"


def boundary_arn(account: Account) -> str:
    """Return the ARN of the permissions boundary."""
    return f"arn:{account.partition}:iam::{account.id}:policy/{BOUNDARY}"


def trust_jobs(subjects: Iterable[str], *, account: Account) -> pulumi.Output[str]:
    """Return a trust policy for jobs on GitHub whose tokens have one of these subjects."""
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Federated": provider_arn(account)},
            "Action": ["sts:AssumeRoleWithWebIdentity"],
            "Condition": {"StringEquals": {f"{ISSUER}:aud": AUDIENCE, f"{ISSUER}:sub": sorted(subjects)}},
        }
    )


def boundary(state: State, *, account: Account) -> pulumi.Output[str]:
    """Return the boundary of the role that deploys and of all roles that it creates.

    A boundary gives no right. A role that has it can use the platform's services, but can neither create a role
    without it, nor change the roles and the state's store that the bootstrap makes.
    """
    own_roles = [role_arn(name, account) for name in (PREVIEW, DEPLOY, TRAIN, PROPOSE)]
    alias = f"arn:{account.partition}:kms:{account.region}:{account.id}:alias/pulumi"
    role_actions = (*actions.BOUNDED, *actions.WRITE_ROLES)
    further = (
        *READ_POLICIES,
        *actions.SIGN_ON,
        "iam:CreateServiceLinkedRole",
        "iam:PassRole",
        "servicequotas:ListServiceQuotas",
    )
    return document(
        {"Effect": "Allow", "Action": [f"{service}:*" for service in SERVICES], "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": [*actions.READ_ROLES, *role_actions, *actions.INSTANCE_PROFILES, *further],
            "Resource": "*",
        },
        {
            "Effect": "Deny",
            "Action": list(actions.BOUNDED),
            "Resource": "*",
            "Condition": {"StringNotEquals": {"iam:PermissionsBoundary": boundary_arn(account)}},
        },
        {"Effect": "Deny", "Action": [*role_actions, "iam:PassRole"], "Resource": own_roles},
        {
            "Effect": "Deny",
            "Action": ["s3:DeleteBucket*", "s3:DeleteObjectVersion", "s3:PutBucket*", "s3:Put*Configuration"],
            "Resource": [state.bucket_arn, f"{state.bucket_arn}/*"],
        },
        {
            "Effect": "Deny",
            "Action": [
                *("kms:CreateGrant", "kms:DeleteAlias", "kms:Disable*", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"),
                "kms:UpdateAlias",
            ],
            "Resource": [state.key_arn, alias],
        },
    )


def of_deploy(state: State, *, account: Account, copy_region: str | None = None) -> dict[str, pulumi.Output[str]]:
    """Return the policies of the role that deploys, by name; `copy_region` is that of the stacks' copied backups."""
    copied = actions.BACKUP + actions.KEYS
    roles = [role_arn(name, account) for name in ROLES]
    bounded = {"StringEquals": {"iam:PermissionsBoundary": boundary_arn(account)}}
    passed, linked = {"StringEquals": {"iam:PassedToService": SERVED}}, {"StringEquals": {"iam:AWSServiceName": LINKED}}
    linked_roles = role_arn("aws-service-role/*", account)
    return {
        **{name: document(_anywhere(each, account.region)) for name, each in actions.PLATFORM.items()},
        **({"copies": document(_anywhere(sorted(set(copied)), copy_region))} if copy_region else {}),
        "roles": document(
            _named(account),
            {"Effect": "Allow", "Action": [*actions.READ_ROLES, *actions.WRITE_ROLES], "Resource": roles},
            {"Effect": "Allow", "Action": list(actions.BOUNDED), "Resource": roles, "Condition": bounded},
            {"Effect": "Allow", "Action": ["iam:PassRole"], "Resource": roles, "Condition": passed},
            {
                "Effect": "Allow",
                "Action": ["iam:CreateServiceLinkedRole"],
                "Resource": [linked_roles],
                "Condition": linked,
            },
        ),
        "state": _stored(
            state,
            objects=("s3:DeleteObject", "s3:GetObject", "s3:PutObject"),
            key=("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"),
        ),
    }


def of_preview(state: State, *, account: Account, copy_region: str | None = None) -> dict[str, pulumi.Output[str]]:
    """Return the policies of the role that previews, by name; they contain no action that writes."""
    copied = sorted({*actions.reading(actions.BACKUP + actions.KEYS)})
    read = [action for each in actions.PLATFORM.values() for action in actions.reading(each)]
    roles = [role_arn(name, account) for name in ROLES]
    return {
        "platform": document(_anywhere(read, account.region)),
        **({"copies": document(_anywhere(copied, copy_region))} if copy_region else {}),
        "roles": document(_named(account), {"Effect": "Allow", "Action": list(actions.READ_ROLES), "Resource": roles}),
        # `pulumi preview` takes no lock in a bucket.
        "state": _stored(state, objects=("s3:GetObject",), key=("kms:Decrypt", "kms:DescribeKey")),
    }


def of_train(training: Training, *, account: Account) -> dict[str, pulumi.Output[str]]:
    """Return the policies of the role that trains, by name.

    They let it push the stack's training image and find its cluster. The stack file gives it rights in the cluster.
    """
    name = f"{PROJECT}-{training.stack}"
    return {
        "images": document(
            _anywhere(["ecr:GetAuthorizationToken"], account.region),
            {
                "Effect": "Allow",
                "Action": list(actions.PUSH_IMAGES),
                "Resource": [arn_of("ecr", f"repository/{name}/training", account)],
            },
        ),
        "cluster": document(
            {
                "Effect": "Allow",
                "Action": ["eks:DescribeCluster"],
                "Resource": [arn_of("eks", f"cluster/{name}", account)],
            }
        ),
    }


def of_propose(copies: Copies, *, account: Account) -> dict[str, pulumi.Output[str]]:
    """Return the policies of the role that copies models, by name; it reads both registries and writes the target's."""
    source, target = (f"arn:{account.partition}:s3:::{each.bucket}" for each in (copies.source, copies.target))
    models = f"{ARTIFACTS}*"
    aliases = [f"alias/{PROJECT}-{each.stack}-artifacts" for each in (copies.source, copies.target)]
    return {
        "models": document(
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": [source, target],
                "Condition": {"StringLike": {"s3:prefix": [models]}},
            },
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"{source}/{models}", f"{target}/{models}"]},
            {
                "Effect": "Allow",
                "Action": ["s3:AbortMultipartUpload", "s3:PutObject"],
                "Resource": [f"{target}/{models}"],
            },
            {
                "Effect": "Allow",
                "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                # The stacks make the keys later, and AWS chooses their ids.
                "Resource": [arn_of("kms", "key/*", account)],
                "Condition": {
                    "StringEquals": {
                        "aws:RequestedRegion": account.region,
                        "kms:ViaService": f"s3.{account.region}.amazonaws.com",
                    },
                    "ForAnyValue:StringEquals": {"kms:ResourceAliases": aliases},
                },
            },
        )
    }


def _anywhere(allowed: Sequence[str], region: str) -> Statement:
    """Return a statement about all resources in one region: AWS chooses the ids of those that a stack creates."""
    condition = {"StringEquals": {"aws:RequestedRegion": region}}
    return {"Effect": "Allow", "Action": sorted(allowed), "Resource": "*", "Condition": condition}


def _named(account: Account) -> Statement:
    """Return a statement that lets the program see whether the roles and the boundary in a stack file exist."""
    return _anywhere([*READ_POLICIES, "iam:GetRole"], REGION_OF_IAM[account.partition])


def _stored(state: State, *, objects: Sequence[str], key: Sequence[str]) -> pulumi.Output[str]:
    """Return a policy for the state's objects and key."""
    return document(
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [state.bucket_arn]},
        {"Effect": "Allow", "Action": objects, "Resource": [f"{state.bucket_arn}/.pulumi/*"]},
        {"Effect": "Allow", "Action": key, "Resource": [state.key_arn]},
    )
