"""Container of a training run; training/settings.py reads its environment variables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input

from components import pods
from components.foundation import ArtifactStore, Grant, NodePool
from components.mlflow_identities import ClientProxy
from components.training import sweep
from components.training.sweep import Scalar, Sweep
from contract import names, script

NAME = "train"
SHARED_MEMORY: k8s.core.v1.VolumeMountArgsDict = {"name": "shared-memory", "mount_path": "/dev/shm"}


@dataclass(frozen=True, kw_only=True)
class SecretValue:
    """Parameter whose value is in a Secret of the Job's namespace."""

    secret: str
    """Name of the Secret."""
    key: str
    """Key of the value in the Secret."""


@dataclass(frozen=True, kw_only=True)
class TrainingContainerArgs:
    """Settings of the container that trains a model."""

    image: str
    """Training image."""
    commit: str | None
    """Git commit from which the image was built; None if unknown."""
    command: Sequence[str]
    """Command that replaces the image's own; empty to keep it."""
    is_script: bool = False
    """True if `command` runs a team's own script. It reads each parameter from an environment variable, and registers
    its model itself."""
    project: str
    """Name of the project with the model's code (training/projects/)."""
    model: str
    """Name under which the model is registered."""
    dataset: str
    """URI of the table to train on."""
    parameters: Mapping[str, Scalar | SecretValue]
    """Parameters of the model's code."""
    cpu: str
    """CPU request, as a Kubernetes quantity."""
    memory: str
    """Memory request and limit, as a Kubernetes quantity."""
    ephemeral_storage: str
    """Disk request and limit, as a Kubernetes quantity; Kubernetes evicts a pod that writes more."""
    gpus: int
    """Number of GPUs."""
    shared_memory: str | None = None
    """Size of /dev/shm, which counts as the container's memory; None for the container runtime's 64 MiB."""
    queue: str | None = None
    """Kueue's LocalQueue that admits the Jobs; None for none."""
    pool_name: str
    """Name of the node pool in the stack file."""
    pool: NodePool
    """Node pool on which the run is scheduled."""
    retries: int
    """Number of further attempts after a run, or a point of a sweep, has failed."""
    sweep: Sweep | None
    """Sweep over several points; None for a single run."""
    tracking_url: Input[str]
    """URL of MLflow as the container reaches it."""
    tracking_proxy: ClientProxy | None = None
    """Proxy that adds the pod's token to requests to MLflow; None if MLflow needs no token."""
    artifact_store: ArtifactStore
    """Bucket of datasets and models."""
    grant: Grant
    """Namespace and identity of the pods."""


def container(name: str, urn: Input[str], args: TrainingContainerArgs) -> k8s.core.v1.ContainerArgsDict:
    """Return the container of the training job `name`; `urn` is that of its Job or CronJob."""
    devices = {args.pool.gpu_resource: str(args.gpus)} if args.pool.gpu_resource and args.gpus else {}
    disk = {"ephemeral-storage": args.ephemeral_storage}
    spec: k8s.core.v1.ContainerArgsDict = {
        "name": NAME,
        "image": args.image,
        "env": _environment(name, urn, args),
        "env_from": pods.secret_environment(args.grant),
        "resources": pods.resources(args.cpu, args.memory, **disk, **devices),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
        "volume_mounts": [pods.TMP, *([SHARED_MEMORY] if args.shared_memory else [])],
    }
    if args.command:
        spec["command"] = args.command
    return spec


def _environment(name: str, urn: Input[str], args: TrainingContainerArgs) -> list[k8s.core.v1.EnvVarArgsDict]:
    plain = {key: value for key, value in args.parameters.items() if not isinstance(value, SecretValue)}
    values: dict[str, Input[str]] = {
        **({"GIT_COMMIT": args.commit} if args.commit else {}),
        **({"GPUS": str(args.gpus)} if args.gpus else {}),
        **({"SWEEP": literal(sweep.as_json(args.sweep, args.retries))} if args.sweep else {}),
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
    if args.is_script:
        values |= {script.EXPERIMENT: args.model}
        values |= {name.upper(): literal(script.parameter(value)) for name, value in plain.items()}
        # Kubernetes replaces $(NAME) only with variables that come earlier in the list.
        context: k8s.core.v1.EnvVarArgsDict = {"name": script.CONTEXT, "value": script.run_context()}
        return [*pods.environment(values), *_pod_fields(None), *_secrets(args.parameters), context]
    return [*pods.environment(values), *_pod_fields(args.sweep), *_secrets(args.parameters)]


def literal(text: str) -> str:
    """Return the text escaped for a container's environment, where Kubernetes replaces $(NAME) and reads $$ as $."""
    return text.replace("$", "$$")


def _pod_fields(sweep: Sweep | None) -> list[k8s.core.v1.EnvVarArgsDict]:
    """Return environment variables whose values Kubernetes sets when it creates the pod."""
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
