"""Settings of a stack file as one frozen tree, and the only reader of Pulumi's configuration.

A key of the file, an attribute of the tree and a name in an error message are the same string. The tree does not
contain secrets; `secret` returns them as outputs.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal, cast

import pulumi
from pulumi.runtime.config import CONFIG, is_config_secret
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from components import mlflow_identities
from components.aws import node_pool
from components.endpoint import prediction_log
from components.local import stateful
from components.router import router
from contract import names, project
from contract.untyped import mapping
from infra.config import (
    aws_rules,
    callers,
    endpoint_ingress,
    gpu_rules,
    image_rules,
    monitoring_rules,
    parameters,
    problems,
    rules,
    secret_rules,
    tracking_rules,
    training_rules,
    two_versions,
)
from infra.config import batch as batch_settings
from infra.config import drift as drift_rules
from infra.config import gate as release_gate
from infra.config import login as login_settings
from infra.config import misread_numbers as written_numbers
from infra.config import training as training_settings
from infra.config.athena import NEEDS_AWS, Athena
from infra.config.aws import AutoNodePool, AwsFoundation, NewCluster, NewNetwork, TrackingIngress
from infra.config.batch import Batch
from infra.config.budget import Budget
from infra.config.drift import Drift, Outcomes, Retrain
from infra.config.endpoint import Autoscaling, BodyMib, Example, ModelCache, ModelMib, ReplicaRange, Tracing
from infra.config.endpoint_ingress import EndpointIngress
from infra.config.login import Login
from infra.config.monitoring import ClusterMonitoring, Monitoring, Objectives
from infra.config.problems import PREFIX, Problem
from infra.config.quantities import cpu_text, memory_text, octets, thousandths
from infra.config.rules import Rule
from infra.config.secret_rules import SecretRule
from infra.config.section import Model
from infra.config.validation import Validation


class Gpu(Model):
    """GPUs of a pool's nodes."""

    kind: rules.GpuKind
    """Vendor of the GPUs. Example: nvidia"""
    max: rules.Gpus
    """Largest number of GPUs that one training Job may request: the GPUs of the pool's largest node. Example: 1"""


class LocalNodePool(Model):
    """Nodes that exist already, selected by their labels. Nodes with GPUs carry the taint `nvidia.com/gpu`."""

    labels: Annotated[dict[rules.LabelKey, rules.LabelValue], Field(min_length=1), rules.SOME_LABELS]
    """Node labels that select the pool's nodes; the program does not set them. Example: {mlops/node-pool: cpu}"""
    gpu: Gpu | None = None
    """GPUs of the pool's nodes; leave the key out for a pool without GPUs."""


class LocalImages(Model):
    """Images of the stores that run inside the cluster."""

    postgres: rules.Image
    """Image of the Postgres server. Example: registry.example.com/mlops/postgres:15.8"""
    s3_gateway: rules.Image
    """Image of the S3 gateway. Example: registry.example.com/mlops/s3-gateway:1.0.0"""


class LocalFoundation(Model):
    """A Kubernetes cluster that exists already; Postgres and an S3 gateway run inside it."""

    secrets: ClassVar[Mapping[str, SecretRule]] = {
        "database_password": secret_rules.PASSWORD,
        "artifact_store_access_key": secret_rules.ACCESS_KEY,
        "artifact_store_secret_key": secret_rules.SECRET_KEY,
    }
    kind: Literal["local"]
    """Kind of the foundation: `local` is a Kubernetes cluster that exists already."""
    context: rules.Context
    """Context of the kubeconfig that names the cluster. Example: mlops-lab"""
    storage_gib: rules.Gibibytes = 5
    """Size in GiB of each of the two volumes: Postgres and the S3 gateway. Example: 20"""
    images: LocalImages
    """Images of Postgres and of the S3 gateway."""
    node_pools: Annotated[dict[rules.PoolName, LocalNodePool], Field(min_length=1), rules.SOME_POOLS]
    """Node pools that training Jobs may use, by name."""


Foundation = Annotated[LocalFoundation | AwsFoundation, Field(discriminator="kind")]
"""Foundation of a stack. To add a kind, add its class here and its module to infra/foundations/kinds.py."""

GPU_RESOURCES = {"nvidia": "nvidia.com/gpu"}
BODIES_IN_MEMORY = 32
"""A pod's memory divided by its largest request body, at least: two bodies are decoded at a time."""

KINDS: Mapping[str, type[LocalFoundation | AwsFoundation]] = {"local": LocalFoundation, "aws": AwsFoundation}
OPTIONAL = (ClusterMonitoring, Login)
"""Sections that need secrets; a stack without them may have their secrets too."""


class Images(Model):
    """Container images of the platform.

    `training_commit` changes with the training image only. If it were the latest commit, each commit would train every
    model again (ADR 0004).
    """

    tracking: rules.Image
    """Image of the MLflow server. Example: registry.example.com/mlops/tracking:3.17.2"""
    training: rules.Image
    """Image of the training Jobs. Example: registry.example.com/mlops/training:1.0.0"""
    serving: rules.Image
    """Image of the model servers and of the validation Jobs. Example: registry.example.com/mlops/serving:1.0.0"""
    envoy: rules.Image | None = None
    """Image of the proxy Envoy, with the commands `envoy` and `bash`; only stacks that use the proxy need it.
    Example: envoyproxy/envoy:v1.40.0
    """
    training_commit: rules.Commit | None = None
    """Git commit that the training image was built from; each model version gets it as the tag `git_commit`.
    Example: "3f2a9c1"
    """


class Quota(Model):
    """Limits for the sum of all pods of one namespace, and defaults for containers that set no requests or limits."""

    cpu: rules.Cpu
    """Limit for the sum of the pods' CPU requests, in CPUs. Example: 64"""
    memory: rules.Memory
    """Limit for the sum of the pods' memory requests, and of their memory limits. Example: 256Gi"""
    pods: rules.Pods
    """Largest number of pods. Example: 100"""
    container_cpu: rules.Cpu = "100m"
    """CPU request of a container that states none. Example: 100m"""
    container_memory: rules.Memory = "256Mi"
    """Memory request and limit of a container that states none. Example: 256Mi"""


