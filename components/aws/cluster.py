"""EKS cluster that the program creates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components.aws import kubernetes_access, load_balancer
from components.aws.account import Account, arn
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.kubernetes_access import KubernetesAccess
from components.aws.log_group import LogGroup, LogGroupArgs
from components.aws.managed_policies import managed_policies
from components.aws.policy_documents import trust_service

POLICIES = (
    "AmazonEKSBlockStoragePolicy",
    "AmazonEKSClusterPolicy",
    "AmazonEKSComputePolicy",
    "AmazonEKSLoadBalancingPolicy",
    "AmazonEKSNetworkingPolicy",
)
"""Managed policies that Auto Mode requires (EKS user guide, "Learn about identity and access in EKS Auto Mode")."""
CONTROL_PLANE_LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """Settings of the cluster."""

    cluster_name: str
    """Name of the cluster; it is fixed, because the log group that carries it must exist before the cluster."""
    kubernetes_version: str
    """Minor version, such as `1.35`."""
    service_cidr: str
    """Block of the addresses of Services."""
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    """Private subnets of the control plane, in two zones or more; nodes may use others."""
    admin_role_arns: Sequence[str]
    """Roles that administer the cluster, among them the role that runs this program."""
    preview_role_arns: Sequence[str]
    """Roles that read every object in the cluster."""
    preview_groups: Sequence[str]
    """Kubernetes groups of these roles, which may have rights from RoleBindings too."""
    people: Mapping[str, Sequence[str]]
    """Roles of people, by the Kubernetes group that they get."""
    public_access_cidrs: Sequence[str]
    """Networks that reach the API over the internet; if empty, the API is private."""
    vpc_id: pulumi.Input[str]
    """ID of the VPC of the control plane's subnets."""
    private_access_cidrs: pulumi.Input[Sequence[pulumi.Input[str]]]
    """IPv4 networks that reach the API's private addresses: those of the VPC and of networks connected with it."""
    log_days: int
    """Days for which the control plane's logs are kept."""
    permissions_boundary: str | None
    """ARN of the policy that limits the roles; None for none."""
    protected: bool
    """True: Pulumi and EKS refuse to delete the cluster."""
    account: Account
    """AWS account of the cluster."""


class Cluster(pulumi.ComponentResource):
    """EKS cluster in Auto Mode without nodes; node pools add them.

    Its API accepts only IAM identities with an access entry, its Secrets are encrypted with its own key, and it
    enforces NetworkPolicies. Named private networks reach the API on port 443.
    """

    name: pulumi.Output[str]
    """Name of the cluster; it resolves when the cluster is ready."""
    arn: pulumi.Output[str]
    """ARN of the cluster."""
    version: pulumi.Output[str]
    """Kubernetes version of the control plane."""
    security_group_id: pulumi.Output[str]
    """Security group of the control plane and of every node and pod; a rule for it admits the whole cluster."""
    service_cidr: pulumi.Output[str]
    """Block of the addresses of Services."""
    role_arn: pulumi.Output[str]
    """ARN of the role with which EKS starts nodes."""
    access: KubernetesAccess
    """Address and certificate of the cluster's API."""
    provider: k8s.Provider
    """Kubernetes provider of the cluster."""

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:Cluster", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        key = EncryptionKey(
            name,
            EncryptionKeyArgs(
                description=f"Secrets of {args.cluster_name}",
                alias=f"{args.cluster_name}-cluster",
                account=args.account,
                protected=args.protected,
            ),
            child,
        )
        logs = LogGroup(
            name,
            LogGroupArgs(
                log_group=f"/aws/eks/{args.cluster_name}/cluster", retention_days=args.log_days, account=args.account
            ),
            child,
        )
        role, permissions = _role(name, args, child)
        cluster = _cluster(
            name,
            args,
            role=role,
            key=key,
            security_group=_security_group(name, args, child),
            # No argument refers to the log group and the permissions, so Pulumi would not create them first.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protected, depends_on=[logs, *permissions]),
        )
        entries = [
            *_grant(name, args.admin_role_arns, "AmazonEKSClusterAdminPolicy", args, cluster=cluster, opts=child),
            *_grant(
                name,
                args.preview_role_arns,
                "AmazonEKSAdminViewPolicy",
                args,
                cluster=cluster,
                opts=child,
                groups=args.preview_groups,
            ),
        ]
        _people(name, args, cluster, child)
        self.access = KubernetesAccess(
            cluster_name=args.cluster_name,
            account=args.account,
            endpoint=cluster.endpoint,
            certificate=cluster.certificate_authority.data,
        )
        # The API refuses the role that runs this program until its access entry exists.
        ready = pulumi.ResourceOptions(parent=self, depends_on=entries)
        self.provider = kubernetes_access.provider(name, self.access, ready)
        _services(name, pulumi.ResourceOptions(parent=self, provider=self.provider))
        self.name, self.arn, self.version, self.role_arn = cluster.name, cluster.arn, cluster.version, role.arn
        self.service_cidr = pulumi.Output.from_input(args.service_cidr)
        self.security_group_id = cluster.vpc_config.cluster_security_group_id
        self.register_outputs({"arn": self.arn, "security_group_id": self.security_group_id, "role_arn": role.arn})


