"""prometheus-adapter in the cluster: it gives the autoscalers the requests in flight of a pod."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import pods, timeouts
from components.endpoint.autoscaling import IN_FLIGHT
from components.monitoring import access
from components.monitoring.access import METRICS_ADAPTER, PROMETHEUS
from components.monitoring.prometheus import PORT as PROMETHEUS_PORT
from components.service import service
from contract import names

PORT = 6443
CPU, MEMORY = "50m", "128Mi"
API, VERSION = "custom.metrics.k8s.io", "v1beta2"
RELIST = "30s"
"""Time between two reads of the list of series: after it, a new endpoint can scale."""
FILE = "config.json"
LABELS = names.labels(METRICS_ADAPTER, METRICS_ADAPTER, "metrics-adapter")
SELECTOR = names.selector(METRICS_ADAPTER, METRICS_ADAPTER)
CONFIG = {
    "rules": [
        {
            "seriesQuery": f'{IN_FLIGHT}{{namespace!="",pod!=""}}',
            "resources": {"overrides": {each: {"resource": each} for each in ("namespace", "pod")}},
            "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
        }
    ]
}


@dataclass(frozen=True, kw_only=True)
class MetricsAdapterArgs:
    """Settings of the metrics adapter."""

    image: str
    """Image of prometheus-adapter."""
    namespaces: Mapping[str, Input[str]]
    """Names of the platform's namespaces, by their fixed names."""
    placement: pods.Placement
    """Nodes and priority of the pod."""
    prometheus_url: Input[str]
    """URL of Prometheus."""


class MetricsAdapter(pulumi.ComponentResource):
    """Deployment of one prometheus-adapter, and its entry in the Kubernetes API as custom.metrics.k8s.io.

    The API server does not verify its certificate, which the pod makes itself at each start. The adapter serves only
    callers that the API server has authenticated and that RBAC allows, as it does the autoscalers.
    """

    def __init__(self, name: str, args: MetricsAdapterArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:MetricsAdapter", name, None, opts)
        child = ResourceOptions(parent=self)
        home = args.namespaces[names.PLATFORM]
        metadata: k8s.meta.v1.ObjectMetaArgsDict = {"namespace": home, "labels": LABELS}
        named: k8s.meta.v1.ObjectMetaArgsDict = {**metadata, "name": METRICS_ADAPTER}
        # It translates the autoscaler's selector into names of pods.
        account = access.account(
            METRICS_ADAPTER, {names.SERVING: [access.reads("", "pods")]}, args.namespaces, child
        )  # fmt: skip
        _may_ask_who_calls(account, home, child)
        k8s.networking.v1.NetworkPolicy(
            METRICS_ADAPTER,
            metadata=metadata,
            spec=access.policy(
                METRICS_ADAPTER,
                # The API server's addresses may change, and no label selects them.
                [{"ports": [{"protocol": "TCP", "port": PORT}]}],
                [pods.TO_API_SERVER, access.to_pods(PROMETHEUS_PORT, PROMETHEUS)],
            ),
            opts=child,
        )
        # Without a name, Pulumi replaces the object when the rule changes, and the pod with it.
        config = k8s.core.v1.ConfigMap(
            METRICS_ADAPTER, metadata=metadata, data={FILE: json.dumps(CONFIG, indent=1)}, opts=child
        )  # fmt: skip
        deployment = k8s.apps.v1.Deployment(
            METRICS_ADAPTER,
            metadata=named,
            spec=_deployment(args, account, config.metadata.name),
            opts=ResourceOptions(
                parent=self,
                custom_timeouts=timeouts.rollout(timeouts.IMAGE_PULL_SECONDS + 60, 1, grace_seconds=30),
            ),
        )
        entry = service(METRICS_ADAPTER, SELECTOR, 443, PORT, metadata=named, opts=child)
        k8s.apiregistration.v1.APIService(
            METRICS_ADAPTER,
            metadata={"name": f"{VERSION}.{API}", "labels": LABELS},
            spec={
                "group": API,
                "version": VERSION,
                "group_priority_minimum": 100,
                "version_priority": 100,
                "insecure_skip_tls_verify": True,
                "service": {"name": entry.metadata.name, "namespace": deployment.metadata.namespace},
            },
            opts=child,
        )
        self.register_outputs({})


def _may_ask_who_calls(account: Output[str], home: Input[str], opts: ResourceOptions) -> None:
    """Bind Kubernetes' own roles for servers behind its API: they may ask who a caller is, and what it may do."""
    subject: k8s.rbac.v1.SubjectArgsDict = {"kind": "ServiceAccount", "name": account, "namespace": home}
    k8s.rbac.v1.ClusterRoleBinding(
        METRICS_ADAPTER,
        metadata={"name": METRICS_ADAPTER, "labels": LABELS},
        role_ref={"api_group": access.RBAC, "kind": "ClusterRole", "name": "system:auth-delegator"},
        subjects=[subject],
        opts=opts,
    )
    k8s.rbac.v1.RoleBinding(
        f"{METRICS_ADAPTER}-callers",
        metadata={"name": METRICS_ADAPTER, "namespace": "kube-system", "labels": LABELS},
        role_ref={"api_group": access.RBAC, "kind": "Role", "name": "extension-apiserver-authentication-reader"},
        subjects=[subject],
        opts=opts,
    )


def _deployment(
    args: MetricsAdapterArgs, account: Output[str], config: Output[str]
) -> k8s.apps.v1.DeploymentSpecArgsDict:
    container: k8s.core.v1.ContainerArgsDict = {
        **access.container("adapter", args.image, (CPU, MEMORY), PORT, "/readyz", tls=True),
        "args": [
            f"--config=/etc/adapter/{FILE}",
            Output.concat("--prometheus-url=", args.prometheus_url, "/"),
            f"--metrics-relist-interval={RELIST}",
            f"--secure-port={PORT}",
            "--cert-dir=/tmp/certificate",
        ],
        "volume_mounts": [
            pods.TMP,
            access.TOKEN,
            {"name": "config", "mount_path": "/etc/adapter", "read_only": True},
        ],
    }
    return access.one_pod(
        LABELS,
        container,
        args.placement,
        access.token(),
        {"name": "config", "config_map": {"name": config}},
        account=account,
    )
