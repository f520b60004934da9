"""How programs and people reach a cluster's API: a token from `aws eks get-token`, no key kept anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components import hand_edits
from components.aws.account import Account


@dataclass(frozen=True, kw_only=True)
class KubernetesAccess:
    """Where a cluster's API is and how to trust it."""

    cluster_name: str
    account: Account
    endpoint: pulumi.Input[str]
    certificate: pulumi.Input[str]
    """The API's certificate authority, base64."""


def kubeconfig(access: KubernetesAccess) -> pulumi.Output[str]:
    """JSON for any Kubernetes client on a machine with the AWS CLI; it holds nothing secret."""
    name = access.cluster_name
    return pulumi.Output.json_dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": name,
                    "cluster": {"server": access.endpoint, "certificate-authority-data": access.certificate},
                }
            ],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
            "users": [
                {
                    "name": name,
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1beta1",
                            "command": "aws",
                            "args": [
                                "eks",
                                "get-token",
                                "--output",
                                "json",
                                "--cluster-name",
                                name,
                                "--region",
                                access.account.region,
                            ],
                        }
                    },
                }
            ],
        }
    )


def provider(name: str, access: KubernetesAccess, opts: pulumi.ResourceOptions) -> k8s.Provider:
    """A provider that is replaced when it is for another cluster, and by nothing else.

    Without `cluster_identifier` it compares kubeconfigs: a new endpoint or certificate, or one not yet known in a
    preview of an upgrade, would replace the provider and with it every object in the cluster.
    """
    return k8s.Provider(
        name,
        kubeconfig=kubeconfig(access),
        cluster_identifier=f"{access.account.id}/{access.account.region}/{access.cluster_name}",
        enable_server_side_apply=True,
        opts=hand_edits.overwritten(opts),
    )


def update_kubeconfig_command(cluster_name: str, region: str) -> str:
    """What a person types to get the same access."""
    return f"aws eks update-kubeconfig --name {cluster_name} --region {region}"
