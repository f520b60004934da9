"""AWS permissions of the pods of one service account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components.aws.policy_documents import Rights, Statement, objects, trust_pod
from contract import names

SKIP_CONTAINERS = "eks.amazonaws.com/skip-containers"
"""Annotation of a pod: containers to which EKS does not give the role's token (amazon-eks-pod-identity-webhook).

Without it, every container of the pod gets the token, whether it uses AWS or not.
"""


@dataclass(frozen=True, kw_only=True)
class WorkloadIdentityArgs:
    """Service account and its permissions."""

    service_account: str
    """Name of the service account, which is created."""
    namespace: pulumi.Input[str]
    """Namespace of the service account."""
    rights: Rights
    """Permissions for the bucket's objects."""
    bucket_arn: pulumi.Input[str]
    """ARN of the bucket."""
    key_arn: pulumi.Input[str]
    """ARN of the key that encrypts the bucket's objects."""
    cluster_name: pulumi.Input[str]
    """Name of the cluster."""
    cluster_arn: pulumi.Input[str]
    """ARN of the cluster."""
    further: Sequence[Statement] = ()
    """Statements of further permissions, such as those to query the prediction log."""
    permissions_boundary: str | None
    """ARN of the policy that limits the role; None for none."""


class WorkloadIdentity(pulumi.ComponentResource):
    """Service account whose pods get a role by EKS Pod Identity, without stored keys."""

    service_account: pulumi.Output[str]
    """Name of the service account; it resolves when pods get the role."""

    def __init__(self, name: str, args: WorkloadIdentityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:WorkloadIdentity", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            name,
            assume_role_policy=trust_pod(
                namespace=args.namespace, service_account=args.service_account, cluster_arn=args.cluster_arn
            ),
            permissions_boundary=args.permissions_boundary,
            opts=child,
        )
        policy = aws.iam.RolePolicy(
            name,
            role=role.name,
            policy=objects(*args.further, bucket_arn=args.bucket_arn, key_arn=args.key_arn, rights=args.rights),
            opts=child,
        )
        # The name of an endpoint may be too long for a label.
        label = args.service_account.partition("-")[0]
        account = k8s.core.v1.ServiceAccount(
            name,
            metadata={
                "name": args.service_account,
                "namespace": args.namespace,
                "labels": names.labels(label, label, label),
            },
            automount_service_account_token=False,
            opts=child,
        )
        association = aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args.cluster_name,
            namespace=args.namespace,
            service_account=account.metadata.name,
            role_arn=role.arn,
            # A pod that starts before the policy exists would get a role without permissions.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
        self.service_account = association.service_account
        self.register_outputs({"service_account": self.service_account})
