"""Postgres for MLflow, run by RDS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.log_group import LogGroup, LogGroupArgs

NAME, USER, PORT = "mlflow", "mlflow", 5432
LOG = "postgresql"
CERTIFICATE_AUTHORITY = "rds-ca-rsa2048-g1"
"""Signed until 2061 (RDS user guide, "Certificate authorities"); pinned, so that AWS's default changes nothing here."""
BACKUP_WINDOW, MAINTENANCE_WINDOW = "01:00-02:00", "sun:02:30-sun:03:30"
"""UTC. RDS refuses windows that overlap."""


@dataclass(frozen=True, kw_only=True)
class DatabaseArgs:
    """Size, safety, and who may connect."""

    identifier: str
    """Fixed: snapshots are named after it, and restoring needs it."""
    engine_version: str
    """A major version such as `17`; RDS picks and upgrades the minor one."""
    instance_class: str
    storage_gib: int
    max_storage_gib: int
    """Storage grows by itself up to here."""
    multi_az: bool
    backup_days: int
    restore_from: str | None
    """Identifier of a snapshot that a new database starts from, with its data and its key."""
    protected: bool
    """Refuses to be deleted. What needs an outage waits for the maintenance window; without it, it happens at once."""
    final_snapshot: bool
    """Leaves a snapshot behind when it goes."""
    log_days: int
    account: Account
    password: pulumi.Input[str]
    vpc_id: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    client_security_group_id: pulumi.Input[str]


class Database(pulumi.ComponentResource):
    """A private, encrypted Postgres that takes TLS connections from one security group alone."""

    host: pulumi.Output[str]
    """Its DNS name, the same after a failover."""

    def __init__(self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:Database", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        key = EncryptionKey(
            name,
            EncryptionKeyArgs(
                description=f"Database {args.identifier}",
                alias=args.identifier,
                account=args.account,
                protected=args.protected,
            ),
            child,
        )
        logs = LogGroup(
            f"{name}-logs",
            LogGroupArgs(
                log_group=f"/aws/rds/instance/{args.identifier}/{LOG}",
                retention_days=args.log_days,
                account=args.account,
            ),
            child,
        )
        instance = _instance(
            name,
            args,
            key,
            child,
            # The registry of models: without it the bucket is a heap of files. RDS would make the log group itself,
            # unencrypted and for ever.
            pulumi.ResourceOptions(parent=self, protect=args.protected, depends_on=[logs]),
        )
        self.host = instance.address
        self.register_outputs({"host": self.host})


def _instance(
    name: str,
    args: DatabaseArgs,
    key: EncryptionKey,
    child: pulumi.ResourceOptions,
    opts: pulumi.ResourceOptions,
) -> aws.rds.Instance:
    subnets = aws.rds.SubnetGroup(name, subnet_ids=args.subnet_ids, opts=child)
    parameters = aws.rds.ParameterGroup(
        name,
        family=f"postgres{args.engine_version.split('.')[0]}",
        # RDS reports the value that is its default since Postgres 15 so; the other method is a drift in each refresh.
        parameters=[{"name": "rds.force_ssl", "value": "1", "apply_method": "pending-reboot"}],
        opts=child,
    )
    return aws.rds.Instance(
        name,
        identifier=args.identifier,
        engine="postgres",
        engine_version=args.engine_version,
        allow_major_version_upgrade=not args.protected,
        # A new major version must not wait: until then RDS would refuse to let go of the old parameter group.
        apply_immediately=not args.protected,
        auto_minor_version_upgrade=True,
        instance_class=args.instance_class,
        allocated_storage=args.storage_gib,
        max_allocated_storage=args.max_storage_gib,
        storage_type="gp3",
        storage_encrypted=True,
        # A snapshot brings its own key; naming another would replace the database with the next update.
        kms_key_id=None if args.restore_from else key.arn,
        db_name=None if args.restore_from else NAME,
        snapshot_identifier=args.restore_from,
        username=None if args.restore_from else USER,
        password=args.password,
        port=PORT,
        multi_az=args.multi_az,
        publicly_accessible=False,
        db_subnet_group_name=subnets.name,
        vpc_security_group_ids=[_door(name, args, child).id],
        parameter_group_name=parameters.name,
        ca_cert_identifier=CERTIFICATE_AUTHORITY,
        backup_retention_period=args.backup_days,
        backup_window=BACKUP_WINDOW,
        maintenance_window=MAINTENANCE_WINDOW,
        copy_tags_to_snapshot=True,
        performance_insights_enabled=True,
        performance_insights_kms_key_id=key.arn,
        performance_insights_retention_period=7,
        enabled_cloudwatch_logs_exports=[LOG],
        deletion_protection=args.protected,
        skip_final_snapshot=not args.final_snapshot,
        final_snapshot_identifier=_final_snapshot(args, key.arn) if args.final_snapshot else None,
        opts=opts,
    )


def _final_snapshot(args: DatabaseArgs, key_arn: pulumi.Input[str]) -> pulumi.Output[str]:
    """A name of this very instance: RDS refuses to delete one whose last snapshot would have a name that is taken."""
    stands_on = pulumi.Output.all(key_arn, args.vpc_id, args.restore_from or "")
    return stands_on.apply(lambda parts: f"{args.identifier}-final-{_digest(' '.join(parts))}")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


def _door(name: str, args: DatabaseArgs, child: pulumi.ResourceOptions) -> aws.ec2.SecurityGroup:
    group = aws.ec2.SecurityGroup(
        name, vpc_id=args.vpc_id, description="Postgres from the cluster, and from nowhere else", opts=child
    )
    aws.vpc.SecurityGroupIngressRule(
        name,
        security_group_id=group.id,
        referenced_security_group_id=args.client_security_group_id,
        ip_protocol="tcp",
        from_port=PORT,
        to_port=PORT,
        opts=child,
    )
    return group


@dataclass(frozen=True, kw_only=True)
class DatabaseSnapshotArgs:
    """What is kept, and before what."""

    prefix: str
    """In front of the snapshot's name, which is one of the whole account and region."""
    database: str
    """Its identifier; no output, so that a database that is replaced by this very snapshot does not drag it along."""
    before: str
    """What is about to change the schema, such as an image reference; a new value takes a new snapshot."""


class DatabaseSnapshot(pulumi.ComponentResource):
    """A snapshot of the database as it was before the latest `before`; the one of the change before that goes.

    Older states are in the automated backups.
    """

    arn: pulumi.Output[str]
    """Known once the snapshot is complete, so what takes it as an input comes after it."""

    def __init__(self, name: str, args: DatabaseSnapshotArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:DatabaseSnapshot", name, {}, opts)
        snapshot = aws.rds.Snapshot(
            name,
            db_instance_identifier=args.database,
            db_snapshot_identifier=f"{args.prefix}-{name}-{_digest(args.before)}",
            tags={"before": args.before},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = snapshot.db_snapshot_arn
        self.register_outputs({"arn": self.arn})