class GpuQuota(Quota):
    """Quota of a namespace whose pods may request GPUs."""

    gpus: rules.QuotaGpus
    """Limit for the sum of the pods' GPU requests. Example: 8"""


class Quotas(Model):
    """Resource quotas of the namespaces mlops-platform, ml-training and ml-serving."""

    platform: Quota = Quota(cpu="8", memory="32Gi", pods=40)
    """Quota of the namespace `mlops-platform`: MLflow and, in a local stack, its stores."""
    training: GpuQuota = GpuQuota(cpu="64", memory="256Gi", pods=100, gpus=8)
    """Quota of the namespace `ml-training`: training and validation Jobs."""
    serving: Quota = Quota(cpu="128", memory="512Gi", pods=500)
    """Quota of the namespace `ml-serving`: the endpoints' pods."""


class Tracking(Model):
    """The MLflow server."""

    replicas: rules.Replicas = 2
    """Number of pods. Example: 2"""
    workers: rules.Workers = 1
    """Server processes in each pod; each needs about 400 MB of memory. Example: 1"""
    cpu: rules.Cpu = "100m"
    """CPU request of one pod. Example: 500m"""
    memory: rules.Memory = "1Gi"
    """Memory request and limit of one pod. Example: 1Gi"""
    node_pool: rules.PoolName | None = None
    """Pool of `mlops:foundation.node_pools` whose nodes run the pods. Default: any pool without GPUs and without
    `training_only`. Example: cpu
    """
    allowed_hosts: tuple[rules.Host, ...] = ()
    """Further values of the Host header that MLflow accepts; it always accepts its names in the cluster and its ingress
    host. The first value is the address that the stack's outputs show.
    Example: [localhost:5000]
    """
    authenticated: rules.Truth = False
    """Whether MLflow asks who you are: a proxy in its pod accepts only tokens of the cluster's service accounts, and
    allows requests by account and route (docs/security.md). It needs `mlops:images.envoy`. A change runs each training
    job without a schedule once more. Example: true
    """
    ingress: TrackingIngress | None = None
    """Load balancer in front of MLflow, on AWS only; without it MLflow is reachable inside the cluster only."""
    login: Login | None = None
    """Login for browsers at the ingress; without it, `mlops mlflow` opens the page with your rights in the cluster."""

    @field_validator("node_pool")
    @classmethod
    def _an_open_pool(cls, name: str | None, info: ValidationInfo) -> str | None:
        return name and _open_pool(name, info)

    @field_validator("ingress")
    @classmethod
    def _only_with_load_balancers(cls, ingress: TrackingIngress | None, info: ValidationInfo) -> TrackingIngress | None:
        if ingress and _rest(info).kind == "local":
            raise aws_rules.INGRESS_NEEDS_AWS.broken(ingress.host)
        return ingress

    @field_validator("login")
    @classmethod
    def _behind_an_encrypted_ingress(cls, login: Login | None, info: ValidationInfo) -> Login | None:
        return login_settings.checked(login, info.data)


@dataclass(frozen=True)
class Rest:
    """Valid values of other sections of the file, for rules about two sections."""

    kind: str = ""
    """Kind of the foundation; empty if it is missing."""
    bucket: str | None = None
    """Name of the artifact bucket; None if Pulumi chooses it."""
    public_load_balancers: bool = True
    """Whether the network has public subnets."""
    gpus_of_pools: Mapping[str, int | None] | None = None
    """Largest number of GPUs per Job for each pool; None if the pools are invalid."""
    open_pools: Sequence[str] | None = None
    """Pools whose nodes have no taint; None if the pools are invalid."""
    expiry_of_pools: Mapping[str, int] = field(default_factory=dict[str, int])
    """Days after which nodes expire, for each pool whose nodes do."""
    quotas: Quotas | None = None
    """Resource quotas; None if they are invalid."""
    monitored: bool = True
    """Whether the file has the key `mlops:monitoring`."""


