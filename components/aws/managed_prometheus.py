"""Amazon Managed Service for Prometheus: a workspace, a scraper of the cluster, rules, and alerts by SNS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.policy_documents import key_for_alerts, published_by_alerts
from components.monitoring import alertmanager


@dataclass(frozen=True, kw_only=True)
class ManagedPrometheusArgs:
    """Cluster that is scraped, rules, and the addresses that get the alerts."""

    prefix: str
    """Prefix of fixed names, unique in the account and region."""
    cluster_arn: pulumi.Input[str]
    """ARN of the EKS cluster; its API must have a private address."""
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    """Ids of subnets in at least two zones, in which the scraper gets its addresses."""
    security_group_id: pulumi.Input[str]
    """Id of the cluster's security group, which lets the scraper reach the pods."""
    scrape: str
    """Scrape configuration, as the text of a prometheus.yml."""
    rules: str
    """Text of the rule file."""
    emails: Sequence[str]
    """Addresses of e-mail that get each alert, after their owners have confirmed it."""
    account: Account
    """AWS account of the workspace."""


class ManagedPrometheus(pulumi.ComponentResource):
    """Workspace that AWS runs, with a scraper, rules and an Alertmanager that publishes to an encrypted topic."""

    url: pulumi.Output[str]
    """URL of the workspace, for Grafana or clients that sign their requests."""
    arn: pulumi.Output[str]
    """ARN of the workspace."""
    topic_arn: pulumi.Output[str]
    """ARN of the topic, for further subscribers such as PagerDuty or a chat."""

    def __init__(self, name: str, args: ManagedPrometheusArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:ManagedPrometheus", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        workspace = aws.amp.Workspace(name, alias=args.prefix, opts=child)
        key = EncryptionKey(
            name,
            EncryptionKeyArgs(
                description=f"Alerts of {args.prefix}",
                alias=f"{args.prefix}-alerts",
                account=args.account,
                uses=[key_for_alerts(args.account)],
                protected=False,
            ),
            child,
        )
        topic = aws.sns.Topic(name, name=f"{args.prefix}-alerts", kms_master_key_id=key.arn, opts=child)
        published = aws.sns.TopicPolicy(
            name, arn=topic.arn, policy=published_by_alerts(topic.arn, workspace.arn, args.account), opts=child
        )
        for email in args.emails:
            aws.sns.TopicSubscription(f"{name}-{email}", topic=topic.arn, protocol="email", endpoint=email, opts=child)
        aws.amp.RuleGroupNamespace(name, name="mlops", workspace_id=workspace.id, data=args.rules, opts=child)
        aws.amp.AlertManagerDefinition(
            name,
            workspace_id=workspace.id,
            definition=pulumi.Output.json_dumps(
                {"alertmanager_config": topic.arn.apply(lambda arn: _alertmanager_text(arn, args.account.region))}
            ),
            # Alertmanager publishes a first message, which the policy must allow.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[published]),
        )
        aws.amp.Scraper(
            name,
            alias=args.prefix,
            destination={"amp": {"workspace_arn": workspace.arn}},
            scrape_configuration=args.scrape,
            source={
                "eks": {
                    "cluster_arn": args.cluster_arn,
                    "subnet_ids": args.subnet_ids,
                    "security_group_ids": [args.security_group_id],
                }
            },
            opts=child,
        )
        self.url, self.arn, self.topic_arn = workspace.prometheus_endpoint, workspace.arn, topic.arn
        self.register_outputs({"url": self.url, "topic_arn": self.topic_arn})


def _alertmanager_text(topic_arn: str, region: str) -> str:
    """Return the configuration, which the definition holds as a text inside of its own."""
    topic = {
        "topic_arn": topic_arn,
        "sigv4": {"region": region},
        # A subject has at most 100 characters; the default one is longer.
        "subject": "{{ .CommonLabels.alertname }} {{ .CommonLabels.endpoint }}",
        "message": alertmanager.LINES,
    }
    return json.dumps(alertmanager.routed({"sns_configs": [topic]}))
