"""Exporter of the platform's state: releases, model versions, Jobs, quotas and GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import pods, timeouts
from components.monitoring import access
from components.monitoring.access import EXPORTER
from components.namespaces import TRACKING
from contract import names

PORT = 9464
CPU, MEMORY = "50m", "192Mi"
LABELS = names.labels(EXPORTER, EXPORTER, "exporter")
AUDIENCE = names.TRACKING_AUDIENCE
"""Audience of the token that the exporter shows to MLflow."""
RULES: Mapping[str, Sequence[k8s.rbac.v1.PolicyRuleArgsDict]] = {
    names.PLATFORM: [access.reads("", "resourcequotas")],
    names.TRAINING: [access.reads("", "pods", "resourcequotas"), access.reads("batch", "cronjobs", "jobs")],
    names.SERVING: [
        access.reads("", "pods", "resourcequotas"),
        access.reads("apps", "deployments"),
        access.reads("autoscaling", "horizontalpodautoscalers"),
    ],
}
"""Rules of the exporter's account, by namespace; a ClusterRole lets it read the nodes."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """Artifact store in mlops-platform with a health page."""

    url: str
    """URL of the health page."""
    port: int
    """Port of the store's pods."""
    selector: Mapping[str, str]
    """Labels of the store's pods."""


@dataclass(frozen=True, kw_only=True)
class ExporterArgs:
    """Settings of the exporter."""

    image: str
    """Serving image, which has Python and the package prometheus-client."""
    code: str
    """Text of the program."""
    namespaces: Mapping[str, Input[str]]
    """Names of the platform's namespaces, by their fixed names."""
    placement: pods.Placement
    """Nodes and priority of the pod."""
    tracking_url: Input[str]
    """URL of MLflow."""
    store: Store | None
    """Artifact store; None if it is a service of the cloud."""
    scraper: access.Scraper
    """Clients that may scrape the exporter."""


class Exporter(pulumi.ComponentResource):
    """Deployment of one pod that shows the platform's state as metrics, and its rights."""

    def __init__(self, name: str, args: ExporterArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:Exporter", name, None, opts)
        child = ResourceOptions(parent=self)
        home = args.namespaces[names.PLATFORM]
        metadata: k8s.meta.v1.ObjectMetaArgsDict = {"namespace": home, "labels": LABELS}
        account = access.account(EXPORTER, RULES, args.namespaces, child)
        node_reader = k8s.rbac.v1.ClusterRole(
            EXPORTER,
            metadata={"name": EXPORTER, "labels": LABELS},
            rules=[access.reads("", "nodes")],
            opts=child,
        )
        k8s.rbac.v1.ClusterRoleBinding(
            EXPORTER,
            metadata={"name": EXPORTER, "labels": LABELS},
            role_ref={"api_group": access.RBAC, "kind": "ClusterRole", "name": node_reader.metadata.name},
            subjects=[{"kind": "ServiceAccount", "name": account, "namespace": home}],
            opts=child,
        )
        # Without a name, Pulumi replaces the object when the code changes, and the pod with it.
        code = k8s.core.v1.ConfigMap(EXPORTER, metadata=metadata, data={"exporter.py": args.code}, opts=child)
        reached: dict[str, tuple[Mapping[str, str], int]] = {"mlflow": (names.TRACKING_PODS, names.TRACKING_PORT)}
        if args.store:
            reached["store"] = (args.store.selector, args.store.port)
        to = [TRACKING, *([_to(args.store)] if args.store else [])]
        ingress = [access.scraped_by(args.scraper, PORT)]
        k8s.networking.v1.NetworkPolicy(
            EXPORTER, metadata=metadata, spec=access.policy(EXPORTER, ingress, [pods.TO_API_SERVER, *to]), opts=child
        )
        for each, (selector, port) in reached.items():
            k8s.networking.v1.NetworkPolicy(
                f"{EXPORTER}-{each}",
                metadata=metadata,
                spec={
                    "pod_selector": {"match_labels": selector},
                    "policy_types": ["Ingress"],
                    "ingress": [access.from_pods(port, EXPORTER)],
                },
                opts=child,
            )
        k8s.apps.v1.Deployment(
            EXPORTER,
            metadata={**metadata, "name": EXPORTER},
            spec=_deployment(args, account, code.metadata.name),
            opts=ResourceOptions(
                parent=self,
                custom_timeouts=timeouts.rollout(timeouts.IMAGE_PULL_SECONDS + 60, 1, grace_seconds=30),
            ),
        )
        self.register_outputs({})


def _to(store: Store) -> k8s.networking.v1.NetworkPolicyEgressRuleArgsDict:
    return {
        "to": [{"pod_selector": {"match_labels": store.selector}}],
        "ports": [{"protocol": "TCP", "port": store.port}],
    }


def _deployment(args: ExporterArgs, account: Output[str], code: Output[str]) -> k8s.apps.v1.DeploymentSpecArgsDict:
    store = ["--store", args.store.url] if args.store else []
    container: k8s.core.v1.ContainerArgsDict = {
        **access.container("exporter", args.image, (CPU, MEMORY), PORT, "/metrics"),
        "command": ["python", "/exporter/exporter.py"],
        "args": [
            "--mlflow",
            args.tracking_url,
            "--mlflow-token",
            f"/var/run/secrets/{AUDIENCE}/token",
            "--port",
            str(PORT),
            *store,
        ],
        # The package `contract` of the image.
        "env": pods.environment({"PYTHONPATH": "/app"}),
        "volume_mounts": [
            pods.TMP,
            access.TOKEN,
            {"name": AUDIENCE, "mount_path": f"/var/run/secrets/{AUDIENCE}", "read_only": True},
            {"name": "code", "mount_path": "/exporter", "read_only": True},
        ],
    }
    return access.one_pod(
        LABELS,
        container,
        args.placement,
        access.token(),
        {"name": AUDIENCE, "projected": {"sources": [pods.token(AUDIENCE)]}},
        {"name": "code", "config_map": {"name": code}},
        account=account,
    )
