"""Declaration of a stack's monitoring: the exporter, and who scrapes it, the endpoints' pods and the boards."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pulumi
import pulumi_kubernetes as k8s
import yaml
from pulumi import Input, ResourceOptions

from components import mlflow_gateway, pods
from components.foundation import Foundation, MonitoringRequest
from components.local import s3_gateway
from components.monitoring import access, alertmanager, exporter
from components.monitoring.access import ALERTMANAGER, METRICS_ADAPTER
from components.monitoring.alertmanager import Alertmanager, AlertmanagerArgs
from components.monitoring.exporter import Exporter, ExporterArgs
from components.monitoring.metrics_adapter import MetricsAdapter, MetricsAdapterArgs
from components.monitoring.operator_objects import OperatorObjects, OperatorObjectsArgs
from components.monitoring.operator_objects import boards as board_maps
from components.monitoring.prometheus import Prometheus, PrometheusArgs
from components.training.validation import MINUTES_BETWEEN
from contract import names
from infra.config import cron, stack
from infra.config.monitoring import ClusterMonitoring, ManagedMonitoring
from infra.config.stack import Settings
from infra.config.validation import Validation
from monitoring import boards, rules, scrape
from monitoring.spec import Endpoint, Platform

CODE = Path(__file__).parent.parent / "monitoring" / "exporter.py"
RULES = "rules.yml"
SCRAPERS: Mapping[str, access.Scraper] = {"cluster": "prometheus", "operator": "pods", "managed": "network"}
"""Clients that may scrape the exporter and MLflow's proxy, by kind of monitoring."""


def declare(settings: Settings, base: Foundation, tracking_url: Input[str], opts: ResourceOptions) -> None:
    """Declare the monitoring of a stack; nothing if the stack file has no `mlops:monitoring`."""
    chosen = settings.monitoring
    if chosen is None:
        return
    placement = pods.Placement(priority_class=base.priority_class)
    namespaces: dict[str, Input[str]] = {
        names.PLATFORM: base.tracking.namespace,
        names.TRAINING: base.training.namespace,
        names.SERVING: base.serving.namespace,
    }
    Exporter(
        "exporter",
        ExporterArgs(
            image=settings.images.serving,
            code=CODE.read_text(),
            namespaces=namespaces,
            placement=placement,
            tracking_url=tracking_url,
            store=_store() if settings.foundation.kind == "local" else None,
            scraper=SCRAPERS[chosen.kind],
        ),
        opts,
    )
    if settings.tracking.authenticated:
        _open_metrics_of_mlflow(SCRAPERS[chosen.kind], base.tracking.namespace, opts)
    watched = platform(settings)
    if isinstance(chosen, ManagedMonitoring):
        assert base.prometheus, "the settings refuse kind: managed on this foundation"
        request = MonitoringRequest(
            scrape=_text(scrape.collected()), rules=_text(rules.document(watched)), emails=chosen.emails
        )
        for name, fact in base.prometheus(request).items():
            pulumi.export(name, fact)
        board_maps(boards.texts(), base.tracking.namespace, opts)
        return
    if not isinstance(chosen, ClusterMonitoring):
        objects = OperatorObjectsArgs(
            namespace=base.tracking.namespace,
            labels=chosen.labels,
            pod_monitors={name: scrape.pod_monitor(name) for name in scrape.PODS},
            rules=rules.document(watched),
            boards=boards.texts(),
        )
        OperatorObjects("monitoring", objects, opts)
        return
    receiver = AlertmanagerArgs(
        image=chosen.images.alertmanager,
        namespace=base.tracking.namespace,
        placement=placement,
        receiver=chosen.receiver,
        address=stack.secret("alert_receiver"),
    )
    Alertmanager("alertmanager", receiver, opts)
    board_maps(boards.texts(), base.tracking.namespace, opts)
    files = scrape.config(rule_files=[RULES], alertmanagers=[f"{ALERTMANAGER}:{alertmanager.PORT}"])
    adapter = chosen.images.metrics_adapter
    server = PrometheusArgs(
        image=chosen.images.prometheus,
        namespaces=namespaces,
        placement=placement,
        memory=chosen.memory,
        storage_gib=chosen.storage_gib,
        storage_class=chosen.storage_class,
        readers=[METRICS_ADAPTER] if adapter else [],
        targets={names.TRACKING_SERVICE: mlflow_gateway.METRICS_PORT} if settings.tracking.authenticated else {},
        files={"prometheus.yml": _text(files), RULES: _text(rules.document(watched))},
    )
    prometheus = Prometheus("prometheus", server, opts)
    if adapter:
        reader = MetricsAdapterArgs(
            image=adapter, namespaces=namespaces, placement=placement, prometheus_url=prometheus.url
        )
        MetricsAdapter("metrics-adapter", reader, opts)


def platform(settings: Settings) -> Platform:
    """Return what is monitored of a stack."""
    return Platform(
        endpoints=[
            Endpoint(
                name=name,
                availability=each.objectives.availability if each.objectives else None,
                p95_seconds=each.objectives.p95_ms / 1000 if each.objectives and each.objectives.p95_ms else None,
                spool_bytes=each.prediction_log.spool_mib << 20 if each.prediction_log else None,
                is_routed=each.is_routed,
            )
            for name, each in sorted(settings.endpoints.items())
        ],
        scheduled={
            name: cron.longest_pause(each.schedule.cron).total_seconds()
            for name, each in sorted(settings.training.items())
            if each.schedule and not each.schedule.suspend
        },
        validated={
            name: _late_validation(each.validation).total_seconds()
            for name, each in sorted(settings.training.items())
            if each.validation.enabled
        },
    )


def _late_validation(validation: Validation) -> timedelta:
    """Return two of the schedule's longest pauses and a validation's longest duration: a refusal delays it so long."""
    pause = cron.longest_pause(validation.schedule) if validation.schedule else timedelta(minutes=MINUTES_BETWEEN)
    return 2 * pause + timedelta(minutes=validation.deadline_minutes)


def _open_metrics_of_mlflow(scraper: access.Scraper, namespace: Input[str], opts: ResourceOptions) -> None:
    """Let the scraper reach the metrics of the proxy in MLflow's pods; MLflow itself has none."""
    k8s.networking.v1.NetworkPolicy(
        "mlflow-metrics",
        metadata={"namespace": namespace},
        spec={
            "pod_selector": {"match_labels": names.TRACKING_PODS},
            "policy_types": ["Ingress"],
            "ingress": [access.scraped_by(scraper, mlflow_gateway.METRICS_PORT)],
        },
        opts=opts,
    )


def _store() -> exporter.Store:
    return exporter.Store(
        url=f"http://{s3_gateway.NAME}.{names.PLATFORM}:{s3_gateway.PORT}{s3_gateway.HEALTH}",
        port=s3_gateway.PORT,
        selector=names.selector(s3_gateway.NAME, s3_gateway.NAME),
    )


def _text(document: object) -> str:
    # JSON is YAML, but YAML is what people read in the ConfigMap.
    return yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False, width=1000)
