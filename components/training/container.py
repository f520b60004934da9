"""The one container of a training run: its environment is the contract with training/settings.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input

from components import pods
from components.foundation import ArtifactStore, Grant, NodePool
from components.training import sweep
from components.training.sweep import Scalar, Sweep
from contract import names

NAME = "train"


@dataclass(frozen=True, kw_only=True)
class SecretValue:
    """A parameter's value that stands under `key` in the Secret `secret` of the Job's namespace."""

    secret: str
    key: str


@dataclass(frozen=True, kw_only=True)
class TrainingContainerArgs:
    """`model` is the registry's name for what comes out; `command` replaces the image's own, unless it is empty.

    `commit` is what `image` was built from, None where that is not known. A run that writes more than
    `ephemeral_storage` is evicted.
    """

    image: str
    commit: str | None
    command: Sequence[str]
    project: str
    model: str
    dataset: str
    parameters: Mapping[str, Scalar | SecretValue]
    cpu: str
    memory: str
    ephemeral_storage: str
    gpus: int
    pool_name: str
    pool: NodePool
    retries: int
    sweep: Sweep | None
    tracking_url: Input[str]
    artifact_store: ArtifactStore
    grant: Grant


def container(name: str, urn: Input[str], args: TrainingContainerArgs) -> k8s.core.v1.ContainerArgsDict:
    """`name` is the training job's in the stack file, `urn` that of the object whose Jobs it runs in."""
    devices = {args.pool.gpu_resource: str(args.gpus)} if args.pool.gpu_resource and args.gpus else {}
    disk = {"ephemeral-storage": args.ephemeral_storage}
    made: k8s.core.v1.ContainerArgsDict = {
        "name": NAME,
        "image": args.image,
        "env": _environment(name, urn, args),
        "env_from": pods.secret_environment(args.grant),
        "resources": pods.resources(args.cpu, args.memory, **disk, **devices),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
        "volume_mounts": [pods.TMP],
    }
    if args.command:
        made["command"] = args.command
    return made


def _environment(name: str, urn: Input[str], args: TrainingContainerArgs) -> list[k8s.core.v1.EnvVarArgsDict]:
    plain = {key: value for key, value in args.parameters.items() if not isinstance(value, SecretValue)}
    values: dict[str, Input[str]] = {
        **({"GIT_COMMIT": args.commit} if args.commit else {}),
        **({"SWEEP": literal(sweep.told(args.sweep, args.retries))} if args.sweep else {}),
        "DATASET": literal(args.dataset),
        "EXPERIMENT": args.model,
        "IMAGE": args.image,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": args.tracking_url,
        "MODEL": args.model,
        "NODE_POOL": args.pool_name,
        names.PARAMETERS: literal(json.dumps(plain, sort_keys=True)),
        "PROJECT": args.project,
        "PULUMI_URN": urn,
        "STACK": pulumi.get_stack(),
        "TRAINING_JOB": name,
        **args.artifact_store.environment,
    }
    return [*pods.environment(values), *_of_the_pod(args.sweep), *_secrets(args.parameters)]


def literal(text: str) -> str:
    """The text as the container shall see it: Kubernetes reads $(NAME) as a variable, and $$ as a dollar."""
    return text.replace("$", "$$")


def _of_the_pod(sweep: Sweep | None) -> list[k8s.core.v1.EnvVarArgsDict]:
    """What only Kubernetes knows, and only when it makes the pod."""
    fields = {"JOB_NAME": "metadata.labels['batch.kubernetes.io/job-name']"}
    if sweep:
        fields["INDEX_FAILURES"] = "metadata.annotations['batch.kubernetes.io/job-index-failure-count']"
    return [{"name": name, "value_from": {"field_ref": {"field_path": path}}} for name, path in fields.items()]


def _secrets(parameters: Mapping[str, Scalar | SecretValue]) -> list[k8s.core.v1.EnvVarArgsDict]:
    return [
        {
            "name": "PARAMETER_" + key.upper(),
            "value_from": {"secret_key_ref": {"name": value.secret, "key": value.key}},
        }
        for key, value in sorted(parameters.items())
        if isinstance(value, SecretValue)
    ]
