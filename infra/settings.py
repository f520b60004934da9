"""The stack file as one frozen tree, and the only reader of Pulumi's configuration.

A key of the file, an attribute of the tree and a name in an error message are the same string. Secrets are no part of
the tree: `secret` hands them on as outputs.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, cast

import pulumi
from pulumi.runtime.config import CONFIG, is_config_secret
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from components import prediction_log
from infra import aws_rules, parameters, problems, rules, secret_rules, training_rules, training_settings
from infra import written as written_numbers
from infra.aws_settings import AwsFoundation, Ingress, TrackingIngress
from infra.endpoint_settings import Autoscaling, Example, ModelCache, ModelMib, Tracing
from infra.model import Model
from infra.problems import PREFIX, Problem
from infra.quantities import cpu_text, memory_text, octets, thousandths
from infra.rules import Rule
from infra.secret_rules import SecretRule
from infra.validation_settings import Validation


class Gpu(Model):
    """GPUs of a pool's nodes; `max` is how many one Job may ask for."""

    kind: rules.GpuKind
    max: rules.Gpus


class LocalNodePool(Model):
    """Nodes that are there already, found by their labels. Those with GPUs carry a taint named as their resource."""

    labels: Annotated[dict[rules.LabelKey, rules.LabelValue], Field(min_length=1), rules.SOME_LABELS]
    gpu: Gpu | None = None


class LocalImages(Model):
    """Images of what stands in for a cloud's stores."""

    postgres: rules.Image
    s3_gateway: rules.Image


class LocalFoundation(Model):
    """Any Kubernetes cluster: Postgres and an S3 gateway run inside it, each on a volume of `storage_gib`."""

    secrets: ClassVar[Mapping[str, SecretRule]] = {
        "database_password": secret_rules.PASSWORD,
        "artifact_store_access_key": secret_rules.ACCESS_KEY,
        "artifact_store_secret_key": secret_rules.SECRET_KEY,
    }
    kind: Literal["local"]
    context: rules.Context
    storage_gib: rules.Gibibytes = 5
    images: LocalImages
    node_pools: Annotated[dict[rules.PoolName, LocalNodePool], Field(min_length=1), rules.SOME_POOLS]


Foundation = Annotated[LocalFoundation | AwsFoundation, Field(discriminator="kind")]
"""Another kind is a class joined here, and a module in infra/foundation.py."""

GPU_RESOURCES = {"nvidia": "nvidia.com/gpu"}

KINDS: Mapping[str, type[LocalFoundation | AwsFoundation]] = {"local": LocalFoundation, "aws": AwsFoundation}


class Images(Model):
    """What runs. `training_commit` is the commit that the training image was built from.

    It changes with that image alone: were it the checkout's latest commit, a commit to anything would train every
    model again.
    """

    tracking: rules.Image
    training: rules.Image
    serving: rules.Image
    training_commit: rules.Commit | None = None


class Quota(Model):
    """The most that the pods of a namespace ask for together; and what a container gets that does not say."""

    cpu: rules.Cpu
    memory: rules.Memory
    pods: rules.Pods
    container_cpu: rules.Cpu = "100m"
    container_memory: rules.Memory = "256Mi"


class GpuQuota(Quota):
    """The same, with GPUs."""

    gpus: rules.QuotaGpus


class Quotas(Model):
    """Of mlops-platform, ml-training and ml-serving."""

    platform: Quota = Quota(cpu="8", memory="16Gi", pods=40)
    training: GpuQuota = GpuQuota(cpu="64", memory="256Gi", pods=100, gpus=8)
    serving: Quota = Quota(cpu="128", memory="512Gi", pods=500)


class Tracking(Model):
    """The MLflow server. `allowed_hosts` adds to the names that it has inside the cluster."""

    replicas: rules.Replicas = 2
    workers: rules.Workers = 1
    cpu: rules.Cpu = "100m"
    memory: rules.Memory = "1Gi"
    allowed_hosts: tuple[rules.Host, ...] = ()
    ingress: TrackingIngress | None = None

    @field_validator("ingress")
    @classmethod
    def _where_load_balancers_are(cls, way: TrackingIngress | None, info: ValidationInfo) -> TrackingIngress | None:
        if way and _rest(info).kind == "local":
            raise aws_rules.INGRESS_NEEDS_AWS.broken(way.host)
        return way