class Training(Model):
    """A training job: its Job runs once and again after each change of the entry, or at the times of `schedule`."""

    project: training_rules.ProjectName | None = None
    """Model project to train: a file of `training/projects` without `.py`. Default: the name of the entry.
    Example: churn_boosted
    """
    model: rules.ModelName
    """Registered model that gets the new versions. Example: churn-predictor"""
    image: rules.Image | None = None
    """Image for this job instead of `mlops:images.training`. With `command`, and without `project` and `sweep`, the job
    runs a script of your own (docs/training.md). Example: registry.example.com/teams/churn:2.1.0"""
    command: Annotated[list[training_rules.Word], Field(min_length=1), training_rules.NO_WORD] | None = None
    """Command line for this job instead of the image's own. Example: ["python", "-m", "training.train"]"""
    dataset: rules.Dataset
    """URI of the table to train on, CSV or Parquet; on AWS it lies below `datasets/` in the stack's bucket.
    Example: s3://example-mlops-prod/datasets/churn.csv
    """
    node_pool: rules.PoolName
    """Pool of `mlops:foundation.node_pools` whose nodes run the Job. Example: cpu"""
    parameter_schema: training_rules.SchemaFile | None = None
    """JSON Schema file that checks `parameters` if `image` or `command` is set, relative to the repository's root.
    Example: schema/mine.json
    """
    parameters: dict[training_rules.ParameterName, training_settings.ParameterValue] = Field(default_factory=dict)
    """Parameters of the model project, by name. Example: {n_estimators: 200, max_depth: 10}"""
    cpu: rules.Cpu = "500m"
    """CPU request of the run. Example: 2"""
    memory: rules.Memory = "1Gi"
    """Memory request and limit of the run. Example: 4Gi"""
    ephemeral_storage: training_rules.EphemeralStorage = "2Gi"
    """Request and limit for what the run writes to the node's disk. Example: 2Gi"""
    gpus: rules.Gpus | None = None
    """Number of GPUs for one run. Default: 1 on a pool with GPUs, otherwise 0. Example: 1"""
    shared_memory: gpu_rules.SharedMemory | None = None
    """Size of /dev/shm, through which processes of one pod exchange data; it counts as memory of the run. Default: half
    of `memory` with GPUs, otherwise the container runtime's 64 MiB. Example: 512Mi"""
    queue: training_rules.ObjectName | None = None
    """LocalQueue of Kueue in `ml-training` that admits the Jobs; Kueue must run in the cluster. Example: gpu-team-a"""
    deadline_minutes: rules.Minutes
    """Longest duration of a run in minutes, with its retries; in a sweep, of one point. Example: 60"""
    retries: rules.Retries = 1
    """Number of further attempts after a run has failed; invalid input is not retried, and a lost node does not count.
    Example: 1
    """
    priority_class: training_rules.ObjectName | None = None
    """PriorityClass of the pods; it must exist in the cluster. Example: batch-low"""
    service_account: training_rules.ObjectName | None = None
    """ServiceAccount in `ml-training` for this job instead of the platform's own; it gets none of the platform's
    permissions.
    Example: churn-training
    """
    schedule: training_settings.Schedule | None = Field(None, json_schema_extra=training_settings.or_text)
    """Schedule of the runs; without it, `pulumi up` starts a run for each change of the entry. A text instead of a
    mapping is the value of `cron`.
    """
    sweep: training_settings.Sweep | None = None
    """Parameter values to try in one Job; only the best result is registered."""
    validation: Validation = Validation()
    """Validation of new versions of the model."""

    @property
    def is_script(self) -> bool:
        """Whether the job runs a team's own script instead of a model project."""
        return bool(self.image and self.command and not self.project and not self.sweep)

    @field_validator("node_pool")
    @classmethod
    def _one_of_this_stack(cls, name: str, info: ValidationInfo) -> str:
        pools = _rest(info).gpus_of_pools
        if pools is not None and name not in pools:
            raise Rule(
                must="must name a pool of mlops:foundation.node_pools",
                because="no node would ever run the Job",
                instead=f"write one of {', '.join(pools)}, or add the pool there",
            ).broken()
        return name

    @field_validator("deadline_minutes")
    @classmethod
    def _before_the_node_goes(cls, minutes: int, info: ValidationInfo) -> int:
        pool = info.data.get("node_pool", "")
        days = node_pool.MAX_AGE_DAYS - _rest(info).expiry_of_pools.get(pool, 0)
        if minutes > (most := days * 24 * 60):
            raise Rule(
                must=f"must be at most {most} on pool {pool}",
                because=f"a run may begin when its node expires, and Auto Mode ends each node {days} "
                f"day{'s' * (days > 1)} later, {node_pool.MAX_AGE_DAYS} days after its start",
                instead=f"write expire_after_days: {node_pool.MAX_AGE_DAYS - math.ceil(minutes / 1440)} for the pool, "
                "or a shorter deadline",
            ).broken()
        return minutes

    @field_validator("dataset")
    @classmethod
    def _where_training_may_read(cls, dataset: str, info: ValidationInfo) -> str:
        rest = _rest(info)
        if rest.kind == "aws" and not dataset.startswith(f"s3://{rest.bucket or dataset.split('/')[2]}/datasets/"):
            raise aws_rules.DATASET_IN_BUCKET.broken()
        return dataset

    @field_validator("gpus")
    @classmethod
    def _as_many_as_the_pool_gives(cls, gpus: int | None, info: ValidationInfo) -> int | None:
        pools, pool = _rest(info).gpus_of_pools or {}, info.data.get("node_pool", "")
        most = pools.get(pool)
        if most is not None and (gpus or 0) > most:
            enough = [name for name, available in pools.items() if available is not None and available >= (gpus or 0)]
            raise Rule(
                must=f"must be at most {most}, the max of pool {pool}" if most else f"must be left out on pool {pool}",
                because="no node of the pool has as many GPUs" if most else "its nodes have no GPU",
                instead=f"choose node_pool: {enough[0]}"
                if enough
                else "write a smaller number, or add a pool with more GPUs",
            ).broken()
        return gpus or (1 if most else None)

    @field_validator("shared_memory")
    @classmethod
    def _half_of_the_memory(cls, size: str | None, info: ValidationInfo) -> str | None:
        memory = info.data.get("memory")
        if memory is None:
            return size
        if size is None:
            return gpu_rules.half(memory) if info.data.get("gpus") else None
        if octets(size) > octets(memory):
            raise gpu_rules.within_memory(memory)
        return size

    @field_validator("service_account")
    @classmethod
    def _not_the_platforms(cls, account: str | None) -> str | None:
        if account and (account == "validation" or account.startswith(names.drift_account(""))):
            raise training_rules.RESERVED_ACCOUNT.broken()
        return account

    @field_validator("cpu", "memory")
    @classmethod
    def _within_the_quota(cls, amount: str, info: ValidationInfo) -> str:
        if quotas := _rest(info).quotas:
            key, size = ("cpu", thousandths) if info.field_name == "cpu" else ("memory", octets)
            limit = quotas.training.cpu if key == "cpu" else quotas.training.memory
            if size(amount) > size(limit):
                raise Rule(
                    must=f"must be at most {limit}, the value of mlops:quotas.training.{key}",
                    because="the namespace would refuse the pod",
                    instead="lower the request, or raise the quota",
                ).broken()
        return amount

    @field_validator("sweep")
    @classmethod
    def _of_declared_parameters(
        cls, sweep: training_settings.Sweep | None, info: ValidationInfo
    ) -> training_settings.Sweep | None:
        parameters: Mapping[str, object] | None = info.data.get("parameters")
        if sweep and parameters is not None:
            for name in sorted(sweep.swept - parameters.keys()):
                raise training_rules.not_declared(name, parameters)
        return sweep

    @field_validator("sweep")
    @classmethod
    def _together_within_the_quota(
        cls, sweep: training_settings.Sweep | None, info: ValidationInfo
    ) -> training_settings.Sweep | None:
        quotas = _rest(info).quotas
        if sweep and quotas and info.data.keys() >= {"cpu", "memory", "gpus"}:
            pods, limit = sweep.most_at_once, quotas.training
            asked = (pods * thousandths(info.data["cpu"]), pods * octets(info.data["memory"]), pods)
            gpus = pods * (info.data["gpus"] or 0)
            if gpus > limit.gpus or any(most < each for each, most in zip(asked, _limits(limit), strict=True)):
                raise training_rules.SWEEP_WITHIN_QUOTA.broken(
                    f"{pods} pods at the same time with {_amounts(*asked)}" + f", gpus {gpus}" * bool(gpus)
                )
        return sweep

    @field_validator("validation")
    @classmethod
    def _one_pod_within_the_quota(cls, validation: Validation, info: ValidationInfo) -> Validation:
        if quotas := _rest(info).quotas:
            memory = validation.memory or "1Ki"  # the default is the run's own memory, which another rule checks
            asked, limit = (thousandths(validation.cpu), octets(memory)), quotas.training
            if asked[0] > thousandths(limit.cpu) or asked[1] > octets(limit.memory):
                raise training_rules.VALIDATION_WITHIN_QUOTA.broken(f"cpu {validation.cpu}, memory {validation.memory}")
        return validation


