"""EKS add-ons: the agents of managed nodes, which Auto Mode's nodes have built in, and cluster services."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

AGENTS: Mapping[str, Mapping[str, object] | None] = {
    "vpc-cni": {"enableNetworkPolicy": "true"},
    "eks-pod-identity-agent": None,
    "kube-proxy": None,
}
"""Configuration of each agent: addresses of pods, roles of pods, addresses of Services.

They are DaemonSets: EKS reports them as active before there is a node, and no managed node is ready without them.
"""


@dataclass(frozen=True, kw_only=True)
class NodeAgentsArgs:
    """Cluster that gets an add-on."""

    cluster_name: pulumi.Input[str]
    """Name of the cluster."""
    kubernetes_version: pulumi.Input[str]
    """Kubernetes version of the cluster, from which AWS derives the add-on's version."""


class NodeAgents(pulumi.ComponentResource):
    """Agents of managed nodes, one of which enforces NetworkPolicies; they must exist before the nodes."""

    def __init__(self, name: str, args: NodeAgentsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:NodeAgents", name, {}, opts)
        for agent, configuration in AGENTS.items():
            addon(f"{name}-{agent}", agent, args, pulumi.ResourceOptions(parent=self), configuration=configuration)
        self.register_outputs({})


def addon(
    name: str,
    addon_name: str,
    args: NodeAgentsArgs,
    opts: pulumi.ResourceOptions,
    *,
    configuration: Mapping[str, object] | None = None,
    role: tuple[str, pulumi.Input[str]] | None = None,
) -> aws.eks.Addon:
    """Declare an add-on in the version that AWS recommends for the cluster's version.

    `role` is a service account of the add-on and the ARN of the role that its pods get.

    An add-on that runs as a Deployment, such as `coredns`, must depend on nodes: without a node, EKS reports it as
    degraded, and the update fails after 20 minutes.
    """
    return aws.eks.Addon(
        name,
        cluster_name=args.cluster_name,
        addon_name=addon_name,
        addon_version=aws.eks.get_addon_version_output(
            addon_name=addon_name,
            kubernetes_version=args.kubernetes_version,
            opts=pulumi.InvokeOutputOptions(parent=opts.parent),
        ).version,
        configuration_values=pulumi.Output.json_dumps(configuration) if configuration else None,
        pod_identity_associations=[{"service_account": role[0], "role_arn": role[1]}] if role else None,
        resolve_conflicts_on_create="OVERWRITE",
        resolve_conflicts_on_update="OVERWRITE",
        opts=opts,
    )
