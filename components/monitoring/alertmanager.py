"""Alertmanager in the cluster, which sends alerts to one receiver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import pods, timeouts
from components.monitoring import access
from components.monitoring.access import ALERTMANAGER, PROMETHEUS
from components.service import service
from contract import names

PORT = 9093
CPU, MEMORY = "20m", "96Mi"
FILE = "alertmanager.json"
LABELS = names.labels(ALERTMANAGER, ALERTMANAGER, "alertmanager")
SELECTOR = names.selector(ALERTMANAGER, ALERTMANAGER)
ReceiverKind = Literal["pagerduty", "slack", "webhook"]
LINES = "{{ range .Alerts }}{{ .Annotations.summary }} {{ .Annotations.action }}\n{{ end }}"
"""Template of a message: a line for each alert."""


@dataclass(frozen=True, kw_only=True)
class AlertmanagerArgs:
    """Settings of Alertmanager."""

    image: str
    """Image of Alertmanager."""
    namespace: Input[str]
    """Name of the namespace mlops-platform."""
    placement: pods.Placement
    """Nodes and priority of the pod."""
    receiver: ReceiverKind
    """Program that gets the alerts."""
    address: Output[str]
    """URL of the receiver, or the integration key of PagerDuty, as a secret."""


class Alertmanager(pulumi.ComponentResource):
    """Deployment of one Alertmanager, whose configuration is a Secret.

    Its silences and what it has sent are in memory: after a restart it may send an alert that still fires once more.
    """

    def __init__(self, name: str, args: AlertmanagerArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:Alertmanager", name, None, opts)
        child = ResourceOptions(parent=self)
        metadata: k8s.meta.v1.ObjectMetaArgsDict = {"namespace": args.namespace, "labels": LABELS}
        named: k8s.meta.v1.ObjectMetaArgsDict = {**metadata, "name": ALERTMANAGER}
        text = Output.json_dumps(args.address.apply(lambda address: config(args.receiver, address)))
        secret = k8s.core.v1.Secret(ALERTMANAGER, metadata=metadata, string_data={FILE: text}, opts=child)
        # The receiver's address is a secret, so the rule names ports only.
        outside: k8s.networking.v1.NetworkPolicyEgressRuleArgsDict = {
            "ports": [{"protocol": "TCP", "port": port} for port in (80, 443)]
        }
        k8s.networking.v1.NetworkPolicy(
            ALERTMANAGER,
            metadata=metadata,
            spec=access.policy(ALERTMANAGER, [access.from_pods(PORT, PROMETHEUS)], [outside]),
            opts=child,
        )
        k8s.apps.v1.Deployment(
            ALERTMANAGER,
            metadata=named,
            spec=_deployment(args, secret.metadata.name),
            opts=ResourceOptions(
                parent=self,
                custom_timeouts=timeouts.rollout(timeouts.IMAGE_PULL_SECONDS + 60, 1, grace_seconds=30),
            ),
        )
        service(ALERTMANAGER, SELECTOR, PORT, PORT, metadata=named, opts=child)
        self.register_outputs({})


def config(receiver: ReceiverKind, address: str) -> dict[str, Any]:
    """Return the configuration for one receiver outside of the cluster."""
    return routed(_receiver(receiver, address))


def routed(receiver: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration: `receiver` gets all alerts, pages again every hour and tickets every day."""
    return {
        "route": {
            "receiver": "people",
            "group_by": ["alertname", "endpoint"],
            "group_wait": "5s",
            "group_interval": "1m",
            "repeat_interval": "24h",
            "routes": [{"matchers": ['severity="page"'], "receiver": "people", "repeat_interval": "1h"}],
        },
        "receivers": [{"name": "people", **receiver}],
        "inhibit_rules": [
            {
                "source_matchers": ['alertname="EndpointDown"'],
                "target_matchers": ['alertname=~"EndpointPodsNotReady|EndpointReleaseStuck"'],
                "equal": ["endpoint"],
            }
        ],
    }


def _receiver(kind: ReceiverKind, address: str) -> Mapping[str, Any]:
    match kind:
        case "webhook":
            return {"webhook_configs": [{"url": address, "send_resolved": True}]}
        case "slack":
            slack = {"api_url": address, "send_resolved": True, "title": "{{ .CommonLabels.alertname }}", "text": LINES}
            return {"slack_configs": [slack]}
        case "pagerduty":
            return {"pagerduty_configs": [{"routing_key": address, "send_resolved": True, "description": LINES}]}


def _deployment(args: AlertmanagerArgs, secret: Output[str]) -> k8s.apps.v1.DeploymentSpecArgsDict:
    container: k8s.core.v1.ContainerArgsDict = {
        **access.container("alertmanager", args.image, (CPU, MEMORY), PORT, "/-/ready"),
        "args": [
            f"--config.file=/etc/alertmanager/{FILE}",
            "--storage.path=/data",
            f"--web.listen-address=:{PORT}",
            # One pod needs no peers.
            "--cluster.listen-address=",
        ],
        "volume_mounts": [
            pods.TMP,
            {"name": "data", "mount_path": "/data"},
            {"name": "config", "mount_path": "/etc/alertmanager", "read_only": True},
        ],
    }
    return access.one_pod(
        LABELS,
        container,
        args.placement,
        pods.scratch("data", "64Mi"),
        {"name": "config", "secret": {"secret_name": secret}},
    )
