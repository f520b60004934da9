"""EKS add-ons: what nodes that Auto Mode did not start have to bring themselves, and what runs on any node."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

AGENTS: Mapping[str, Mapping[str, object] | None] = {
    "vpc-cni": {"enableNetworkPolicy": "true"},
    "eks-pod-identity-agent": None,
    "kube-proxy": None,
}
"""Add-on -> its configuration. Pods' addresses and roles, and Services' addresses; on Auto Mode's nodes these are part
of the operating system. They are DaemonSets, so EKS calls them active without a node, and no node is ready without
them."""


@dataclass(frozen=True, kw_only=True)
class NodeAgentsArgs:
    """The cluster, known once it is there."""

    cluster_name: pulumi.Input[str]
    kubernetes_version: pulumi.Input[str]


class NodeAgents(pulumi.ComponentResource):
    """EKS add-ons for managed node groups, with NetworkPolicies enforced there too; they come before the nodes."""

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
) -> aws.eks.Addon:
    """An add-on in the version that AWS recommends for the cluster's: an upgrade of the cluster takes it along.

    One that runs as a Deployment, such as `coredns`, depends on nodes: without one EKS calls it degraded, and an update
    waits for it for 20 minutes and fails.
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
        resolve_conflicts_on_create="OVERWRITE",
        resolve_conflicts_on_update="OVERWRITE",
        opts=opts,
    )