@dataclass(frozen=True)
class Rest:
    """What the rest of the file says, as far as it is right: some rules are about two sections."""

    kind: str = ""
    bucket: str | None = None
    public_load_balancers: bool = True
    gpus_of_pools: Mapping[str, int | None] | None = None
    quotas: Quotas | None = None


class Training(Model):
    """Trained once, and again when anything of it changes; or, with `schedule`, whenever the time comes.

    `image` and `command` replace what is common to all, and `parameter_schema` is then the JSON Schema that checks
    `parameters`; `priority_class` and `service_account` are in the cluster already.
    """

    project: training_rules.ProjectName | None = Field(None, description="The entry's own name where it is left out.")
    model: rules.ModelName
    image: rules.Image | None = None
    command: Annotated[list[training_rules.Word], Field(min_length=1), training_rules.NO_WORD] | None = None
    dataset: rules.Dataset
    node_pool: rules.PoolName
    parameter_schema: training_rules.SchemaFile | None = None
    parameters: dict[training_rules.ParameterName, training_settings.ParameterValue] = Field(default_factory=dict)
    cpu: rules.Cpu = "500m"
    memory: rules.Memory = "1Gi"
    ephemeral_storage: training_rules.EphemeralStorage = "2Gi"
    gpus: rules.Gpus | None = None
    deadline_minutes: rules.Minutes
    retries: rules.Retries = 1
    priority_class: training_rules.ObjectName | None = None
    service_account: training_rules.ObjectName | None = None
    schedule: training_settings.Schedule | None = Field(None, json_schema_extra=training_settings.or_text)
    sweep: training_settings.Sweep | None = None
    validation: Validation = Validation()

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
            enough = [name for name, there in pools.items() if there is not None and there >= (gpus or 0)]
            raise Rule(
                must=f"must be at most {most}, the max of pool {pool}" if most else f"must be left out on pool {pool}",
                because="no node of the pool has as many GPUs" if most else "its nodes have no GPU",
                instead=f"choose node_pool: {enough[0]}" if enough else "ask for fewer, or add a pool that has them",
            ).broken()
        return gpus or (1 if most else None)

    @field_validator("cpu", "memory")
    @classmethod
    def _within_the_quota(cls, amount: str, info: ValidationInfo) -> str:
        if quotas := _rest(info).quotas:
            key, size = ("cpu", thousandths) if info.field_name == "cpu" else ("memory", octets)
            limit = quotas.training.cpu if key == "cpu" else quotas.training.memory
            if size(amount) > size(limit):
                raise Rule(
                    must=f"must be at most {limit}, mlops:quotas.training.{key}",
                    because="the namespace would refuse the pod",
                    instead="ask for less, or raise the quota",
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
                    f"{pods} pods at once with {_amounts(*asked)}" + f", gpus {gpus}" * bool(gpus)
                )
        return sweep

    @field_validator("validation")
    @classmethod
    def _one_pod_within_the_quota(cls, validation: Validation, info: ValidationInfo) -> Validation:
        if quotas := _rest(info).quotas:
            memory = validation.memory or "1Ki"  # else the run's own, which is within
            asked, limit = (thousandths(validation.cpu), octets(memory)), quotas.training
            if asked[0] > thousandths(limit.cpu) or asked[1] > octets(limit.memory):
                raise training_rules.VALIDATION_WITHIN_QUOTA.broken(f"cpu {validation.cpu}, memory {validation.memory}")
        return validation


class ReplicaRange(Model):
    """How few and how many pods serve, by load."""

    min: rules.Replicas
    max: rules.Replicas

    @field_validator("max")
    @classmethod
    def _not_below_min(cls, most: int, info: ValidationInfo) -> int:
        if (fewest := info.data.get("min", 0)) > most:
            raise Rule(
                must=f"must be at least {fewest}, the value of min",
                because="between them the autoscaler chooses",
                instead=f"write max: {fewest} or more, or a lower min",
            ).broken()
        return most


class PredictionLog(Model):
    """What was asked and answered, as Parquet under predictions/ in the artifact store's bucket.

    `spool_mib` may wait on a pod's node while the store does not answer.
    """

    sample: rules.Share = 1.0
    redact: tuple[rules.ColumnName, ...] = ()
    spool_mib: rules.SpoolMebibytes = 256


