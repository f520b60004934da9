"""CloudWatch alarms about database, NAT gateways, control plane and certificates, and the topic that they notify."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.policy_documents import key_for_alarms, published_by_alarms

PERIOD_SECONDS = 300
PERIODS = 3
"""Number of periods in a row after which an alarm notifies."""
DATABASE_CPU_PERCENT = 80
FREE_STORAGE_SHARE = 0.1
"""Share of the database's first storage that should be free. RDS extends the storage below it, up to its maximum."""
CONNECTIONS_SHARE = 0.8
SERVER_ERRORS = 100
"""Responses of the Kubernetes API with status 5xx in one period; a few come with each change of a control plane."""
CONTROL_PLANE_STORAGE_BYTES = 6 << 30
"""Size of the control plane's database, which accepts no writes at 8 GiB (EKS user guide, "Control plane metrics")."""
CERTIFICATE_DAYS, DAY_SECONDS = 30, 86_400
"""Days before the end of a certificate below which an alarm notifies; ACM begins to renew its own 60 days before."""
GIB_OF_SIZE: Mapping[str, Mapping[str, int]] = {
    "t": {"micro": 1, "small": 2, "medium": 4, "large": 8, "xlarge": 16, "2xlarge": 32},
    "m": {"large": 8, "xlarge": 16},
    "r": {"large": 16, "xlarge": 32},
}
"""Memory in GiB of RDS instance classes, by the first letter of the family and the size; `4xlarge` is 4 `xlarge`."""
BYTES_PER_CONNECTION, MOST_CONNECTIONS = 9_531_392, 5000
"""RDS sets `max_connections` to memory / BYTES_PER_CONNECTION, at most MOST_CONNECTIONS (RDS user guide, "Quotas")."""


@dataclass(frozen=True, kw_only=True)
class AlarmsArgs:
    """Resources that the alarms watch, and the addresses that they notify."""

    prefix: str
    """Prefix of the alarms' names, unique in the account and region."""
    emails: Sequence[str]
    """Addresses of e-mail that get each notification, after their owners have confirmed it."""
    database: str
    """Identifier of the database."""
    database_class: str
    """RDS instance class of the database."""
    database_storage_gib: int
    """Size of the database's storage in GiB at the start."""
    nat_gateway_ids: Mapping[str, pulumi.Input[str]]
    """Id of each NAT gateway, by its name in the program."""
    cluster_name: pulumi.Input[str]
    """Name of the cluster."""
    certificates: Mapping[str, Collection[str]]
    """Hosts of each certificate of a load balancer, by the certificate's ARN in ACM."""
    account: Account
    """AWS account of the alarms."""


