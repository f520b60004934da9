"""What the pods of one service account may do in AWS."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.policy_documents import objects, trust_pod


@dataclass(frozen=True, kw_only=True)
class WorkloadIdentityArgs:
    """Who, and which objects."""

    namespace: str
    service_account: str
    """The account itself is made where the workload is; here it only gets its rights."""
    read: Sequence[str]
    """Prefixes in the bucket, each ends with `/`."""
    write: Sequence[str]
    bucket_arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    cluster_name: str
    cluster_arn: pulumi.Input[str]
    permissions_boundary: str | None


class WorkloadIdentity(pulumi.ComponentResource):
    """A role that the pods of one service account get by Pod Identity, without a key that could leak."""

    role_arn: pulumi.Output[str]

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
            policy=objects(bucket_arn=args.bucket_arn, key_arn=args.key_arn, read=args.read, write=args.write),
            opts=child,
        )
        aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args.cluster_name,
            namespace=args.namespace,
            service_account=args.service_account,
            role_arn=role.arn,
            # A pod that starts in between would get the role without its rights.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
        self.role_arn = role.arn
        self.register_outputs({"role_arn": self.role_arn})
