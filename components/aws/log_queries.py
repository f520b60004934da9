"""Athena over the prediction log and the outcomes: workgroup, database, tables, and a bucket for results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account, arn
from components.aws.artifact_bucket import PREDICTIONS, encryption
from components.aws.policy_documents import Statement, query_logs
from components.aws.private_bucket import keep_private
from contract import log_partitions

OUTCOMES = "outcomes/"
"""Prefix of the outcomes in the bucket; Athena reads those that are Parquet."""
OUTCOME_COLUMNS = {"request_id": "string", "row": "int", "label": "string", "at": "timestamp"}
LOG_COLUMNS = {
    "request_id": "string",
    "row": "int",
    "at": "timestamp",
    "latency_ms": "double",
    "role": "string",
    "experiment": "string",
    "unit": "string",
}
"""Columns that the logs of all models have. `mlops drift` declares a table with all columns for each version."""
PROJECTION = {
    **log_partitions.HOURS,
    # A query must name one model and one version, because Athena cannot guess them.
    "projection.model.type": "injected",
    "projection.version.type": "injected",
}
PARQUET = "org.apache.hadoop.hive.ql.io.parquet"


@dataclass(frozen=True, kw_only=True)
class LogQueriesArgs:
    """Settings of the workgroup and its database."""

    name: str
    """Name of the workgroup and of the database: letters, digits and `_`, unique in the account and region."""
    results: str
    """Name of the bucket for results, unique in all of AWS."""
    bucket: pulumi.Input[str]
    """Name of the bucket with the log."""
    key_arn: pulumi.Input[str]
    """ARN of the key that encrypts the log, and the results too."""
    query_limit_gib: int
    """Largest number of GiB that one statement may read."""
    result_days: int
    """Days after which a result is deleted."""
    account: Account
    """AWS account of the stack."""


class LogQueries(pulumi.ComponentResource):
    """Workgroup of Athena whose statements read at most so many bytes, and whose results are encrypted and deleted.

    The tables' partitions follow from the layout of the log, so nothing has to list or crawl the bucket.
    """

    name: pulumi.Output[str]
    """Name of the workgroup and of the database; it resolves when both exist."""
    statements: Sequence[Statement]
    """Statements of a policy that lets a role query the log; the role needs the right to read the log itself too."""

    def __init__(self, name: str, args: LogQueriesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:LogQueries", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        results = aws.s3.Bucket(name, bucket=args.results, force_destroy=True, opts=child)
        aws.s3.BucketServerSideEncryptionConfiguration(
            name, bucket=results.id, rules=encryption(args.key_arn), opts=child
        )
        keep_private(name, results, opts=child)
        aws.s3.BucketLifecycleConfiguration(name, bucket=results.id, rules=_lifecycle(args.result_days), opts=child)
        workgroup = aws.athena.Workgroup(
            name,
            name=args.name,
            description="Prediction log",
            configuration={
                # A client cannot choose another limit, bucket or encryption.
                "enforce_workgroup_configuration": True,
                "bytes_scanned_cutoff_per_query": args.query_limit_gib << 30,
                "engine_version": {"selected_engine_version": "Athena engine version 3"},
                "result_configuration": {
                    "output_location": pulumi.Output.concat("s3://", results.bucket, "/"),
                    "encryption_configuration": {"encryption_option": "SSE_KMS", "kms_key_arn": args.key_arn},
                },
            },
            force_destroy=True,
            opts=child,
        )
        database = aws.glue.CatalogDatabase(name, name=args.name, description="Prediction log", opts=child)
        location = pulumi.Output.concat("s3://", args.bucket, "/")
        template = pulumi.Output.concat(
            location, PREDICTIONS, "model=${model}/version=${version}/", log_partitions.FOLDERS
        )
        for table, columns, prefix, partitions, parameters in (
            (
                "predictions",
                LOG_COLUMNS,
                PREDICTIONS,
                ("model", "version", "date", "hour"),
                {**PROJECTION, "storage.location.template": template},
            ),
            ("outcomes", OUTCOME_COLUMNS, OUTCOMES, (), {}),
        ):
            aws.glue.CatalogTable(
                f"{name}-{table}",
                name=table,
                database_name=database.name,
                table_type="EXTERNAL_TABLE",
                parameters={"classification": "parquet", **parameters},
                partition_keys=[{"name": each, "type": "string"} for each in partitions],
                storage_descriptor=_parquet(pulumi.Output.concat(location, prefix), columns),
                opts=child,
            )
        self.name = pulumi.Output.all(workgroup.name, database.name).apply(lambda names: names[0])
        self.statements = query_logs(
            workgroup_arn=arn("athena", f"workgroup/{args.name}", args.account),
            database=args.name,
            results_arn=results.arn,
            account=args.account,
        )
        self.register_outputs({"name": self.name})


def _parquet(location: pulumi.Input[str], columns: Mapping[str, str]) -> aws.glue.CatalogTableStorageDescriptorArgsDict:
    return {
        "location": location,
        "columns": [{"name": name, "type": kind} for name, kind in columns.items()],
        "input_format": f"{PARQUET}.MapredParquetInputFormat",
        "output_format": f"{PARQUET}.MapredParquetOutputFormat",
        "ser_de_info": {"serialization_library": f"{PARQUET}.serde.ParquetHiveSerDe"},
    }


def _lifecycle(days: int) -> Sequence[aws.s3.BucketLifecycleConfigurationRuleArgsDict]:
    return [
        {
            "id": "old-results",
            "status": "Enabled",
            "filter": {},
            "expiration": {"days": days},
            "noncurrent_version_expiration": {"noncurrent_days": 1},
            "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
        }
    ]