class Endpoint(Model):
    """One version of one registered model, served under the model's name."""

    version: rules.Version
    replicas: ReplicaRange = ReplicaRange(min=2, max=4)
    cpu: rules.Cpu = "100m"
    memory: rules.Memory = "1Gi"
    autoscaling: Autoscaling = Autoscaling()
    model_mib: ModelMib | None = None
    startup_seconds: rules.StartupSeconds | None = Field(
        None, description="45, and one more for each 20 MiB of model_mib, where it is left out."
    )
    drain_seconds: rules.DrainSeconds = 5
    example: Example = "require"
    rollback_on_failure: rules.Truth = False
    ingress: Ingress | None = None
    prediction_log: PredictionLog | None = None
    tracing: Tracing | None = None

    @property
    def pod(self) -> tuple[int, int]:
        """CPU in thousandths and memory in bytes that a pod of it asks for."""
        log = self.prediction_log is not None
        cpu = thousandths(self.cpu) + log * thousandths(prediction_log.CPU)
        return cpu, octets(self.memory) + log * octets(prediction_log.MEMORY)

    @property
    def seconds_to_start(self) -> int:
        """How long a pod may take to fetch the model, load it and answer.

        Kubernetes wants the number before anything knows the model, so its size is told here. That 20 MiB a second
        come from the store and from the disk is assumed: what is slower is taken for broken.
        """
        return self.startup_seconds or min(3600, 45 + math.ceil((self.model_mib or 0) / 20))

    @field_validator("model_mib")
    @classmethod
    def _within_the_memory(cls, mib: int | None, info: ValidationInfo) -> int | None:
        memory = info.data.get("memory")
        if mib and memory and mib << 20 >= octets(memory):
            raise Rule(
                must=f"must be below memory, {memory}",
                because="the model is loaded into it",
                instead="raise memory to what the model takes, and to a part more for requests",
            ).broken()
        return mib

    @field_validator("ingress")
    @classmethod
    def _where_load_balancers_are(cls, way: Ingress | None, info: ValidationInfo) -> Ingress | None:
        if way and _rest(info).kind == "local":
            raise aws_rules.INGRESS_NEEDS_AWS.broken(way.host)
        if way and way.scheme == "public" and not _rest(info).public_load_balancers:
            raise aws_rules.PUBLIC_SUBNETS.broken(way.host)
        if way and (drain := info.data.get("drain_seconds", aws_rules.LEAST_DRAIN)) < aws_rules.LEAST_DRAIN:
            raise aws_rules.TIME_TO_LOOK_AWAY.broken(f"beside drain_seconds: {drain}")
        return way


class Settings(Model):
    """A stack."""

    foundation: Foundation
    images: Images
    quotas: Quotas = Quotas()
    tracking: Tracking = Tracking()
    training: dict[rules.JobName, Training] = Field(default_factory=dict)
    model_cache: ModelCache | None = None
    endpoints: dict[rules.EndpointName, Endpoint] = Field(default_factory=dict)

    @field_validator("endpoints")
    @classmethod
    def _all_within_the_quota(cls, endpoints: dict[str, Endpoint], info: ValidationInfo) -> dict[str, Endpoint]:
        quotas = _rest(info).quotas
        demand = _demand(endpoints.values())
        if quotas and any(asked > limit for asked, limit in zip(demand, _limits(quotas.serving), strict=True)):
            raise Rule(
                must=f"must fit mlops:quotas.serving ({_amounts(*_limits(quotas.serving))})",
                because="the namespace would refuse pods in the middle of a release or of a peak",
                instead="lower replicas.max or what one pod asks for, or raise the quota",
            ).broken(f"{_amounts(*demand)} at the peak")
        return endpoints


def read() -> Settings:
    """The settings of the current stack. pulumi.RunError with every problem of its file, one a line, if it has any."""
    written = {key.removeprefix(PREFIX): text for key, text in CONFIG.get().items() if key.startswith(PREFIX)}
    values = {key: _parsed(text) for key, text in written.items() if key in Settings.model_fields}
    found = [*_unknown_keys(written, values), *_problems_of_secrets(written, values)]
    training, file = None if is_config_secret(f"{PREFIX}training") else values.get("training"), _stack_file()
    of_parameters = list(parameters.problems(training, file))
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    misread = problems.apart_from(of_parameters, written_numbers.misread(text, values))
    try:
        settings = Settings.model_validate(values, context=_rest_of(values))
    except ValidationError as error:
        readable = [problem for problem in problems.of(error, Settings) if not is_config_secret(problem.key)]
        more = problems.apart_from(readable, [*of_parameters, *misread])
        raise problems.refusal([*readable, *more, *found]) from None
    if found := [*of_parameters, *misread, *found]:
        raise problems.refusal(found)
    return settings


