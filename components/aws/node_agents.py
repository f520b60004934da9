"""What nodes that Auto Mode did not start have to bring themselves."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

AGENTS = ("coredns", "eks-pod-identity-agent", "kube-proxy")
"""Names, Services' addresses and pods' roles; on Auto Mode's nodes these are part of the operating system."""


@dataclass(frozen=True, kw_only=True)
class NodeAgentsArgs:
    """The cluster, known once it is there."""

    cluster_name: pulumi.Input[str]
    kubernetes_version: pulumi.Input[str]


class NodeAgents(pulumi.ComponentResource):
    """EKS add-ons for managed node groups, with NetworkPolicies enforced there too.

    Each in the version that AWS recommends for the cluster's: an upgrade of the cluster takes them along.
    """

    def __init__(self, name: str, args: NodeAgentsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:NodeAgents", name, {}, opts)
        network: dict[str, object] = {"enableNetworkPolicy": "true"}
        for agent, configuration in {"vpc-cni": network, **dict.fromkeys(AGENTS)}.items():
            aws.eks.Addon(
                f"{name}-{agent}",
                cluster_name=args.cluster_name,
                addon_name=agent,
                addon_version=aws.eks.get_addon_version_output(
                    addon_name=agent,
                    kubernetes_version=args.kubernetes_version,
                    opts=pulumi.InvokeOutputOptions(parent=self),
                ).version,
                configuration_values=pulumi.Output.json_dumps(configuration) if configuration else None,
                resolve_conflicts_on_create="OVERWRITE",
                resolve_conflicts_on_update="OVERWRITE",
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})