class PredictionLog(Model):
    """Log of requests and predictions, as Parquet files under predictions/ in the artifact store's bucket."""

    sample: rules.Share = 1.0
    """Share of the requests that is logged, above 0 and at most 1. Example: 0.1"""
    redact: tuple[rules.ColumnName, ...] = ()
    """Columns of requests and predictions whose values are never written. Example: [name, email]"""
    spool_mib: rules.SpoolMebibytes = 256
    """Disk space in MiB on each pod's node for records that are not uploaded yet. Example: 256"""


class Endpoint(Model):
    """One version of one registered model, served under the name of the entry."""

    model: rules.ModelName | None = None
    """Registered model. Default: the name of the entry. Example: churn-predictor"""
    version: rules.Version
    """Version of the registered model that is served. Example: 3"""
    image: image_rules.EndpointImage | None = None
    """Serving image of the version: `auto` for the one that `mlops image` recorded for its packages, or a reference.
    Default: `mlops:images.serving`.
    Example: auto
    """
    digest: release_gate.Digest | None = None
    """SHA-256 of the version's files; a version with other files is refused.
    Example: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    """
    override: release_gate.Reason | None = None
    """Reason why this version goes live although the gate would refuse it. It holds for one version: with another
    version, remove the key. Example: "INC-123: version 7 rejects every second request"
    """
    allow_breaking_signature: release_gate.Reason | None = None
    """Reason why this version may break clients of the served version. Example: "all clients send the new column"
    """
    replicas: ReplicaRange = ReplicaRange(min=2, max=4)
    """Smallest and largest number of pods; the autoscaler chooses between them."""
    cpu: rules.Cpu = "100m"
    """CPU request of one pod; there is no CPU limit. A pod makes one prediction at a time for each requested CPU, and
    at least two.
    Example: 500m
    """
    memory: rules.Memory = "1Gi"
    """Memory request and limit of one pod. Example: 2Gi"""
    node_pool: rules.PoolName | None = None
    """Pool of `mlops:foundation.node_pools` whose nodes run the pods. Default: any pool without GPUs and without
    `training_only`. Example: cpu
    """
    autoscaling: Autoscaling = Autoscaling()
    """Targets of the autoscaler."""
    model_mib: ModelMib | None = None
    """Size of the version's files in MiB; a pod gets one more second to start for each 20 MiB. Leave it out for a
    small model.
    Example: 900
    """
    startup_seconds: rules.StartupSeconds | None = None
    """Time in seconds in which a pod must fetch the model, load it and become ready. Default: 45, and one more for
    each 20 MiB of `model_mib`.
    Example: 120
    """
    drain_seconds: rules.DrainSeconds = 5
    """Time in seconds for which a terminating pod still accepts requests. At least 15 with `ingress`. Example: 20"""
    max_body_mib: BodyMib = 10
    """Largest body of a request in MiB; a larger one is refused. At most a 32nd of `memory`, because decoded rows need
    up to twenty times their size.
    Example: 20
    """
    example: Example = "require"
    """Treatment of a version that cannot predict its own input example: `require` fails the release, `warn` serves it
    and logs a warning.
    Example: warn
    """
    rollback_on_failure: rules.Truth = False
    """Whether a failed release is rolled back in the cluster to the last revision with ready pods; needs kubectl.
    Example: true
    """
    ingress: EndpointIngress | None = None
    """Load balancer in front of the endpoint, on AWS only."""
    prediction_log: PredictionLog | None = None
    """Log of requests and predictions in the artifact store; without it nothing is logged."""
    tracing: Tracing | None = None
    """OpenTelemetry traces of requests; without it no traces are sent."""
    objectives: Objectives | None = None
    """Objectives that alerts watch; they need `mlops:monitoring`."""
    challenger: two_versions.Challenger | None = None
    """Second version that answers a share of the callers; without it all get `version`."""
    shadow: two_versions.Shadow | None = None
    """Version that gets copies of requests, and whose responses are dropped."""
    drift: Drift | None = None
    """Job that looks for drift of the requests; without it, `mlops drift` looks on request only."""
    outcomes: Outcomes | None = Field(None, json_schema_extra=training_settings.or_text)
    """Outcomes of the predictions, which the drift job measures; without it, `mlops outcomes` does on request. A text
    instead of a mapping is the value of `folder`."""
    retrain: Retrain | None = None
    """Retraining after drift; without it nothing is trained by itself."""
    auth: callers.Auth | None = None
    """Tokens that callers must send; without it everybody who reaches the endpoint may call it."""
    limits: callers.CallerLimits | None = None
    """Limits for each caller; they need `auth`."""

    @property
    def is_routed(self) -> bool:
        """True if a router stands between the endpoint's Service and its pods."""
        return bool(self.arms or self.auth)

    @property
    def arms(self) -> Mapping[str, two_versions.Challenger | two_versions.Shadow]:
        """Versions beside the served one, by role."""
        roles = {"challenger": self.challenger, "shadow": self.shadow}
        return {role: arm for role, arm in roles.items() if arm}

    def deployments(self, name: str) -> list[str]:
        """Return the names of the endpoint's Deployments: those of all versions, and the router's if there is one."""
        return [name, *(f"{name}-{each}" for each in (*self.arms, *(["router"] if self.is_routed else [])))]

    @property
    def kinds_of_pods(self) -> list[tuple[int, int, int, int]]:
        """Smallest and largest number, CPU request in thousandths and memory request in bytes of each kind of pod."""
        log = self.prediction_log is not None
        shipper = log * thousandths(prediction_log.CPU), log * octets(prediction_log.MEMORY)
        servers = [
            (
                (each.replicas or self.replicas).min,
                (each.replicas or self.replicas).max,
                thousandths(each.cpu or self.cpu) + shipper[0],
                octets(each.memory or self.memory) + shipper[1],
            )
            for each in (self, *self.arms.values())
        ]
        memory = router.memory_mib(self.max_body_mib) << 20
        routers = router.REPLICAS, router.REPLICAS, thousandths(router.CPU), memory
        return [*servers, *([routers] if self.is_routed else [])]

    @property
    def pods(self) -> list[tuple[int, int, int]]:
        """Largest number, CPU request in thousandths and memory request in bytes of each kind of pod."""
        return [(most, cpu, memory) for _, most, cpu, memory in self.kinds_of_pods]

    @property
    def seconds_to_start(self) -> int:
        """Seconds in which a pod must fetch the model, load it and become ready.

        Kubernetes needs the number before the model is downloaded, so `model_mib` states the size. The store and the
        disk are assumed to deliver 20 MiB a second; a slower start counts as failed.
        """
        return self.startup_seconds or min(3600, 45 + math.ceil((self.model_mib or 0) / 20))

    @field_validator("node_pool")
    @classmethod
    def _an_open_pool(cls, name: str | None, info: ValidationInfo) -> str | None:
        return name and _open_pool(name, info)

    @field_validator("objectives")
    @classmethod
    def _watched_by_something(cls, objectives: Objectives | None, info: ValidationInfo) -> Objectives | None:
        if objectives and not _rest(info).monitored:
            raise monitoring_rules.NEEDS_MONITORING.broken()
        return objectives

    @field_validator("model_mib")
    @classmethod
    def _within_the_memory(cls, mib: int | None, info: ValidationInfo) -> int | None:
        memory = info.data.get("memory")
        if mib and memory and mib << 20 >= octets(memory):
            raise Rule(
                must=f"must be below memory, {memory}",
                because="the model is loaded into memory",
                instead="raise memory to the size of the loaded model, with some room for requests",
            ).broken()
        return mib

    @field_validator("max_body_mib")
    @classmethod
    def _with_memory_for_its_rows(cls, mib: int, info: ValidationInfo) -> int:
        memory = info.data.get("memory")
        if memory and (mib << 20) * BODIES_IN_MEMORY > octets(memory):
            raise Rule(
                must=f"must be at most a {BODIES_IN_MEMORY}nd of memory, {memory}",
                because="decoded rows need up to twenty times their size, and a pod that exceeds memory is killed",
                instead=f"write a smaller number, or memory: {mib * BODIES_IN_MEMORY}Mi or more",
            ).broken()
        return mib

    @field_validator("auth")
    @classmethod
    def _tokens_are_encrypted(cls, auth: callers.Auth | None, info: ValidationInfo) -> callers.Auth | None:
        return callers.checked_auth(auth, info.data)

    @field_validator("limits")
    @classmethod
    def _of_known_callers(
        cls, limits: callers.CallerLimits | None, info: ValidationInfo
    ) -> callers.CallerLimits | None:
        return callers.checked_limits(limits, info.data)

    @field_validator("challenger", "shadow")
    @classmethod
    def _another_version(cls, arm: two_versions.Arm, info: ValidationInfo) -> two_versions.Arm:
        return two_versions.checked(arm, info.data, bodies=BODIES_IN_MEMORY)

    @field_validator("drift")
    @classmethod
    def _with_a_log(cls, drift: Drift | None, info: ValidationInfo) -> Drift | None:
        return drift_rules.check_log(drift, info.data)

    @field_validator("drift")
    @classmethod
    def _drift_within_the_quota(cls, drift: Drift | None, info: ValidationInfo) -> Drift | None:
        if drift and (quotas := _rest(info).quotas):
            limit = quotas.training
            if thousandths(drift.cpu) > thousandths(limit.cpu) or octets(drift.memory) > octets(limit.memory):
                raise drift_rules.WITHIN_QUOTA.broken(f"cpu {drift.cpu}, memory {drift.memory}")
        return drift

    @field_validator("outcomes", "retrain")
    @classmethod
    def _done_by_the_drift_job(cls, entry: drift_rules.Entry, info: ValidationInfo) -> drift_rules.Entry:
        if entry and info.data.get("drift", entry) is None:
            raise drift_rules.NEEDS_DRIFT.broken("used without drift")
        return entry

    @field_validator("outcomes")
    @classmethod
    def _in_the_bucket_of_the_stack(cls, outcomes: Outcomes | None, info: ValidationInfo) -> Outcomes | None:
        if outcomes and _rest(info).bucket not in {None, outcomes.folder.split("/")[2]}:
            raise drift_rules.OWN_BUCKET.broken(outcomes.folder)
        return outcomes

    @field_validator("ingress")
    @classmethod
    def _only_with_load_balancers(cls, ingress: EndpointIngress | None, info: ValidationInfo) -> EndpointIngress | None:
        if ingress and _rest(info).kind == "local":
            raise aws_rules.INGRESS_NEEDS_AWS.broken(ingress.host)
        if ingress and ingress.scheme == "public" and not _rest(info).public_load_balancers:
            raise aws_rules.PUBLIC_SUBNETS.broken(ingress.host)
        if ingress and (drain := info.data.get("drain_seconds", aws_rules.LEAST_DRAIN)) < aws_rules.LEAST_DRAIN:
            raise aws_rules.DRAIN_BEHIND_LOAD_BALANCER.broken(f"used with drain_seconds: {drain}")
        return ingress


