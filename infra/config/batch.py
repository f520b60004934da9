"""Settings of a batch: predictions for all partitions of a table."""

from typing import Annotated

from pydantic import Field, StringConstraints

from infra.config import gate as release_gate
from infra.config import image_rules, rules, training_rules
from infra.config import training as training_settings
from infra.config.rules import Rule
from infra.config.section import Model

BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
Input = Annotated[
    str,
    StringConstraints(pattern=rf"^s3://{BUCKET}/(batch|datasets)/([^\s/*]+/)*[^\s/*]*\*[^\s/*]*\.parquet$"),
    Rule(
        must="must be s3://BUCKET/batch/ or s3://BUCKET/datasets/, folders, and a file name with one * that ends in "
        ".parquet",
        because="each matching file is a partition, and the Jobs may read these two folders of the bucket",
        instead="write it as in s3://mlops-artifacts/datasets/customers/*.parquet",
    ),
]
Output = Annotated[
    str,
    StringConstraints(pattern=rf"^s3://{BUCKET}/batch(/[^\s/*]+)+$"),
    Rule(
        must="must be a folder below s3://BUCKET/batch/, without a slash at its end",
        because="the Jobs may write to this folder of the bucket only",
        instead="write it as in s3://mlops-artifacts/batch/churn",
    ),
]
Workers = Annotated[
    int,
    Field(strict=True, ge=1, le=1000),
    Rule(
        must="must be a whole number from 1 to 1000",
        because="each worker is a pod that predicts its share of the partitions",
        instead="write it as in workers: 4, and at most as many as there are partitions",
    ),
]
NAMES_DIFFER = Rule(
    must="must not be the name of an endpoint, or of an endpoint's challenger, shadow or router",
    because="the gate and the state know all of them by their names",
    instead="rename it, as in churn-nightly",
)
WITHIN_QUOTA = Rule(
    must="must fit mlops:quotas.serving",
    because="the namespace would refuse pods",
    instead="lower workers or the requests of one pod, or raise the quota",
)


class Batch(Model):
    """Batch of one version: predictions for each partition of a table, in an Indexed Job with the serving image."""

    model: rules.ModelName
    """Registered model. Example: churn-predictor"""
    version: rules.Version
    """Version of the registered model. Example: 3"""
    digest: release_gate.Digest | None = None
    """SHA-256 of the version's files; a version with other files is refused.
    Example: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    """
    override: release_gate.Reason | None = None
    """Reason why this version is used although the gate would refuse it; it holds for one version.
    Example: "INC-123: version 7 rejects every second request"
    """
    allow_breaking_signature: release_gate.Reason | None = None
    """Reason why this version may take other columns than the last one. Example: "the table has the new column"
    """
    image: image_rules.EndpointImage | None = None
    """Serving image of the version, as for an endpoint. Default: `mlops:images.serving`. Example: auto"""
    input: Input
    """Parquet files to predict: each file is a partition. Example: s3://mlops-artifacts/datasets/customers/*.parquet"""
    output: Output
    """Folder of the results: FILE.parquet becomes version=N/FILE.parquet in it.
    Example: s3://mlops-artifacts/batch/churn
    """
    workers: Workers = 1
    """Number of pods, which share the partitions. Example: 4"""
    cpu: rules.Cpu = "1"
    """CPU request of one pod. Example: 2"""
    memory: rules.Memory = "2Gi"
    """Memory request and limit of one pod. Example: 4Gi"""
    ephemeral_storage: training_rules.EphemeralStorage = "4Gi"
    """Request and limit of a pod's disk: a partition with its result must fit. Example: 4Gi"""
    node_pool: rules.PoolName | None = None
    """Pool of `mlops:foundation.node_pools` whose nodes run the pods. Default: any pool without GPUs and without
    `training_only`. Example: cpu
    """
    deadline_minutes: rules.Minutes
    """Longest duration of a run in minutes, with its retries. Example: 60"""
    retries: rules.Retries = 3
    """Number of further attempts of each pod after a failure; they continue behind the last result. Example: 3"""
    schedule: training_settings.Schedule | None = Field(None, json_schema_extra=training_settings.or_text)
    """Schedule of the runs; without it, `pulumi up` starts a run for each change of the entry. A text instead of a
    mapping is the value of `cron`.
    """
