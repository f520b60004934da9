"""EKS cluster that exists outside this program."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components.aws import kubernetes_access
from components.aws.account import Account
from components.aws.kubernetes_access import KubernetesAccess


@dataclass(frozen=True, kw_only=True)
class ExistingClusterArgs:
    """Reference to the cluster."""

    cluster_name: str
    """Name of the cluster in the account and region."""
    account: Account
    """AWS account of the cluster."""


@dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """Properties of the cluster that are checked before any resource is declared."""

    vpc_id: str
    """ID of the VPC of the control plane."""
    auto_mode: bool
    """True if the cluster uses EKS Auto Mode."""
    authentication_mode: str
    """Authentication mode of the cluster: `CONFIG_MAP`, `API` or `API_AND_CONFIG_MAP`."""


def cluster_facts(cluster_name: str) -> ClusterFacts:
    """Request the cluster's properties from AWS, whose error is raised unchanged if there is no such cluster."""
    cluster = aws.eks.get_cluster(name=cluster_name)
    return ClusterFacts(
        vpc_id=cluster.vpc_config.vpc_id,
        auto_mode=any(each.enabled for each in cluster.compute_configs),
        authentication_mode=cluster.access_configs[0].authentication_mode,
    )


class ExistingCluster(pulumi.ComponentResource):
    """Existing cluster, with the outputs of `Cluster`; the program only reads it.

    The caller needs an access entry in it. It must have an ingress class `alb` and a metrics server, and must enforce
    NetworkPolicies (docs/aws.md says how to check).
    """

    name: pulumi.Output[str]
    """Name of the cluster."""
    arn: pulumi.Output[str]
    """ARN of the cluster."""
    version: pulumi.Output[str]
    """Kubernetes version of the control plane."""
    security_group_id: pulumi.Output[str]
    """Security group of the control plane and of every node and pod."""
    role_arn: pulumi.Output[str]
    """ARN of the role with which EKS starts nodes."""
    service_cidr: pulumi.Output[str]
    """Block of the addresses of Services."""
    access: KubernetesAccess
    """Address and certificate of the cluster's API."""
    provider: k8s.Provider
    """Kubernetes provider of the cluster."""

    def __init__(self, name: str, args: ExistingClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:ExistingCluster", name, {}, opts)
        cluster = aws.eks.get_cluster_output(name=args.cluster_name, opts=pulumi.InvokeOutputOptions(parent=self))
        self.access = KubernetesAccess(
            cluster_name=args.cluster_name,
            account=args.account,
            endpoint=cluster.endpoint,
            certificate=cluster.certificate_authorities[0].data,
        )
        self.provider = kubernetes_access.provider(name, self.access, pulumi.ResourceOptions(parent=self))
        self.name, self.arn, self.version, self.role_arn = cluster.name, cluster.arn, cluster.version, cluster.role_arn
        self.security_group_id = cluster.vpc_config.cluster_security_group_id
        self.service_cidr = cluster.kubernetes_network_configs[0].service_ipv4_cidr
        self.register_outputs({"arn": self.arn, "security_group_id": self.security_group_id})