@dataclass(frozen=True, kw_only=True)
class Released:
    """Version that an endpoint or a batch runs."""

    endpoint: str
    """Name of the endpoint or batch."""
    role: str
    """`challenger` or `shadow`; empty for the version that the endpoint serves."""
    model: str
    """Name of the registered model."""
    version: int
    """Number of the version in the registry."""
    digest: str
    """SHA-256 of the version's files, as the stack file states it; empty if it does not."""
    image: str
    """Key `image` of the endpoint; empty if it is not set."""


class Settings(Model):
    """The keys of a stack file below `config`, without their prefix `mlops:`."""

    foundation: Foundation
    """The cluster and the stores that the platform runs on; `kind` chooses between `local` and `aws`."""
    images: Images
    """Container images of the platform."""
    quotas: Quotas = Quotas()
    """Resource quotas of the three namespaces."""
    tracking: Tracking = Tracking()
    """The MLflow server."""
    training: dict[rules.JobName, Training] = Field(default_factory=dict)
    """Training jobs, by name."""
    model_cache: ModelCache | None = None
    """Cache of model files on the cluster's nodes; without it each pod downloads its model."""
    gate: release_gate.Gate = release_gate.Gate()
    """Gate in front of each release."""
    monitoring: Monitoring | None = None
    """Metrics, alerts and dashboards; `kind` chooses who runs Prometheus. Without it, nothing is monitored."""
    athena: Athena | None = None
    """Athena over the prediction log, for a log that outgrows one machine; on AWS only. Without it there is none."""
    endpoints: dict[rules.EndpointName, Endpoint] = Field(default_factory=dict)
    """Endpoints, by name; an endpoint serves the registered model of that name unless it names another `model`."""
    batch: dict[rules.JobName, Batch] = Field(default_factory=dict)
    """Batches, by name: predictions for whole tables. A batch must not have the name of an endpoint."""
    budget: Budget = Budget()
    """Limits of what the stack may cost; `mlops cost` checks them."""

    @property
    def is_protected(self) -> bool:
        """True if the deletion of any part of the foundation is refused."""
        foundation = self.foundation
        if isinstance(foundation, LocalFoundation):
            return False
        cluster = isinstance(foundation.cluster, NewCluster) and foundation.cluster.protected
        return cluster or foundation.artifacts.protected or foundation.database.protected

    @property
    def has_guarded_pods(self) -> bool:
        """True if an endpoint verifies its callers."""
        return any(endpoint.auth for endpoint in self.endpoints.values())

    @property
    def entries(self) -> Mapping[str, Endpoint | Batch]:
        """Endpoints and batches, by name."""
        return {**self.endpoints, **self.batch}

    @property
    def watched(self) -> Mapping[str, Drift]:
        """Settings of the drift jobs, by name of the endpoint."""
        return {name: each.drift for name, each in self.endpoints.items() if each.drift}

    def served_model(self, name: str) -> str:
        """Return the registered model that the endpoint or batch uses."""
        return self.entries[name].model or name

    @cached_property
    def releases(self) -> Mapping[str, Released]:
        """Return all versions that go through the gate, by name of their Deployment or CronJob."""
        return {
            f"{name}-{role}" if role else name: Released(
                endpoint=name,
                role=role,
                model=self.served_model(name),
                version=version.version,
                digest=version.digest or "",
                image=entry.image or "",
            )
            for name, entry in self.entries.items()
            for role, version in {"": entry, **(entry.arms if isinstance(entry, Endpoint) else {})}.items()
        }

    def champion_endpoint(self, model: str) -> str | None:
        """Return the endpoint whose version is the model's champion; None if no endpoint serves the model."""
        return champion_of(self.endpoints, model)

    @field_validator("tracking")
    @classmethod
    def _with_a_proxy_if_authenticated(cls, tracking: Tracking, info: ValidationInfo) -> Tracking:
        images = info.data.get("images")
        if tracking.authenticated and isinstance(images, Images) and images.envoy is None:
            raise tracking_rules.NEEDS_ENVOY.broken("authenticated is true, and mlops:images.envoy is missing")
        return tracking

    @field_validator("tracking")
    @classmethod
    def _tracking_within_the_quota(cls, tracking: Tracking, info: ValidationInfo) -> Tracking:
        if quotas := _rest(info).quotas:
            _fits("platform", quotas.platform, _platform_pods(tracking, info), "replicas")
        return tracking

    @field_validator("athena")
    @classmethod
    def _only_on_aws(cls, chosen: Athena | None, info: ValidationInfo) -> Athena | None:
        if chosen and _rest(info).kind == "local":
            raise NEEDS_AWS.broken()
        return chosen

    @field_validator("monitoring")
    @classmethod
    def _managed_on_aws(cls, chosen: Monitoring | None, info: ValidationInfo) -> Monitoring | None:
        if chosen and chosen.kind == "managed" and _rest(info).kind == "local":
            raise monitoring_rules.MANAGED_NEEDS_AWS.broken('kind is "managed"')
        return chosen

    @field_validator("monitoring")
    @classmethod
    def _beside_tracking_within_the_quota(cls, chosen: Monitoring | None, info: ValidationInfo) -> Monitoring | None:
        if chosen and (quotas := _rest(info).quotas) and (tracking := info.data.get("tracking")):
            asked = [*_platform_pods(tracking, info), *((2, *pod) for pod in chosen.pods)]
            _fits("platform", quotas.platform, asked, "memory")
        return chosen

    @field_validator("endpoints")
    @classmethod
    def _with_digests_if_required(cls, endpoints: dict[str, Endpoint], info: ValidationInfo) -> dict[str, Endpoint]:
        stated = {f"{name}.{role}": arm for name, each in endpoints.items() for role, arm in each.arms.items()}
        missing = [name for name, entry in {**endpoints, **stated}.items() if entry.digest is None]
        if missing and info.data.get("gate", release_gate.Gate()).digest == "required":
            raise release_gate.DIGEST_REQUIRED.broken(f"{missing[0]}.digest is missing")
        return endpoints

    @field_validator("endpoints")
    @classmethod
    def _all_within_the_quota(cls, endpoints: dict[str, Endpoint], info: ValidationInfo) -> dict[str, Endpoint]:
        if quotas := _rest(info).quotas:
            asked = [(2 * n, cpu, memory) for e in endpoints.values() for n, cpu, memory in e.pods]
            _fits("serving", quotas.serving, asked, "replicas.max")
        return endpoints

    @field_validator("endpoints")
    @classmethod
    def _with_a_router(cls, endpoints: dict[str, Endpoint], info: ValidationInfo) -> dict[str, Endpoint]:
        images: Images | None = info.data.get("images")
        for name in (each for each, endpoint in endpoints.items() if endpoint.is_routed):
            two_versions.check_names(name, list(endpoints))
            if images and images.envoy is None:
                word = "auth" if endpoints[name].auth else f"a {next(iter(endpoints[name].arms))}"
                raise two_versions.ENVOY.broken(f"used with {word} in {name}")
        return endpoints

    @field_validator("endpoints")
    @classmethod
    def _told_apart_by_load_balancers(cls, endpoints: dict[str, Endpoint], info: ValidationInfo) -> dict[str, Endpoint]:
        tracking: Tracking | None = info.data.get("tracking")
        own = {"mlops:tracking": tracking.ingress} if tracking and tracking.ingress else {}
        endpoint_ingress.check({**own, **{name: each.ingress for name, each in endpoints.items() if each.ingress}})
        return endpoints

    @field_validator("endpoints")
    @classmethod
    def _with_drift_jobs(cls, endpoints: dict[str, Endpoint], info: ValidationInfo) -> dict[str, Endpoint]:
        trainings: Mapping[str, Training] | None = info.data.get("training")
        drift_rules.check_versions({n: (each.model or n, each.version) for n, each in endpoints.items() if each.drift})
        foundation = info.data.get("foundation")
        network = foundation.network if isinstance(foundation, AwsFoundation) else None
        for name, endpoint in endpoints.items():
            if endpoint.drift and endpoint.drift.engine == "athena":
                if info.data.get("athena", ()) is None:
                    raise drift_rules.NEEDS_ATHENA.broken(f"used with engine: athena in {name}.drift")
                if isinstance(network, NewNetwork) and not network.reaches("athena"):
                    raise drift_rules.ATHENA_REACHED.broken(f"used with engine: athena in {name}.drift")
            if endpoint.drift and trainings is not None:
                drift_rules.check_names(name, list(trainings))
            if endpoint.retrain and trainings is not None:
                champion = champion_of(endpoints, model := endpoint.model or name)
                drift_rules.check_training(name, endpoint.retrain, model, champion, trainings)
        return endpoints

    @field_validator("batch")
    @classmethod
    def _batches_beside_endpoints(cls, batches: dict[str, Batch], info: ValidationInfo) -> dict[str, Batch]:
        endpoints: dict[str, Endpoint] = info.data.get("endpoints", {})
        routed = {
            f"{name}-{end}" for name, each in endpoints.items() if each.is_routed for end in two_versions.SUFFIXES
        }
        if both := sorted(batches.keys() & {*endpoints, *routed}):
            raise batch_settings.NAMES_DIFFER.broken(f"used with the name {both[0]}")
        for name, batch in batches.items():
            if batch.node_pool:
                _open_pool(batch.node_pool, info)
            if batch.digest is None and info.data.get("gate", release_gate.Gate()).digest == "required":
                raise release_gate.DIGEST_REQUIRED.broken(f"{name}.digest is missing")
            asked = batch.workers * thousandths(batch.cpu), batch.workers * octets(batch.memory), batch.workers
            if (quotas := _rest(info).quotas) and any(
                most < each for each, most in zip(asked, _limits(quotas.serving), strict=True)
            ):
                raise batch_settings.WITHIN_QUOTA.broken(f"used with {name}, which needs {_amounts(*asked)}")
            for uri in (batch.input, batch.output):
                if _rest(info).bucket not in {None, uri.split("/")[2]}:
                    raise aws_rules.DATASET_IN_BUCKET.broken(f"used with {uri} in {name}")
        return batches


