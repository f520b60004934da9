"""Postgres for MLflow, run by RDS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import pulumi
import pulumi_aws as aws

from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs

NAME, USER, PORT = "mlflow", "mlflow", 5432
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
    """Identifier of a snapshot that a new database starts from."""
    protected: bool
    """Refuses to be deleted, and leaves a final snapshot when it goes after all."""
    password: pulumi.Input[str]
    vpc_id: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    client_security_group_id: pulumi.Input[str]


class Database(pulumi.ComponentResource):
    """A private, encrypted Postgres that takes TLS connections from one security group alone."""

    identifier: pulumi.Output[str]
    host: pulumi.Output[str]
    """Its DNS name, the same after a failover."""

    def __init__(self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:Database", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        key = EncryptionKey(
            name,
            EncryptionKeyArgs(
                description=f"Database {args.identifier}", alias=args.identifier, protected=args.protected
            ),
            child,
        )
        subnets = aws.rds.SubnetGroup(name, subnet_ids=args.subnet_ids, opts=child)
        parameters = aws.rds.ParameterGroup(
            name,
            family=f"postgres{args.engine_version.split('.')[0]}",
            parameters=[{"name": "rds.force_ssl", "value": "1", "apply_method": "immediate"}],
            opts=child,
        )
        instance = aws.rds.Instance(
            name,
            identifier=args.identifier,
            engine="postgres",
            engine_version=args.engine_version,
            allow_major_version_upgrade=not args.protected,
            auto_minor_version_upgrade=True,
            instance_class=args.instance_class,
            allocated_storage=args.storage_gib,
            max_allocated_storage=args.max_storage_gib,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=key.arn,
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
            enabled_cloudwatch_logs_exports=["postgresql", "upgrade"],
            deletion_protection=args.protected,
            skip_final_snapshot=not args.protected,
            final_snapshot_identifier=f"{args.identifier}-final" if args.protected else None,
            # The registry of models: without it the bucket is a heap of files.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protected),
        )
        self.identifier, self.host = instance.identifier, instance.address
        self.register_outputs({"identifier": self.identifier, "host": self.host})


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

    database: pulumi.Input[str]
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
            db_snapshot_identifier=f"{name}-{sha256(args.before.encode()).hexdigest()[:8]}",
            tags={"before": args.before},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = snapshot.db_snapshot_arn
        self.register_outputs({"arn": self.arn})
