"""Checks of buckets, datasets and the database."""

from __future__ import annotations

from collections.abc import Iterator

from doctor.aws.account import used_zones
from doctor.aws.requests import AbsentError, Aws, AwsError, DeniedError
from doctor.findings import Finding, UncheckedError, ok, problem, warning
from doctor.stack_file import Stack
from infra.config.aws import AwsFoundation

S3 = "s3://"
ELSEWHERE = frozenset(
    {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
"""Codes with which S3 responds to a request for a bucket of another region."""


def bucket(aws: Aws, stack: Stack, chosen: AwsFoundation) -> Iterator[Finding]:
    """Check that the name of the artifact bucket is free or its own, and that the bucket of access logs exists."""
    if name := chosen.artifacts.bucket:
        yield _artifacts(aws, stack, name)
    if logs := chosen.artifacts.access_log_bucket:
        yield _access_logs(aws, logs)
    if not name:
        yield ok("pulumi chooses the name of the artifact bucket")


def _artifacts(aws: Aws, stack: Stack, name: str) -> Finding:
    rename = stack.set_command("foundation.artifacts.bucket", "ANOTHER-NAME")
    try:
        region = _region(aws, name)
    except AbsentError:
        return ok(f"the name {name} is free")
    except DeniedError:
        # S3 responds 403 for a bucket of another account and for one of this account that the caller may not read.
        try:
            mine = {each["Name"] for each in aws.ask("s3", "list_buckets")["Buckets"]}
        except DeniedError as denied:
            raise UncheckedError(
                f"{name} exists, and {denied}, to tell whether it belongs to this account", denied.mend
            ) from denied
        if name not in mine:
            return problem(
                f"the bucket name {name} is taken by another account",
                "names are unique in all of AWS, so pulumi up stops when it creates the bucket",
                rename,
            )
        region = aws.region
    if region != aws.region:
        return problem(f"the bucket {name} exists in {region}", "it cannot be created again", rename)
    return ok(f"{name} exists in this account")


def _access_logs(aws: Aws, name: str) -> Finding:
    try:
        region = _region(aws, name)
    except (AbsentError, DeniedError):
        return problem(
            f"the access log bucket {name} does not exist, or your credentials cannot read it",
            "S3 refuses to write access logs to any other bucket, and pulumi refuses to deploy",
            f"run aws s3 mb s3://{name} --region {aws.region}, or remove mlops:foundation.artifacts.access_log_bucket",
        )
    if region != aws.region:
        return problem(
            f"the access log bucket {name} is in {region}, not in {aws.region}",
            "S3 writes access logs only to a bucket of the same region",
            "write a bucket of this region into mlops:foundation.artifacts.access_log_bucket",
        )
    return ok(f"{name} exists for access logs")


def _region(aws: Aws, name: str) -> str:
    """Return the region of a bucket. AbsentError if there is none, DeniedError if the caller may not read it."""
    try:
        return str(aws.ask("s3", "head_bucket", Bucket=name).get("BucketRegion", aws.region))
    except AwsError as error:
        if error.code in ELSEWHERE:
            return "another region"
        raise


def datasets(aws: Aws, stack: Stack) -> Iterator[Finding]:
    """Check that the table of each training job exists."""
    uris = {job.dataset for job in stack.settings.training.values() if job.dataset.startswith(S3)}
    for uri in sorted(uris):
        place, _, key = uri.removeprefix(S3).partition("/")
        names = ", ".join(name for name, job in stack.settings.training.items() if job.dataset == uri)
        try:
            aws.ask("s3", "head_object", Bucket=place, Key=key)
        except AbsentError:
            yield warning(
                f"the dataset of {names} does not exist: {uri}",
                "the training run fails; a new stack gets its bucket by the first update",
                f"run aws s3 cp FILE {uri} when the bucket exists",
            )
        else:
            yield ok(f"{uri} exists")


def database(aws: Aws, stack: Stack, chosen: AwsFoundation) -> Iterator[Finding]:
    """Check that RDS offers the version of Postgres for the instance class, and that the database is available."""
    wanted = chosen.database
    offers = aws.ask(
        "rds",
        "describe_orderable_db_instance_options",
        Engine="postgres",
        DBInstanceClass=wanted.instance_class,
        Vpc=True,
    )["OrderableDBInstanceOptions"]
    look = (
        "aws rds describe-orderable-db-instance-options --engine postgres --query "
        "'OrderableDBInstanceOptions[].[EngineVersion,DBInstanceClass]'"
    )
    versions = sorted({each["EngineVersion"].partition(".")[0] for each in offers})
    major = wanted.engine_version.partition(".")[0]
    fitting = [
        each
        for each in offers
        if each["EngineVersion"].partition(".")[0] == major and each.get("StorageType", "gp3") == "gp3"
    ]
    if not offers:
        yield problem(
            f"{aws.region} does not offer Postgres on {wanted.instance_class}",
            "pulumi up stops when it creates the database",
            f"run {look} --region {aws.region}, and change mlops:foundation.database.instance_class",
        )
        return
    if not fitting:
        yield problem(
            f"{wanted.instance_class} does not run Postgres {major} with gp3 storage; it runs {', '.join(versions)}",
            "pulumi up stops when it creates the database",
            f"run {look} --db-instance-class {wanted.instance_class}, and change mlops:foundation.database",
        )
        return
    if wanted.multi_az and not any(each.get("MultiAZCapable") for each in fitting):
        yield problem(
            f"{wanted.instance_class} has no standby in {aws.region}",
            "pulumi up stops when it creates the database",
            f"{stack.set_command('foundation.database.multi_az', 'false')}, or choose another instance_class",
        )
    here = {zone["Name"] for each in fitting for zone in each.get("AvailabilityZones", [])}
    if here and len(here & set(used_zones(aws, chosen))) < (2 if wanted.multi_az else 1):
        yield problem(
            f"{wanted.instance_class} is offered in {', '.join(sorted(here))} only",
            "these are too few of the stack's zones for the database",
            f"run {look}, and change mlops:foundation.database.instance_class",
        )
    yield from _instance(aws, stack)
    if wanted.restore_from:
        yield _snapshot(aws, wanted.restore_from)
    yield ok(f"Postgres {major} on {wanted.instance_class}")


def _instance(aws: Aws, stack: Stack) -> Iterator[Finding]:
    try:
        (found,) = aws.ask("rds", "describe_db_instances", DBInstanceIdentifier=stack.full_name)["DBInstances"]
    except AbsentError:
        return
    if found["DBInstanceStatus"] != "available":
        yield warning(
            f"the database {stack.full_name} is {found['DBInstanceStatus']}",
            "MLflow may not reach it until it is available",
            f"run aws rds wait db-instance-available --db-instance-identifier {stack.full_name}",
        )


def _snapshot(aws: Aws, name: str) -> Finding:
    try:
        aws.ask("rds", "describe_db_snapshots", DBSnapshotIdentifier=name)
    except AbsentError:
        return problem(
            f"the snapshot {name} does not exist",
            "a new database cannot start with it",
            "run aws rds describe-db-snapshots --query 'DBSnapshots[].DBSnapshotIdentifier', and write one into "
            "mlops:foundation.database.restore_from",
        )
    return ok(f"snapshot {name} exists")
