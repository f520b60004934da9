"""Access to an EKS cluster's API with tokens from `aws eks get-token`, without stored keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components import hand_edits
from components.aws.account import Account


@dataclass(frozen=True, kw_only=True)
class KubernetesAccess:
    """Address and certificate of a cluster's API."""

    cluster_name: str
    """Name of the cluster."""
    account: Account
    """AWS account of the cluster."""
    endpoint: pulumi.Input[str]
    """URL of the API."""
    certificate: pulumi.Input[str]
    """Certificate authority of the API, in base64."""


def kubeconfig(access: KubernetesAccess) -> pulumi.Output[str]:
    """Return a kubeconfig as JSON, for Kubernetes clients on a machine with the AWS CLI; it has no secrets."""
    return pulumi.Output.json_dumps(
        document(access.cluster_name, access.account.region, endpoint=access.endpoint, certificate=access.certificate)
    )


def document(
    name: str, region: str, *, endpoint: pulumi.Input[str], certificate: pulumi.Input[str]
) -> Mapping[str, object]:
    """Return the content of a kubeconfig for the EKS cluster of this name."""
    token = ["eks", "get-token", "--output", "json", "--cluster-name", name, "--region", region]
    version = "client.authentication.k8s.io/v1beta1"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": endpoint, "certificate-authority-data": certificate}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        "users": [{"name": name, "user": {"exec": {"apiVersion": version, "command": "aws", "args": token}}}],
    }


def provider(name: str, access: KubernetesAccess, opts: pulumi.ResourceOptions) -> k8s.Provider:
    """Declare a provider that is replaced only if it is for another cluster.

    Without `cluster_identifier`, Pulumi compares kubeconfigs: a new endpoint or certificate, or one that the preview of
    an upgrade does not know yet, would replace the provider and every object in the cluster.
    """
    return k8s.Provider(
        name,
        kubeconfig=kubeconfig(access),
        cluster_identifier=f"{access.account.id}/{access.account.region}/{access.cluster_name}",
        enable_server_side_apply=True,
        opts=hand_edits.with_patch_force(opts),
    )


def update_kubeconfig_command(cluster_name: str, region: str) -> str:
    """Return the command by which a user gets access to the cluster."""
    return f"aws eks update-kubeconfig --name {cluster_name} --region {region}"