class Alarms(pulumi.ComponentResource):
    """Alarms and an encrypted SNS topic to which only the account's alarms publish; they also report the end."""

    topic_arn: pulumi.Output[str]
    """ARN of the topic, for further subscribers."""

    def __init__(self, name: str, args: AlarmsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:Alarms", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        key = EncryptionKey(
            name,
            EncryptionKeyArgs(
                description=f"Alarms of {args.prefix}",
                alias=f"{args.prefix}-alarms",
                account=args.account,
                uses=[key_for_alarms()],
                protected=False,
            ),
            child,
        )
        topic = aws.sns.Topic(name, name=f"{args.prefix}-alarms", kms_master_key_id=key.arn, opts=child)
        published = aws.sns.TopicPolicy(
            name, arn=topic.arn, policy=published_by_alarms(topic.arn, args.account), opts=child
        )
        for email in args.emails:
            aws.sns.TopicSubscription(f"{name}-{email}", topic=topic.arn, protocol="email", endpoint=email, opts=child)
        self.topic_arn = pulumi.Output.all(topic.arn, published.id).apply(lambda ready: ready[0])
        for alarm in (*_database(args), *_gateways(args), *_control_plane(args), *_certificates(args)):
            _declare(f"{name}-{alarm.name}", alarm, args, self.topic_arn, child)
        self.register_outputs({"topic_arn": self.topic_arn})


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Limit of one metric."""

    name: str
    """Name of the alarm after the prefix."""
    description: str
    """Sentence in each notification: what is wrong, and what to do."""
    namespace: str
    """CloudWatch namespace of the metric."""
    metric: str
    """Name of the metric."""
    statistic: str
    """Statistic of a period, such as `Average`."""
    dimensions: Mapping[str, pulumi.Input[str]]
    """Dimensions that identify the resource."""
    above: float | None = None
    """Largest good value; None if only low values are bad."""
    below: float | None = None
    """Smallest good value; None if only high values are bad."""
    period_seconds: int = PERIOD_SECONDS
    """Length in seconds of a period."""
    periods: int = PERIODS
    """Number of periods in a row after which the alarm notifies."""


def max_connections(instance_class: str) -> int:
    """Return the connections that RDS for PostgreSQL allows by default on an instance class."""
    _, family, size = instance_class.split(".")
    sizes = GIB_OF_SIZE[family[0]]
    gib = sizes[size] if size in sizes else int(size.removesuffix("xlarge")) * sizes["xlarge"]
    return min((gib << 30) // BYTES_PER_CONNECTION, MOST_CONNECTIONS)


def _database(args: AlarmsArgs) -> list[Alarm]:
    def alarm(
        name: str, metric: str, description: str, *, above: float | None = None, below: float | None = None
    ) -> Alarm:
        return Alarm(
            name=f"database-{name}",
            description=description,
            namespace="AWS/RDS",
            metric=metric,
            statistic="Average",
            dimensions={"DBInstanceIdentifier": args.database},
            above=above,
            below=below,
        )

    return [
        alarm(
            "storage",
            "FreeStorageSpace",
            "The database has little free storage: raise database.max_storage_gib, or storage_gib.",
            below=args.database_storage_gib * FREE_STORAGE_SHARE * 2**30,
        ),
        alarm(
            "cpu",
            "CPUUtilization",
            "The database's CPUs are busy: look at Performance Insights, or raise database.instance_class.",
            above=DATABASE_CPU_PERCENT,
        ),
        alarm(
            "connections",
            "DatabaseConnections",
            "The database has few free connections: lower tracking.replicas or workers, or raise "
            "database.instance_class.",
            above=int(max_connections(args.database_class) * CONNECTIONS_SHARE),
        ),
    ]


def _gateways(args: AlarmsArgs) -> list[Alarm]:
    return [
        Alarm(
            name=f"nat-{gateway}",
            description="A NAT gateway has no free port for new connections to one address: find the pods that open "
            "them in the VPC's flow logs.",
            namespace="AWS/NATGateway",
            metric="ErrorPortAllocation",
            statistic="Sum",
            above=0,
            dimensions={"NatGatewayId": identity},
        )
        for gateway, identity in args.nat_gateway_ids.items()
    ]


def _control_plane(args: AlarmsArgs) -> list[Alarm]:
    dimensions = {"ClusterName": args.cluster_name}
    return [
        Alarm(
            name="api-errors",
            description="The Kubernetes API answers with errors: look at the control plane's logs.",
            namespace="AWS/EKS",
            metric="apiserver_request_total_5XX",
            statistic="Sum",
            above=SERVER_ERRORS,
            dimensions=dimensions,
        ),
        Alarm(
            name="api-storage",
            description="The control plane's database is nearly full and will refuse writes: delete old objects.",
            namespace="AWS/EKS",
            metric="apiserver_storage_size_bytes",
            statistic="Maximum",
            above=CONTROL_PLANE_STORAGE_BYTES,
            dimensions=dimensions,
        ),
    ]


def _certificates(args: AlarmsArgs) -> list[Alarm]:
    return [
        Alarm(
            name=f"certificate-{certificate.rpartition('-')[2]}",
            description=f"The certificate of {', '.join(sorted(hosts))} expires soon: ACM could "
            "not renew it, or you have imported it. "
            "Create the DNS record that ACM asks for, or import a new certificate.",
            namespace="AWS/CertificateManager",
            metric="DaysToExpiry",
            statistic="Minimum",
            below=CERTIFICATE_DAYS,
            dimensions={"CertificateArn": certificate},
            period_seconds=DAY_SECONDS,
            periods=1,
        )
        for certificate, hosts in args.certificates.items()
    ]


def _declare(
    name: str, alarm: Alarm, args: AlarmsArgs, topic: pulumi.Output[str], child: pulumi.ResourceOptions
) -> aws.cloudwatch.MetricAlarm:
    return aws.cloudwatch.MetricAlarm(
        name,
        name=f"{args.prefix}-{alarm.name}",
        alarm_description=alarm.description,
        namespace=alarm.namespace,
        metric_name=alarm.metric,
        dimensions=alarm.dimensions,
        statistic=alarm.statistic,
        comparison_operator="LessThanThreshold" if alarm.above is None else "GreaterThanThreshold",
        threshold=alarm.below if alarm.above is None else alarm.above,
        period=alarm.period_seconds,
        evaluation_periods=alarm.periods,
        # A NAT gateway without errors and a database that restarts report nothing.
        treat_missing_data="notBreaching",
        alarm_actions=[topic],
        ok_actions=[topic],
        opts=child,
    )
