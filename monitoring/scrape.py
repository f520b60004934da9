"""Scrape configuration of Prometheus, as data: which pods it reads, and the labels that their series get.

The same labels come from a PodMonitor of the prometheus-operator, so that rules and boards hold for both.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from contract import names
from monitoring.spec import EXPORTER, ROUTER, ROUTERS, SERVERS, TRACKING

INTERVAL_SECONDS = 15
PORT = "metrics"
"""Name of the pods' port."""
PODS: Mapping[str, Mapping[str, Sequence[str]]] = {
    # Not names.ENDPOINTS: with a challenger or a shadow, only routers have that label.
    SERVERS: {names.NAME: tuple(names.SERVERS.values())},
    ROUTERS: {names.NAME: (ROUTER,)},
    EXPORTER: {names.NAME: (EXPORTER,)},
    # Only the proxy of an MLflow that asks who you are has such a port.
    TRACKING: {names.NAME: (names.TRACKING_SERVICE,)},
}
"""Labels of the pods, each with its possible values, by scrape job."""
SPACES = {SERVERS: names.SERVING, ROUTERS: names.SERVING, EXPORTER: names.PLATFORM, TRACKING: names.PLATFORM}
"""Namespace of the pods, by scrape job."""
KEPT = {
    ROUTERS: "envoy_(http_downstream_rq_xx|vhost_route_upstream_rq_completed|cluster_membership_(healthy|total)"
    "|cluster_upstream_rq_(active_overflow|completed|retry|total)|cluster_outlier_detection_ejections_active"
    "|cluster_upstream_cx_none_healthy|server_memory_allocated)",
    TRACKING: "envoy_http_downstream_rq_(xx|time_bucket)",
}
"""Regular expression for the names of the series that are kept, by scrape job; Envoy has 2,000 more."""
ENDPOINT = "__meta_kubernetes_pod_label_app_kubernetes_io_instance"


def config(
    *, rule_files: Sequence[str], alertmanagers: Sequence[str], interval_seconds: int = INTERVAL_SECONDS
) -> dict[str, Any]:
    """Return the configuration of a Prometheus in the cluster; `alertmanagers` are addresses as host:port."""
    return {
        "global": {
            "scrape_interval": f"{interval_seconds}s",
            "evaluation_interval": f"{interval_seconds}s",
        },
        "rule_files": list(rule_files),
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]},
        "scrape_configs": [_job(name) for name in PODS],
    }


def collected(interval_seconds: int = INTERVAL_SECONDS) -> dict[str, Any]:
    """Return the configuration of a scraper alone, as Amazon's collectors read it; they know no rules and no alerts."""
    return {
        "global": {"scrape_interval": f"{interval_seconds}s"},
        "scrape_configs": [_job(name) for name in PODS],
    }


def _job(name: str) -> dict[str, Any]:
    discovery = {"role": "pod", "namespaces": {"names": [SPACES[name]]}}
    selector = {"role": "pod", "label": names.among(PODS[name])}
    return {
        "job_name": name,
        "kubernetes_sd_configs": [{**discovery, "selectors": [selector]}],
        # The exporter's own label `endpoint` says which endpoint a series is about.
        "honor_labels": name == EXPORTER,
        "relabel_configs": [
            {
                "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                "regex": PORT,
                "action": "keep",
            },
            {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Running", "action": "keep"},
            *relabelings(name, "source_labels", "target_label"),
        ],
        **({"metric_relabel_configs": [_kept(name, "source_labels")]} if name in KEPT else {}),
    }


def pod_monitor(name: str) -> dict[str, Any]:
    """Return the `spec` of the PodMonitor of a scrape job."""
    return {
        "selector": {
            "matchExpressions": [
                {"key": key, "operator": "In", "values": list(values)} for key, values in PODS[name].items()
            ]
        },
        "namespaceSelector": {"matchNames": [SPACES[name]]},
        "podMetricsEndpoints": [
            {
                "port": PORT,
                "interval": f"{INTERVAL_SECONDS}s",
                "honorLabels": name == EXPORTER,
                "relabelings": [
                    *relabelings(name, "sourceLabels", "targetLabel"),
                    {"targetLabel": "job", "replacement": name},
                ],
                **({"metricRelabelings": [_kept(name, "sourceLabels")]} if name in KEPT else {}),
            }
        ],
    }


def relabelings(name: str, source: str, target: str) -> list[dict[str, Any]]:
    """Return the labels of a scrape job's series; the words for source and target differ between the two formats."""
    if name == EXPORTER:
        # Its series are about other objects. With labels of its own pod, each restart would begin all alerts again.
        return [{target: "instance", "replacement": EXPORTER}, {"action": "labeldrop", "regex": "pod|container"}]
    kept = {"pod": "__meta_kubernetes_pod_name", "namespace": "__meta_kubernetes_namespace"}
    if SPACES[name] == names.SERVING:
        kept["endpoint"] = ENDPOINT
    return [{source: [origin], target: label} for label, origin in kept.items()]


def _kept(name: str, source: str) -> dict[str, Any]:
    return {source: ["__name__"], "regex": KEPT[name], "action": "keep"}
