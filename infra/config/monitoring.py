"""Settings of monitoring, and of an endpoint's objectives."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from components.monitoring import alertmanager, exporter, metrics_adapter, prometheus
from infra.config import aws_rules, monitoring_rules, rules
from infra.config.quantities import octets, thousandths
from infra.config.secret_rules import SecretRule
from infra.config.section import Model

EXPORTER = thousandths(exporter.CPU), octets(exporter.MEMORY)
"""CPU request in thousandths and memory request in bytes of the exporter's pod."""


class Objectives(Model):
    """Objectives of an endpoint: alerts fire when it misses them."""

    availability: monitoring_rules.Availability | None = None
    """Percentage of requests, over 30 days, that get no 5xx response; without it no alert speaks of an error budget.
    Example: 99.9
    """
    p95_ms: monitoring_rules.Milliseconds | None = None
    """Time in milliseconds within which 95 % of the requests are answered: a bound of the server's histogram.
    Example: 100
    """

    @field_validator("p95_ms")
    @classmethod
    def _one_that_the_server_counts(cls, milliseconds: float | None) -> float | None:
        if milliseconds is not None and milliseconds not in monitoring_rules.BOUNDS_MS:
            raise monitoring_rules.not_a_bound(milliseconds).broken()
        return milliseconds


class MonitoringImages(Model):
    """Images of the programs that run in the cluster."""

    prometheus: rules.Image
    """Image of Prometheus 3. Example: registry.example.com/prometheus/prometheus:v3.5.0"""
    alertmanager: rules.Image
    """Image of Alertmanager. Example: registry.example.com/prometheus/alertmanager:v0.28.1"""
    metrics_adapter: rules.Image | None = None
    """Image of prometheus-adapter 0.12; with it, endpoints can scale by `in_flight`. Leave it out if another metrics
    adapter serves custom.metrics.k8s.io in the cluster.
    Example: registry.example.com/prometheus-adapter/prometheus-adapter:v0.12.0
    """


class ClusterMonitoring(Model):
    """Prometheus, Alertmanager and an exporter that run in `mlops-platform`."""

    secrets: ClassVar[Mapping[str, SecretRule]] = {"alert_receiver": monitoring_rules.RECEIVER}
    kind: Literal["cluster"]
    """Kind of monitoring: `cluster` runs Prometheus and Alertmanager in the cluster."""
    images: MonitoringImages
    """Images of the programs that run in the cluster."""
    receiver: monitoring_rules.ReceiverKind
    """Program that gets the alerts; the secret `mlops:alert_receiver` is its URL, or the key of PagerDuty.
    Example: slack
    """
    storage_gib: rules.Gibibytes = 20
    """Size in GiB of the volume of Prometheus; the oldest series are deleted when they fill it. Example: 50"""
    storage_class: monitoring_rules.StorageClass | None = None
    """StorageClass of the volume; without it, the cluster's default. Example: gp3"""
    memory: rules.Memory = "1Gi"
    """Memory request and limit of Prometheus. Example: 2Gi"""

    @property
    def pods(self) -> list[tuple[int, int]]:
        """CPU request in thousandths and memory request in bytes of each pod."""
        server = thousandths(prometheus.CPU), octets(self.memory)
        others = [alertmanager, *([metrics_adapter] if self.images.metrics_adapter else [])]
        return [EXPORTER, server, *((thousandths(each.CPU), octets(each.MEMORY)) for each in others)]


class OperatorMonitoring(Model):
    """Objects for a Prometheus that the prometheus-operator runs in the cluster already, and an exporter."""

    kind: Literal["operator"]
    """Kind of monitoring: `operator` declares PodMonitors, PrometheusRules and dashboards for an operator."""
    labels: dict[monitoring_rules.ObjectLabelKey, monitoring_rules.ObjectLabelValue] = Field(default_factory=dict)
    """Labels by which your Prometheus selects PodMonitors and PrometheusRules.
    Example: {release: kube-prometheus-stack}
    """

    @property
    def pods(self) -> list[tuple[int, int]]:
        """CPU request in thousandths and memory request in bytes of each pod."""
        return [EXPORTER]


class IdentityCenterGrafana(Model):
    """Workspace of Amazon Managed Grafana, whose users log in by the organization's IAM Identity Center."""

    kind: Literal["identity_center"]
    """Kind of login: `identity_center`, by the groups of IAM Identity Center."""
    admin_groups: monitoring_rules.Groups
    """Ids of the groups that administer the workspace. Example: [93675f1a-4e0a-4a1c-9d1c-0a1b2c3d4e5f]"""
    viewer_groups: tuple[monitoring_rules.GroupId, ...] = ()
    """Ids of the groups that read dashboards. Example: [93675f1a-4e0a-4a1c-9d1c-0a1b2c3d4e60]"""


class SamlGrafana(Model):
    """Workspace of Amazon Managed Grafana, whose users log in by an identity provider that speaks SAML."""

    kind: Literal["saml"]
    """Kind of login: `saml`, by your identity provider. Its users without one of the roles below read only."""
    metadata_url: monitoring_rules.MetadataUrl
    """HTTPS URL of the provider's metadata. Example: https://login.example.com/saml/metadata"""
    role_attribute: monitoring_rules.RoleText
    """Attribute of the provider's assertions that has the roles of a user. Example: groups"""
    admin_roles: monitoring_rules.Roles
    """Roles of the users that administer the workspace. Example: [ml-platform]"""
    editor_roles: monitoring_rules.Roles
    """Roles of the users that edit dashboards. Example: [data-science]"""


Grafana = Annotated[IdentityCenterGrafana | SamlGrafana, Field(discriminator="kind")]
"""Workspace of Amazon Managed Grafana."""


class ManagedMonitoring(Model):
    """Amazon Managed Service for Prometheus with a managed scraper, and an exporter; on AWS only."""

    kind: Literal["managed"]
    """Kind of monitoring: `managed` declares a workspace of Amazon Managed Service for Prometheus."""
    emails: tuple[aws_rules.Email, ...] = ()
    """Addresses that get each alert; each owner confirms it once. Other receivers subscribe to the topic in the stack
    output `alerts`. Example: [oncall@example.com]
    """

    grafana: Grafana | None = None
    """Workspace of Amazon Managed Grafana over the series; without it, bring your own Grafana."""

    @property
    def pods(self) -> list[tuple[int, int]]:
        """CPU request in thousandths and memory request in bytes of each pod."""
        return [EXPORTER]


Monitoring = Annotated[ClusterMonitoring | ManagedMonitoring | OperatorMonitoring, Field(discriminator="kind")]
"""Monitoring of a stack."""
