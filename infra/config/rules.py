"""Types of values in a stack file, each with its rule, the reason for it and what to write instead."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, ValidationError, core_schema

from contract.names import LONGEST_MODEL_NAME, MODEL_NAME
from infra.config import quantities


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Error message for every invalid value of a type; it is the last item of an `Annotated`.

    The message is "<path> <value>: <must>, because <because>; <instead>".
    """

    must: str
    """Allowed values, as in `must be a whole number`."""
    because: str
    """Reason for the rule."""
    instead: str
    """Instruction for the user."""

    def broken(self, found: str = "") -> PydanticCustomError:
        """Return the error to raise; the message shows `found`, if not empty, instead of pydantic's value."""
        words = {"must": self.must, "because": self.because, "instead": self.instead, "found": found}
        return PydanticCustomError("rule", "{must}", words)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        inside = handler(source)
        of_alternatives = inside["type"] == "union"  # pydantic reports one error for each alternative

        def check(value: object, inner: core_schema.ValidatorFunctionWrapHandler) -> object:
            try:
                return inner(value)
            except ValidationError as error:
                if of_alternatives or not any(detail["loc"] for detail in error.errors(include_url=False)):
                    raise self.broken() from None
                raise  # the error is about an inner value, which has its own rule

        return core_schema.no_info_wrap_validator_function(check, inside)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "description": f"{self.must[0].upper()}{self.must[1:]}, because {self.because}."}


def at_least(count: int) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """Return a validator of a list's length. Unlike `min_length`, it runs only if all entries are valid."""

    def check(values: tuple[str, ...]) -> tuple[str, ...]:
        if len(values) < count:
            raise ValueError(values)
        return values

    return check


def _immutable(image: str) -> str:
    tag = image.rpartition("/")[2].partition(":")[2]
    if tag in {"", "latest"}:
        raise ValueError(image)
    return image


def _no_validation(name: str) -> str:
    if name.endswith("-validation"):
        raise ValueError(name)
    return name


LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
HOST = rf"{LABEL}(\.{LABEL})*(:\d{{1,5}})?"