def _stack_file() -> Path:
    """The stack file beside Pulumi.yaml; it need not be there (`--config-file` names another)."""
    here = Path.cwd()  # Pulumi starts the program in its own folder, and may not tell where the project is
    root = next((folder for folder in (here, *here.parents) if (folder / "Pulumi.yaml").is_file()), here)
    return root / f"Pulumi.{pulumi.get_stack()}.yaml"


def secret(key: str) -> pulumi.Output[str]:
    """The value of `mlops:<key>`, marked as secret wherever it goes."""
    return pulumi.Config(PREFIX.rstrip(":")).require_secret(key)


def _parsed(text: str) -> object:
    """Pulumi hands over mappings and lists as JSON, all else as it stands in the file."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _unknown_keys(written: Mapping[str, str], values: Mapping[str, object]) -> Iterator[Problem]:
    kind = _kind(values)
    secrets = {key for each in ([kind] if kind else KINDS.values()) for key in each.secrets}
    known = Settings.model_fields.keys() | secrets
    for key in sorted(written.keys() - known):
        yield Problem(path=key, found="is unknown", rule=problems.unknown_key(key, known))


def _problems_of_secrets(written: Mapping[str, str], values: Mapping[str, object]) -> Iterator[Problem]:
    """Missing, weak, in plain text, or where they do not belong."""
    for key in values:
        if is_config_secret(PREFIX + key):
            rule = secret_rules.NO_SECRET.rule("write the value without --secret")
            yield Problem(path=key, found="holds a secret", rule=rule)
    if (kind := _kind(values)) is None:
        return
    for key, secret_rule in kind.secrets.items():
        command = f"run pulumi config set --secret {PREFIX}{key}"
        if key not in written:
            yield Problem(path=key, found="is missing", rule=secret_rule.rule(command))
        elif not is_config_secret(PREFIX + key):
            rule = secret_rules.PLAIN.rule(f"choose another value and {command}")
            yield Problem(path=key, found="stands in the file in plain text", rule=rule)
        elif not secret_rule.holds(written[key]):
            yield Problem(path=key, found="(not shown) is wrong", rule=secret_rule.rule(command))


def _kind(values: Mapping[str, object]) -> type[LocalFoundation | AwsFoundation] | None:
    """The kind of foundation that the file names, right or wrong in the rest; None where the name is wrong."""
    return KINDS.get(str(_mapping(values.get("foundation")).get("kind")))


def _rest_of(values: Mapping[str, object]) -> Rest:
    foundation = _mapping(values.get("foundation"))
    pools = foundation.get("node_pools")
    try:
        quotas = Quotas.model_validate(values.get("quotas", {}))
    except ValidationError:
        quotas = None
    return Rest(
        kind=str(foundation.get("kind")),
        bucket=_text(_mapping(foundation.get("artifacts")).get("bucket")),
        public_load_balancers=_has_public_subnets(_mapping(foundation.get("network"))),
        gpus_of_pools={name: _gpus_of(pool) for name, pool in _mapping(pools).items()} or None,
        quotas=quotas,
    )


def _has_public_subnets(network: Mapping[str, object]) -> bool:
    listed = network.get("public_subnet_ids", ())
    return network.get("kind") != "existing" or (isinstance(listed, list) and len(cast("list[object]", listed)) > 1)


def _gpus_of(pool: object) -> int | None:
    """The most GPUs that a Job can ask of it; None where the file itself is wrong about that."""
    gpu = _mapping(pool).get("gpu")
    most = 0 if gpu is None else _mapping(gpu).get("max")
    return most if isinstance(most, int) else None


def _mapping(value: object) -> Mapping[str, object]:
    """What JSON made of a mapping; empty for anything else."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _rest(info: ValidationInfo) -> Rest:
    return info.context if isinstance(info.context, Rest) else Rest()


def _limits(quota: Quota) -> tuple[int, int, int]:
    return thousandths(quota.cpu), octets(quota.memory), quota.pods


def _demand(endpoints: Iterable[Endpoint]) -> tuple[int, int, int]:
    """CPU, memory and pods with every endpoint at its maximum and one pod more: a release starts it first."""
    asked = [(e.replicas.max + 1, *e.pod) for e in endpoints]
    return sum(n * cpu for n, cpu, _ in asked), sum(n * memory for n, _, memory in asked), sum(n for n, _, _ in asked)


def _amounts(cpu: int, memory: int, pods: int) -> str:
    return f"cpu {cpu_text(cpu)}, memory {memory_text(memory)}, pods {pods}"
