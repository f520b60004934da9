"""Prometheus in the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import pods, timeouts
from components.monitoring import access, alertmanager
from components.monitoring.access import ALERTMANAGER, EXPORTER, PROMETHEUS
from components.monitoring.exporter import PORT as EXPORTER_PORT
from components.service import service
from contract import names

PORT = 9090
CPU = "200m"
GRACE_SECONDS = 120
"""Seconds in which a stopping Prometheus writes what it has in memory."""
KEPT_SHARE = 0.8
"""Share of the volume for series; the rest is for the write-ahead log and for compactions."""
LABELS = names.labels(PROMETHEUS, PROMETHEUS, "prometheus")
SELECTOR = names.selector(PROMETHEUS, PROMETHEUS)
PODS = access.reads("", "pods")


@dataclass(frozen=True, kw_only=True)
class PrometheusArgs:
    """Settings of Prometheus."""

    image: str
    """Image of Prometheus 3."""
    namespaces: Mapping[str, Input[str]]
    """Names of the platform's namespaces, by their fixed names."""
    placement: pods.Placement
    """Nodes and priority of the pod."""
    memory: str
    """Memory request and limit, as a Kubernetes quantity."""
    storage_gib: int
    """Size of the volume in GiB."""
    storage_class: str | None
    """StorageClass of the volume; None for the cluster's default."""
    readers: Sequence[str]
    """Programs of monitoring that may query Prometheus."""
    targets: Mapping[str, int]
    """Port of each further program in mlops-platform that Prometheus scrapes, by the program's name."""
    files: Mapping[str, str]
    """Text of prometheus.yml and of the rule files, by name."""


class Prometheus(pulumi.ComponentResource):
    """StatefulSet of one Prometheus with a volume, and its rights.

    It finds the pods that it scrapes by their labels. A change of its rules restarts it; the volume keeps its series.
    """

    url: Output[str]
    """URL inside the cluster; it resolves when Prometheus is ready."""

    def __init__(self, name: str, args: PrometheusArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:Prometheus", name, None, opts)
        child = ResourceOptions(parent=self)
        home = args.namespaces[names.PLATFORM]
        metadata: k8s.meta.v1.ObjectMetaArgsDict = {"namespace": home, "labels": LABELS}
        named: k8s.meta.v1.ObjectMetaArgsDict = {**metadata, "name": PROMETHEUS}
        rules = {names.PLATFORM: [PODS], names.SERVING: [PODS]}
        account = access.account(PROMETHEUS, rules, args.namespaces, child)
        # Without a name, Pulumi replaces the object when a file changes, and the pod with it.
        files = k8s.core.v1.ConfigMap(PROMETHEUS, metadata=metadata, data=args.files, opts=child)
        servers: k8s.networking.v1.NetworkPolicyEgressRuleArgsDict = {
            "to": [
                {
                    "namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": names.SERVING}},
                    "pod_selector": {
                        "match_expressions": [
                            {"key": names.NAME, "operator": "In", "values": [*names.SERVERS.values(), names.ROUTERS]}
                        ]
                    },
                }
            ],
            "ports": [{"protocol": "TCP", "port": names.PROBE_PORT}],
        }
        ports = {EXPORTER: EXPORTER_PORT, ALERTMANAGER: alertmanager.PORT, **args.targets}
        targets = [access.to_pods(port, program) for program, port in ports.items()]
        readers = [access.from_pods(PORT, *args.readers)] if args.readers else []
        k8s.networking.v1.NetworkPolicy(
            PROMETHEUS,
            metadata=metadata,
            spec=access.policy(PROMETHEUS, readers, [pods.TO_API_SERVER, servers, *targets]),
            opts=child,
        )
        pod = k8s.apps.v1.StatefulSet(
            PROMETHEUS,
            metadata=named,
            spec=_stateful_set(args, account, files.metadata.name),
            opts=ResourceOptions(parent=self, custom_timeouts=timeouts.store(120, grace_seconds=GRACE_SECONDS)),
        )
        entry = service(PROMETHEUS, SELECTOR, PORT, PORT, metadata=named, opts=child)
        self.url = Output.concat("http://", entry.metadata.name, ".", pod.metadata.namespace, f":{PORT}")
        self.register_outputs({"url": self.url})


def _stateful_set(
    args: PrometheusArgs, account: Output[str], files: Output[str]
) -> k8s.apps.v1.StatefulSetSpecArgsDict:
    container: k8s.core.v1.ContainerArgsDict = {
        **access.container("prometheus", args.image, (CPU, args.memory), PORT, "/-/ready"),
        "args": [
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/data",
            f"--storage.tsdb.retention.size={int(args.storage_gib * 1024 * KEPT_SHARE)}MB",
            f"--web.listen-address=:{PORT}",
        ],
        # Go's garbage collector works harder before the container is killed.
        "env": [{"name": "GOMEMLIMIT", "value_from": {"resource_field_ref": {"resource": "limits.memory"}}}],
        "volume_mounts": [
            pods.TMP,
            access.TOKEN,
            {"name": "data", "mount_path": "/data"},
            {"name": "files", "mount_path": "/etc/prometheus", "read_only": True},
        ],
    }
    storage: k8s.core.v1.PersistentVolumeClaimSpecArgsDict = {
        "access_modes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": f"{args.storage_gib}Gi"}},
    }
    if args.storage_class:
        storage["storage_class_name"] = args.storage_class
    return {
        "replicas": 1,
        # A name, not the Service's output: Pulumi must not wait for the Service here.
        "service_name": PROMETHEUS,
        "selector": {"match_labels": SELECTOR},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {
                **pods.hardened(container, placement=args.placement),
                "service_account_name": account,
                "termination_grace_period_seconds": GRACE_SECONDS,
                "volumes": [
                    pods.scratch("tmp", "64Mi"),
                    access.token(),
                    {"name": "files", "config_map": {"name": files}},
                ],
            },
        },
        "volume_claim_templates": [{"metadata": {"name": "data"}, "spec": storage}],
    }