def champion_of(endpoints: Mapping[str, Endpoint], model: str) -> str | None:
    """Return the endpoint with the model's name, otherwise the only one that serves the model; None without one."""
    serving = [name for name, endpoint in endpoints.items() if (endpoint.model or name) == model]
    return model if model in serving else serving[0] if len(serving) == 1 else None


def read() -> Settings:
    """Return the settings of the current stack.

    Raises:
        pulumi.RunError: the stack file has problems; the message lists all of them, one on each line.
    """
    written = {key.removeprefix(PREFIX): text for key, text in CONFIG.get().items() if key.startswith(PREFIX)}
    values = {key: _parsed(text) for key, text in written.items() if key in Settings.model_fields}
    found = [*_unknown_keys(written, values), *_problems_of_secrets(written, values)]
    training, file = None if is_config_secret(f"{PREFIX}training") else values.get("training"), _stack_file()
    of_parameters = list(parameters.problems(training, file))
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    misread = problems.apart_from(of_parameters, written_numbers.misread(text, values))
    try:
        settings = parse(values)
    except ValidationError as error:
        readable = [problem for problem in problems.of(error, Settings) if not is_config_secret(problem.key)]
        more = problems.apart_from(readable, [*of_parameters, *misread])
        raise problems.refusal([*readable, *more, *found]) from None
    if found := [*of_parameters, *misread, *found]:
        raise problems.refusal(found)
    return settings