Version = Annotated[
    int,
    Field(strict=True, ge=1),
    Rule(
        must="must be a whole number of at least 1, without quotes",
        because="a release names exactly one registered version: an alias or `latest` can move under a running service",
        instead="write the number MLflow shows for the version, as in version: 3",
    ),
]
SERVICE = StringConstraints(pattern=MODEL_NAME, max_length=LONGEST_MODEL_NAME)
EndpointName = Annotated[
    str,
    SERVICE,
    Rule(
        must="must be a DNS label (RFC 1123) that begins with a letter: a-z, 0-9 and -, at most 63 characters",
        because="it names the Service, and so the host in the endpoint's URL",
        instead="rename it, as in churn-predictor",
    ),
]
JobName = Annotated[
    str,
    StringConstraints(pattern=rf"^{LABEL}$", max_length=41),
    AfterValidator(_no_validation),
    Rule(
        must="must be a DNS label (RFC 1123): a-z, 0-9 and -, at most 41 characters, that does not end in -validation",
        because="the validation CronJob is named NAME-validation, and a CronJob's name has at most 52 characters",
        instead="rename it, as in churn-weekly",
    ),
]
PoolName = Annotated[
    str,
    StringConstraints(pattern=rf"^{LABEL}$", max_length=40),
    Rule(
        must="must be a DNS label (RFC 1123): a-z, 0-9 and -, at most 40 characters",
        because="nodes are labelled with it",
        instead="rename it, as in cpu or gpu",
    ),
]
ModelName = Annotated[
    str,
    SERVICE,
    Rule(
        must="must be a DNS label (RFC 1123) that begins with a letter: a-z, 0-9 and -, at most 63 characters",
        because="the endpoint that serves the model, and its Service, have the model's name",
        instead="write the name of a model in MLflow's registry, as in model: churn-predictor",
    ),
]
Image = Annotated[
    str,
    StringConstraints(
        pattern=rf"^{HOST}(/[a-z0-9._-]+)+(:[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?$"
    ),
    AfterValidator(_immutable),
    Rule(
        must="must be a full image name with a tag other than latest, or with a digest",
        because="otherwise another image could run without a change of this file",
        instead="write registry/name:tag or registry/name@sha256:..., as the build printed it",
    ),
]
Commit = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{7,40}(-dirty)?$"),
    Rule(
        must="must be a git commit: 7 to 40 hexadecimal digits, in quotes",
        because="each model version is tagged with it and found by it",
        instead="write the output of `git rev-parse HEAD` at the build of the training image, or leave the key out; "
        "with pulumi config set add --type string",
    ),
]
Cpu = Annotated[
    str,
    BeforeValidator(quantities.cpu),
    WithJsonSchema({"type": ["string", "number"], "examples": ["500m", 0.5, 2]}),
    Rule(
        must="must be an amount of CPU above 0: CPUs or thousandths",
        because="the scheduler reserves this amount",
        instead="write it as in 500m, 0.5 or 2",
    ),
]
Memory = Annotated[
    str,
    BeforeValidator(quantities.memory),
    WithJsonSchema({"type": "string", "pattern": r"^[1-9]\d{0,6}(Ki|Mi|Gi|Ti)$", "examples": ["512Mi", "1Gi"]}),
    Rule(
        must="must be an amount of memory with a binary unit: Ki, Mi, Gi or Ti",
        because="without a unit it means bytes, with m thousandths of a byte; a container that exceeds it is killed",
        instead="write it as in 512Mi or 1Gi",
    ),
]
Dataset = Annotated[
    str,
    StringConstraints(pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^/\s]\S*|file:///\S+)$"),
    Rule(
        must="must be the URI of one file: s3://bucket/key or file:///path",
        because="the Job reads it from inside its container",
        instead="write it as in s3://mlops-artifacts/datasets/churn.csv",
    ),
]
Minutes = Annotated[
    int,
    Field(strict=True, ge=1, le=7 * 24 * 60),
    Rule(
        must="must be a whole number of minutes from 1 to 10080 (a week)",
        because="a run that hangs occupies a node, which costs money, until this deadline",
        instead="write the longest time that a good run takes, as in deadline_minutes: 60",
    ),
]
Retries = Annotated[
    int,
    Field(strict=True, ge=0, le=10),
    Rule(
        must="must be a whole number from 0 to 10",
        because="a run that has failed ten times will fail again",
        instead="write 1, or 0 to stop at the first failure",
    ),
]
Gpus = Annotated[
    int,
    Field(strict=True, ge=1, le=16),
    Rule(
        must="must be a whole number from 1 to 16",
        because="a container gets whole GPUs, and no node has more than 16",
        instead="write it as in gpus: 2, or leave the key out for one GPU on a pool with GPUs and none elsewhere",
    ),
]
Replicas = Annotated[
    int,
    Field(strict=True, ge=1, le=1000),
    Rule(
        must="must be a whole number from 1 to 1000",
        because="without a pod, no request is answered",
        instead="write 2 or more to survive the loss of a node; remove the entry to stop serving",
    ),
]
Workers = Annotated[
    int,
    Field(strict=True, ge=1, le=32),
    Rule(
        must="must be a whole number from 1 to 32",
        because="each worker is a process of the MLflow server and needs about 400 MB",
        instead="write it as in workers: 2, and raise memory too",
    ),
]
Pods = Annotated[
    int,
    Field(strict=True, ge=1, le=100_000),
    Rule(
        must="must be a whole number from 1 to 100000",
        because="it is the largest number of pods in one namespace",
        instead="write it as in pods: 50",
    ),
]
StartupSeconds = Annotated[
    int,
    Field(strict=True, ge=5, le=3600),
    Rule(
        must="must be a whole number of seconds from 5 to 3600",
        because="a release fails when a pod is not ready after this time (model fetched, loaded and answering)",
        instead="write 45 for a small model, and more for a large one or if new nodes must start first",
    ),
]
DrainSeconds = Annotated[
    int,
    Field(strict=True, ge=1, le=300),
    Rule(
        must="must be a whole number of seconds from 1 to 300",
        because="a terminating pod must answer until every proxy and load balancer has stopped sending requests",
        instead="write 5 without a load balancer, 20 with one",
    ),
]
Share = Annotated[
    float,
    Field(strict=True, gt=0, le=1),
    BeforeValidator(quantities.number),
    Rule(
        must="must be a number above 0 and at most 1",
        because="it is the share of the requests that is logged",
        instead="write sample: 1.0 for all of them, or leave prediction_log out to log none",
    ),
]
ColumnName = Annotated[
    str,
    StringConstraints(pattern=r"^\S(.*\S)?$"),
    Rule(
        must="must be the name of a column",
        because="its values are never written",
        instead="write it as the model's signature has it, as in redact: [name, email]",
    ),
]
SpoolMebibytes = Annotated[
    int,
    Field(strict=True, ge=8, le=65_536),
    Rule(
        must="must be a whole number of MiB from 8 to 65536",
        because="this much of the prediction log may wait on the node; further records are lost and counted",
        instead="write it as in spool_mib: 256",
    ),
]
Truth = Annotated[
    bool,
    Field(strict=True),
    Rule(
        must="must be true or false",
        because="the key switches something on or off",
        instead="write true or false, without quotes",
    ),
]
Gibibytes = Annotated[
    int,
    Field(strict=True, ge=1, le=16_384),
    Rule(
        must="must be a whole number of GiB from 1 to 16384",
        because="a volume of this size is created",
        instead="write it as in storage_gib: 5",
    ),
]
Host = Annotated[
    str,
    StringConstraints(pattern=rf"^{HOST}$"),
    Rule(
        must="must be a host name or an address, with a port or without",
        because="MLflow compares it with the Host header of a request and answers 403 when no entry is equal",
        instead="write the part of the URL between // and the next /, as in localhost:5000",
    ),
]
Context = Annotated[
    str,
    StringConstraints(pattern=r"^\S+$"),
    Rule(
        must="must name a context of the kubeconfig",
        because="the current context may be another cluster at the next run",
        instead="choose one that `kubectl config get-contexts` lists",
    ),
]
LabelKey = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"),
    Rule(
        must="must be a label's key",
        because="pods are scheduled on the nodes that have it",
        instead="choose one that `kubectl get nodes --show-labels` lists",
    ),
]
LabelValue = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"),
    Rule(
        must="must be a label's value, a text (in quotes if YAML reads it as a number or a truth value)",
        because="pods are scheduled on the nodes that have it",
        instead='choose one that `kubectl get nodes --show-labels` lists, "" for an empty one; '
        "with pulumi config set add --type string",
    ),
]
GpuKind = Annotated[
    Literal["nvidia"],
    Rule(
        must="must be nvidia",
        because="it decides which resource pods request, and the program sets up no other drivers",
        instead="write kind: nvidia",
    ),
]

QuotaGpus = Annotated[
    int,
    Field(strict=True, ge=0, le=1000),
    Rule(must="must be a whole number from 0 to 1000", because="GPUs cost the most", instead="write it as in gpus: 4"),
]

SOME_LABELS = Rule(
    must="must be one label or more",
    because="a pool without labels would select every node",
    instead="write labels that `kubectl get nodes --show-labels` lists, as in labels: {mlops/node-pool: cpu}",
)
SOME_POOLS = Rule(
    must="must be a mapping of one pool or more",
    because="training Jobs name the pool they run on",
    instead="write node_pools: {cpu: {labels: {mlops/node-pool: cpu}}}",
)
