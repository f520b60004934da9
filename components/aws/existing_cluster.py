"""An EKS cluster that somebody else made."""

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
    """Which one."""

    cluster_name: str
    account: Account


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of it before anything is made."""

    vpc_id: str
    auto_mode: bool
    authentication_mode: str
    """`CONFIG_MAP`, `API` or `API_AND_CONFIG_MAP`."""


def look(cluster_name: str) -> Seen:
    """Asks AWS, whose own error it is if there is no such cluster."""
    found = aws.eks.get_cluster(name=cluster_name)
    return Seen(
        vpc_id=found.vpc_config.vpc_id,
        auto_mode=any(each.enabled for each in found.compute_configs),
        authentication_mode=found.access_configs[0].authentication_mode,
    )


class ExistingCluster(pulumi.ComponentResource):
    """The same that `Cluster` offers, of a cluster in Auto Mode that is only looked up.

    Whoever runs this program has an access entry in it; it has an ingress class `alb`, a metrics server, and enforces
    NetworkPolicies (docs/aws.md says how to check).
    """

    name: pulumi.Output[str]
    arn: pulumi.Output[str]
    version: pulumi.Output[str]
    security_group_id: pulumi.Output[str]
    role_arn: pulumi.Output[str]
    service_cidr: pulumi.Output[str]
    access: KubernetesAccess
    provider: k8s.Provider

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
