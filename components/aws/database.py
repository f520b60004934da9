"""RDS database (Postgres) for MLflow, with its snapshots."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import pulumi
import pulumi_aws as aws

from components.aws import rds_authorities
from components.aws.account import Account
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.log_group import LogGroup, LogGroupArgs

NAME, PORT = "mlflow", 5432
ADMINISTRATOR, USER = "mlflow", "mlflow_server"
"""Master user of the instance, who creates the user with which MLflow connects."""
LOG = "postgresql"
BACKUP_WINDOW, MAINTENANCE_WINDOW = "01:00-02:00", "sun:02:30-sun:03:30"
"""Daily and weekly windows in UTC; RDS refuses windows that overlap."""


@dataclass(frozen=True, kw_only=True)
class DatabaseArgs:
    """Settings of the database."""

    identifier: str
    """Name of the instance; it is fixed, because its snapshots and a restore refer to it."""
    engine_version: str
    """Major version of Postgres, such as `17`; RDS chooses and upgrades the minor version."""
    instance_class: str
    """RDS instance class, such as `db.t4g.medium`."""
    storage_gib: int
    """Size of the storage in GiB at the start."""
    max_storage_gib: int
    """Size in GiB up to which RDS extends the storage."""
    multi_az: bool
    """True: RDS keeps a standby in another availability zone."""
    backup_days: int
    """Days for which automated backups are kept."""
    restore_from: str | None
    """Identifier of the snapshot whose data and key a new database gets; None for an empty database."""
    protected: bool
    """True: the database cannot be deleted, and RDS makes changes that cause an outage in the maintenance window."""
    final_snapshot: bool
    """True: RDS takes a snapshot before it deletes the database."""
    log_days: int
    """Days for which Postgres' logs are kept."""
    account: Account
    """AWS account of the database."""
    password: pulumi.Input[str]
    """Password of the master user."""
    vpc_id: pulumi.Input[str]
    """ID of the VPC of the subnets."""
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    """Private subnets in two zones or more."""
    client_security_group_id: pulumi.Input[str]
    """Security group whose members may connect."""


class Database(pulumi.ComponentResource):
    """Private, encrypted Postgres that accepts only TLS connections, and only from one security group."""

    host: pulumi.Output[str]
    """DNS name, which stays the same after a failover."""
    arn: pulumi.Output[str]
    """ARN of the instance."""
    identity: pulumi.Output[str]
    """Resource ID, which a database from a snapshot does not share with the one before."""

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
            # The database holds the model registry, without which nothing describes the files in the bucket. RDS would
            # create the log group itself, unencrypted and without an expiry.
            pulumi.ResourceOptions(parent=self, protect=args.protected, depends_on=[logs]),
        )
        self.host, self.arn, self.identity = instance.address, instance.arn, instance.id
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
        # RDS reports this apply method for the value, its default since Postgres 15; another would always be drift.
        parameters=[{"name": "rds.force_ssl", "value": "1", "apply_method": "pending-reboot"}],
        opts=child,
    )
    return aws.rds.Instance(
        name,
        identifier=args.identifier,
        engine="postgres",
        engine_version=args.engine_version,
        allow_major_version_upgrade=not args.protected,
        # RDS cannot delete the old parameter group until a new major version is applied, so the change must not wait.
        apply_immediately=not args.protected,
        auto_minor_version_upgrade=True,
        instance_class=args.instance_class,
        allocated_storage=args.storage_gib,
        max_allocated_storage=args.max_storage_gib,
        storage_type="gp3",
        storage_encrypted=True,
        # A restored database keeps its snapshot's key; another key here would replace it at the next update.
        kms_key_id=None if args.restore_from else key.arn,
        db_name=None if args.restore_from else NAME,
        snapshot_identifier=args.restore_from,
        username=None if args.restore_from else ADMINISTRATOR,
        password=args.password,
        port=PORT,
        multi_az=args.multi_az,
        publicly_accessible=False,
        db_subnet_group_name=subnets.name,
        vpc_security_group_ids=[_security_group(name, args, child).id],
        parameter_group_name=parameters.name,
        ca_cert_identifier=rds_authorities.NAME,
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


def user_password(administrators: pulumi.Input[str]) -> pulumi.Output[str]:
    """Return the password of USER, which does not reveal the administrator's password that it is made from."""
    return pulumi.Output.from_input(administrators).apply(
        lambda password: hmac.new(password.encode(), USER.encode(), "sha256").hexdigest()
    )


def _final_snapshot(args: DatabaseArgs, key_arn: pulumi.Input[str]) -> pulumi.Output[str]:
    """Return a name unique to this instance, because RDS cannot delete a database whose snapshot name is taken."""
    identity = pulumi.Output.all(key_arn, args.vpc_id, args.restore_from or "")
    return identity.apply(lambda parts: f"{args.identifier}-final-{_digest(' '.join(parts))}")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


def _security_group(name: str, args: DatabaseArgs, child: pulumi.ResourceOptions) -> aws.ec2.SecurityGroup:
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
    """Settings of the snapshot."""

    prefix: str
    """Prefix of the snapshot's name, which must be unique in the account and region."""
    database: str
    """Identifier of the database; not an output, so that the snapshot stays when it replaces the database."""
    before: str
    """Reference of the image that may migrate the schema; a new value takes a new snapshot."""


class DatabaseSnapshot(pulumi.ComponentResource):
    """Snapshot of the database before the latest change of `before`; it replaces the snapshot of the change before.

    Older states are in the automated backups.
    """

    arn: pulumi.Output[str]
    """ARN of the snapshot; it resolves when the snapshot is complete, so resources that use it wait for it."""

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