def parse(values: Mapping[str, object]) -> Settings:
    """Return the settings in the values of a stack file, by key without `mlops:`; secrets are not among them.

    Raises:
        ValidationError: a value is invalid; `problems.of` turns the error into messages.
    """
    return Settings.model_validate(values, context=_rest_of(values))


def secrets_of(values: Mapping[str, object]) -> dict[str, SecretRule]:
    """Return the rules of the secrets that a stack with these values needs; of all kinds if its kind is unknown."""
    kind = _kind(values)
    monitored = mapping(values.get("monitoring")).get("kind") == "cluster"
    has_login = mapping(values.get("tracking")).get("login") is not None
    optional = [*([ClusterMonitoring] if monitored else []), *([Login] if has_login else [])]
    needing = [*([kind] if kind else KINDS.values()), *optional]
    return {key: rule for each in needing for key, rule in each.secrets.items()}


def all_secrets() -> dict[str, SecretRule]:
    """Return the rules of the secrets of stacks of every kind."""
    return {key: rule for each in (*KINDS.values(), *OPTIONAL) for key, rule in each.secrets.items()}


def _stack_file() -> Path:
    """Return the path of the stack file beside Pulumi.yaml; with `--config-file`, no file need be there."""
    here = Path.cwd()  # Pulumi starts the program in the folder of its code
    return project.stack_file(project.root(here) or here, pulumi.get_stack())


def secret(key: str) -> pulumi.Output[str]:
    """Return the value of `mlops:<key>` as a secret output."""
    return pulumi.Config(PREFIX.rstrip(":")).require_secret(key)