def _cluster(
    name: str,
    args: ClusterArgs,
    *,
    role: aws.iam.Role,
    key: EncryptionKey,
    security_group: aws.ec2.SecurityGroup,
    opts: pulumi.ResourceOptions,
) -> aws.eks.Cluster:
    return aws.eks.Cluster(
        name,
        name=args.cluster_name,
        version=args.kubernetes_version,
        role_arn=role.arn,
        bootstrap_self_managed_addons=False,
        deletion_protection=args.protected,
        enabled_cluster_log_types=list(CONTROL_PLANE_LOGS),
        upgrade_policy={"support_type": "STANDARD"},
        zonal_shift_config={"enabled": True},
        access_config={"authentication_mode": "API", "bootstrap_cluster_creator_admin_permissions": False},
        encryption_config={"provider": {"key_arn": key.arn}, "resources": ["secrets"]},
        compute_config={"enabled": True, "node_pools": []},
        storage_config={"block_storage": {"enabled": True}},
        kubernetes_network_config={
            "elastic_load_balancing": {"enabled": True},
            "service_ipv4_cidr": args.service_cidr,
        },
        vpc_config={
            "subnet_ids": args.subnet_ids,
            "security_group_ids": [security_group.id],
            "endpoint_private_access": True,
            "endpoint_public_access": bool(args.public_access_cidrs),
            "public_access_cidrs": list(args.public_access_cidrs) or None,
        },
        opts=opts,
    )


def _security_group(name: str, args: ClusterArgs, child: pulumi.ResourceOptions) -> aws.ec2.SecurityGroup:
    """Create a security group for the addresses of the API only.

    The group that EKS creates admits only itself, and its rules would also apply to nodes and pods (EKS user guide,
    "Amazon EKS security group requirements", "Cluster private endpoint").
    """
    return aws.ec2.SecurityGroup(
        f"{name}-api",
        vpc_id=args.vpc_id,
        description="Kubernetes API: HTTPS from the VPC and from named private networks",
        # Inline rules, because an existing VPC may have any number of address blocks.
        ingress=[{"protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": args.private_access_cidrs}],
        opts=child,
    )


def _role(
    name: str, args: ClusterArgs, child: pulumi.ResourceOptions
) -> tuple[aws.iam.Role, list[aws.iam.RolePolicyAttachment]]:
    """Create the control plane's role; return it with the policies that it needs before the cluster is created."""
    role = aws.iam.Role(
        name,
        assume_role_policy=trust_service(
            "eks.amazonaws.com",
            account=args.account.id,
            source_arn=arn("eks", f"cluster/{args.cluster_name}", args.account),
            actions=("sts:AssumeRole", "sts:TagSession"),
        ),
        permissions_boundary=args.permissions_boundary,
        opts=child,
    )
    return role, managed_policies(name, role, POLICIES, account=args.account, opts=child)


def _grant(
    name: str,
    role_arns: Sequence[str],
    policy: str,
    args: ClusterArgs,
    *,
    cluster: aws.eks.Cluster,
    opts: pulumi.ResourceOptions,
    groups: Sequence[str] = (),
) -> list[aws.eks.AccessPolicyAssociation]:
    """Grant the roles what an access policy of EKS allows, in the whole cluster; put them into Kubernetes groups."""
    granted: list[aws.eks.AccessPolicyAssociation] = []
    for role_arn in role_arns:
        label = f"{name}-{role_arn.rpartition('/')[2]}"
        entry = aws.eks.AccessEntry(
            label,
            cluster_name=cluster.name,
            principal_arn=role_arn,
            kubernetes_groups=list(groups) or None,
            type="STANDARD",
            opts=opts,
        )
        granted.append(
            aws.eks.AccessPolicyAssociation(
                label,
                cluster_name=cluster.name,
                principal_arn=entry.principal_arn,
                policy_arn=f"arn:{args.account.partition}:eks::aws:cluster-access-policy/{policy}",
                access_scope={"type": "cluster"},
                opts=opts,
            )
        )
    return granted


def _people(name: str, args: ClusterArgs, cluster: aws.eks.Cluster, child: pulumi.ResourceOptions) -> None:
    """Put roles into Kubernetes groups, which get their rights from RoleBindings (components/people.py)."""
    for group, role_arns in args.people.items():
        for role_arn in role_arns:
            aws.eks.AccessEntry(
                f"{name}-{role_arn.rpartition('/')[2]}",
                cluster_name=cluster.name,
                principal_arn=role_arn,
                kubernetes_groups=[group],
                type="STANDARD",
                opts=child,
            )


def _services(name: str, inside: pulumi.ResourceOptions) -> None:
    """Enable NetworkPolicies and declare the ingress class, neither of which Auto Mode does by itself."""
    k8s.core.v1.ConfigMap(
        f"{name}-network-policies",
        metadata={"name": "amazon-vpc-cni", "namespace": "kube-system"},
        data={"enable-network-policy-controller": "true"},
        opts=inside,
    )
    k8s.networking.v1.IngressClass(
        f"{name}-{load_balancer.CLASS}",
        metadata={"name": load_balancer.CLASS},
        spec={"controller": "eks.amazonaws.com/alb"},
        opts=inside,
    )
