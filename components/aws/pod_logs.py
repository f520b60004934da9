"""Logs of all containers in CloudWatch, by the EKS add-on that AWS supports on nodes of Auto Mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account, arn
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.managed_policies import managed_policies
from components.aws.node_agents import NodeAgentsArgs, addon
from components.aws.policy_documents import key_for_logs, trust_pod

ADDON = "amazon-cloudwatch-observability"
NAMESPACE, SERVICE_ACCOUNT = "amazon-cloudwatch", "cloudwatch-agent"
"""Namespace of the add-on, and service account of its agents (CloudWatch user guide, "Install the add-on")."""
GROUPS = ("application", "dataplane", "host", "performance")
"""Log groups of the add-on below `/aws/containerinsights/<cluster>/`; those of the containers are in `application`."""
LOGS_ONLY = {
    "containerLogs": {"enabled": True},
    # A configuration without `application_signals` switches traces off, and Container Insights costs by observation.
    "agent": {"config": {"logs": {"metrics_collected": {"kubernetes": {"enhanced_container_insights": False}}}}},
}


@dataclass(frozen=True, kw_only=True)
class PodLogsArgs:
    """Settings of the logs."""

    cluster: str
    """Name of the cluster, as it is before the cluster exists."""
    cluster_name: pulumi.Input[str]
    """Name of the cluster as an output that resolves when the cluster is ready."""
    cluster_arn: pulumi.Input[str]
    """ARN of the cluster."""
    kubernetes_version: pulumi.Input[str]
    """Kubernetes version of the cluster, from which AWS derives the add-on's version."""
    retention_days: int
    """Days for which logs are kept, one of the numbers that CloudWatch Logs accepts."""
    nodes: Sequence[pulumi.Resource]
    """Node pools; the add-on's controller needs a node."""
    permissions_boundary: str | None
    """ARN of the policy that limits the role; None for none."""
    account: Account
    """AWS account of the cluster."""


class PodLogs(pulumi.ComponentResource):
    """Fluent Bit on each node, which sends the output of every container to an encrypted log group that expires."""

    def __init__(self, name: str, args: PodLogsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:PodLogs", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        groups = _groups(name, args, child)
        role = aws.iam.Role(
            name,
            assume_role_policy=trust_pod(
                namespace=NAMESPACE, service_account=SERVICE_ACCOUNT, cluster_arn=args.cluster_arn
            ),
            permissions_boundary=args.permissions_boundary,
            opts=child,
        )
        attached = managed_policies(name, role, ["CloudWatchAgentServerPolicy"], account=args.account, opts=child)
        addon(
            name,
            ADDON,
            NodeAgentsArgs(cluster_name=args.cluster_name, kubernetes_version=args.kubernetes_version),
            # The agents would make groups that never expire, with AWS's key.
            pulumi.ResourceOptions(parent=self, depends_on=[*groups, *attached, *args.nodes]),
            configuration=LOGS_ONLY,
            role=(SERVICE_ACCOUNT, role.arn),
        )
        self.register_outputs({})


def _groups(name: str, args: PodLogsArgs, child: pulumi.ResourceOptions) -> list[aws.cloudwatch.LogGroup]:
    prefix = f"/aws/containerinsights/{args.cluster}"
    here = args.account
    key = EncryptionKey(
        name,
        EncryptionKeyArgs(
            description=f"Logs of the pods of {args.cluster}",
            alias=f"logs{prefix}",
            account=here,
            uses=[key_for_logs(region=here.region, log_group_arn=arn("logs", f"log-group:{prefix}/*", here))],
            protected=False,
        ),
        child,
    )
    return [
        aws.cloudwatch.LogGroup(
            f"{name}-{group}",
            name=f"{prefix}/{group}",
            retention_in_days=args.retention_days,
            kms_key_id=key.arn,
            opts=child,
        )
        for group in GROUPS
    ]