def _parsed(text: str) -> object:
    """Return the value of a text from Pulumi, which passes mappings and lists as JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _unknown_keys(written: Mapping[str, str], values: Mapping[str, object]) -> Iterator[Problem]:
    optional = {key for each in OPTIONAL for key in each.secrets}
    known = Settings.model_fields.keys() | secrets_of(values).keys() | optional
    for key in sorted(written.keys() - known):
        yield Problem(path=key, found="is unknown", rule=problems.unknown_key(key, known))


def _problems_of_secrets(written: Mapping[str, str], values: Mapping[str, object]) -> Iterator[Problem]:
    """Yield a problem for each secret that is missing, invalid, in plain text, or under a key for plain values."""
    for key in values:
        if is_config_secret(PREFIX + key):
            rule = secret_rules.NO_SECRET.rule("write the value without --secret")
            yield Problem(path=key, found="holds a secret", rule=rule)
    if _kind(values) is None:
        return
    for key, secret_rule in secrets_of(values).items():
        command = f"run pulumi config set --secret {PREFIX}{key}"
        if key not in written:
            yield Problem(path=key, found="is missing", rule=secret_rule.rule(command))
        elif not is_config_secret(PREFIX + key):
            rule = secret_rules.PLAIN.rule(f"choose another value and {command}")
            yield Problem(path=key, found="is in the file in plain text", rule=rule)
        elif not secret_rule.holds(written[key]):
            yield Problem(path=key, found="(not shown) is wrong", rule=secret_rule.rule(command))


def _kind(values: Mapping[str, object]) -> type[LocalFoundation | AwsFoundation] | None:
    """Return the settings class of the file's foundation kind; None if there is no such kind."""
    return KINDS.get(str(mapping(values.get("foundation")).get("kind")))


def _rest_of(values: Mapping[str, object]) -> Rest:
    foundation = mapping(values.get("foundation"))
    pools = foundation.get("node_pools")
    try:
        quotas = Quotas.model_validate(values.get("quotas", {}))
    except ValidationError:
        quotas = None
    return Rest(
        kind=str(foundation.get("kind")),
        bucket=_text(mapping(foundation.get("artifacts")).get("bucket")),
        public_load_balancers=_has_public_subnets(mapping(foundation.get("network"))),
        gpus_of_pools={name: _gpus_of(pool) for name, pool in mapping(pools).items()} or None,
        open_pools=[name for name, pool in mapping(pools).items() if _is_open(pool)] or None,
        expiry_of_pools={
            name: days
            for name, pool in mapping(pools).items()
            if foundation.get("kind") == "aws" and (days := _expiry(pool)) is not None
        },
        quotas=quotas,
        monitored=values.get("monitoring") is not None,
    )


def _has_public_subnets(network: Mapping[str, object]) -> bool:
    listed = network.get("public_subnet_ids", ())
    return network.get("kind") != "existing" or (isinstance(listed, list) and len(cast("list[object]", listed)) > 1)


def _gpus_of(pool: object) -> int | None:
    """Return the largest number of GPUs that a Job can request from a pool; None if the file's value is invalid."""
    gpu = mapping(pool).get("gpu")
    most = 0 if gpu is None else mapping(gpu).get("max")
    return most if isinstance(most, int) else None


def _is_open(pool: object) -> bool:
    return not (mapping(pool).get("gpu") or mapping(pool).get("training_only"))


def _expiry(pool: object) -> int | None:
    """Return the days after which nodes of an AWS pool expire; None if they do not, or the file's value is invalid."""
    default = AutoNodePool.model_fields["expire_after_days"].default
    days = mapping(pool).get("expire_after_days", default)
    if not isinstance(days, int) or mapping(pool).get("kind", "auto") != "auto":
        return None
    return days if 0 < days <= aws_rules.MAX_NODE_DAYS else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _rest(info: ValidationInfo) -> Rest:
    return info.context if isinstance(info.context, Rest) else Rest()


def _limits(quota: Quota) -> tuple[int, int, int]:
    return thousandths(quota.cpu), octets(quota.memory), quota.pods


def _open_pool(name: str, info: ValidationInfo) -> str:
    pools = _rest(info).open_pools
    if pools is not None and name not in pools:
        raise Rule(
            must="must name a pool of mlops:foundation.node_pools without GPUs and without training_only",
            because="no node would ever run the pods",
            instead=f"write {' or '.join(pools)}, or add the pool there",
        ).broken()
    return name


def _platform_pods(tracking: Tracking, info: ValidationInfo) -> list[tuple[int, int, int]]:
    """Return number, CPU and memory of the pods of MLflow and of a local stack's stores, during a release."""
    stores = len(LocalImages.model_fields) if _rest(info).kind == "local" else 0
    store = thousandths(stateful.CPU), octets(stateful.MEMORY)
    proxy = (thousandths(mlflow_identities.CPU), octets(mlflow_identities.MEMORY)) if tracking.authenticated else (0, 0)
    pod = thousandths(tracking.cpu) + proxy[0], octets(tracking.memory) + proxy[1]
    return [(2 * tracking.replicas + 1, *pod), (stores, *store)]


def _fits(section: str, quota: Quota, asked: Sequence[tuple[int, int, int]], key: str) -> None:
    """Raise the problem of pods that exceed a quota; `asked` has number, CPU and memory of each kind of pod.

    The number is twice that of the pods that answer requests. A release starts a new pod when the one before it is
    ready, and the quota counts each old pod until it has ended, which takes up to 80 seconds. If new pods are ready
    within that time, all old and all new pods count at its end.
    """
    demand = sum(n * cpu for n, cpu, _ in asked), sum(n * memory for n, _, memory in asked), sum(n for n, _, _ in asked)
    limits = _limits(quota)
    if any(each > limit for each, limit in zip(demand, limits, strict=True)):
        raise Rule(
            must=f"must fit mlops:quotas.{section} ({_amounts(*limits)})",
            because="a release needs room for the pods that start and for those that end, and the namespace would "
            "refuse pods",
            instead=f"lower {key} or the requests of one pod, or raise the quota",
        ).broken(f"{_amounts(*demand)} during a release")


def _amounts(cpu: int, memory: int, pods: int) -> str:
    return f"cpu {cpu_text(cpu)}, memory {memory_text(memory)}, pods {pods}"
