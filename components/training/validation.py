"""CronJob that validates new versions of a model: it runs the training image's code in the serving image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from zlib import crc32

import pulumi_kubernetes as k8s
from pulumi import Input, Output

from components import pods
from components.foundation import Grant
from components.mlflow_identities import PROXY, add_proxy
from components.training.container import TrainingContainerArgs, literal
from components.training.same_pod import DIGEST, Free
from components.training.schedule import Schedule, cron_job
from contract import names

NAME = "validate"
CODE = "code"
"""Name of the container that copies the code, which needs no credentials, and of its volume."""
MINUTES_BETWEEN = 15
"""Minutes between two starts of a validation without its own schedule."""
COPY = """\
if [ -f /app/training/validate.py ]; then
  # The training image of a former release lacks some packages, and needs none of them.
  for package in contract onnx_estimators training; do
    [ ! -d /app/$package ] || cp -R /app/$package /code/ || exit
  done
  exit
fi
echo "image {image} has no /app/training/validate.py, so what it trains cannot be validated: build it from the \
training image, or write validation: {{enabled: false}} under mlops:training.{name}" >&2
exit 2
"""
"""Script that copies the code of the training image to the volume of the validation's container."""


@dataclass(frozen=True, kw_only=True)
class ValidationArgs:
    """Settings of the validation of one training job's versions."""

    image: str
    """Image whose packages validate: the serving image, or another one with the model server's packages."""
    takes_image_of_version: bool
    """True: `mlops validate` uses the image that the registry records for a version, if it records one. The schedule
    does not validate such a version, because a CronJob has one image. False: every version is validated in `image`.
    """
    enabled: bool
    """Whether the schedule starts validations; otherwise only `mlops validate` does."""
    cron: str | None
    """Start times in UTC, as a cron expression; None for every MINUTES_BETWEEN minutes."""
    cpu: str
    """CPU request, as a Kubernetes quantity."""
    memory: str
    """Memory request and limit, as a Kubernetes quantity."""
    ephemeral_storage: str
    """Disk request and limit, as a Kubernetes quantity; Kubernetes evicts a pod that writes more."""
    deadline_minutes: int
    """Minutes within which a validation must end."""
    limits: Mapping[str, Any]
    """Limits that differ from the defaults of training/validation/limits.py."""
    endpoint: str | None
    """URL of the endpoint that serves the model, None if no endpoint does; the version that it serves is the champion.

    The validation asks the endpoint for its version. Were the version written here, each release would change the
    CronJob too.
    """
    allow_code: bool
    """True: a version is loaded even if loading runs code from its files, as with pickles. False: it is refused."""
    grant: Grant
    """Namespace and identity of the pods."""
    code_image: str | None = None
    """Training image whose code validates; None for the image of the run."""


def validation_cron_job(
    name: str, args: ValidationArgs, training: TrainingContainerArgs
) -> k8s.batch.v1.CronJobSpecArgsDict:
    """Return a CronJob that validates the newest version of the training job `name` that has no result yet."""
    schedule = Schedule(
        cron=args.cron or _spread(name),
        time_zone="Etc/UTC",
        suspend=not args.enabled,
        keep_succeeded=3,
        keep_failed=3,
    )
    job_labels = {**labels(name), names.MANAGED_BY: "cronjob"}
    pod: k8s.core.v1.PodSpecArgsDict = {
        # It selects no node pool: it measures the version's latency, so it runs on the same nodes as servers.
        **pods.hardened(_validate(name, args, training)),
        "service_account_name": args.grant.service_account,
        "restart_policy": "Never",
        "init_containers": [_copy(name, args, args.code_image or training.image)],
        "volumes": [pods.scratch("tmp", args.ephemeral_storage), pods.scratch(CODE, "64Mi")],
    }
    if training.tracking_proxy:
        add_proxy(pod, training.tracking_proxy)
    without = [CODE, *([PROXY] if training.tracking_proxy else [])]
    return cron_job(schedule, {"metadata": {"labels": job_labels}, "spec": _job(job_labels, args, pod, without)})


ENDPOINT = rf"http://[-a-z0-9]+\.{names.SERVING}(:[0-9]+)?"
OWN = rf"{DIGEST}|:own-[-.\w]+"
"""Images that `mlops image` records for a version; `model_preview.images.is_of_platform` accepts the same."""


def free(args: ValidationArgs) -> Free:
    """Return what `mlops validate` changes in a Job: the version, the endpoint that it tests, and a version's image."""
    return Free(
        arguments=(["[0-9]+"], ["[0-9]+", "--endpoint", ENDPOINT]), image=OWN if args.takes_image_of_version else ""
    )


def job(declared: k8s.batch.v1.CronJobSpecArgsDict) -> Mapping[str, Any]:
    """Return the spec of the Jobs of a CronJob, with keys in snake case."""
    return cast("Any", declared)["job_template"]["spec"]


def labels(training: str) -> dict[str, str]:
    """Return the labels of the CronJob, its Jobs and their pods; the Jobs carry another `managed-by`."""
    return names.labels("validation", names.validation(training), "validation")


def _spread(name: str) -> str:
    """Return a cron expression whose minute depends on the name, so that not all validations start at once."""
    return f"{crc32(name.encode()) % MINUTES_BETWEEN}-59/{MINUTES_BETWEEN} * * * *"


def _job(
    labels: Mapping[str, str], args: ValidationArgs, pod: k8s.core.v1.PodSpecArgsDict, without: Sequence[str]
) -> k8s.batch.v1.JobSpecArgsDict:
    return {
        "active_deadline_seconds": args.deadline_minutes * 60,
        # A refused version needs no retry, and the schedule retries a validation that failed for another reason.
        "backoff_limit": 0,
        "pod_failure_policy": {
            "rules": [{"action": "Ignore", "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "template": {"metadata": pods.metadata(labels, args.grant, *without), "spec": pod},
    }


def _copy(name: str, args: ValidationArgs, image: str) -> k8s.core.v1.ContainerArgsDict:
    return {
        **_container(args),
        "name": CODE,
        "image": image,
        "command": ["/bin/sh", "-c", COPY.format(image=image, name=name)],
        "volume_mounts": [{"name": CODE, "mount_path": "/code"}],
    }


def _validate(name: str, args: ValidationArgs, training: TrainingContainerArgs) -> k8s.core.v1.ContainerArgsDict:
    """Return the container that validates; `mlops validate` replaces its `args` to name a version."""
    disk = {"ephemeral-storage": args.ephemeral_storage}
    values: dict[str, Input[str]] = {
        **({"ENDPOINT": args.endpoint} if args.endpoint else {}),
        **({"VALIDATION": literal(json.dumps(args.limits, sort_keys=True))} if args.limits else {}),
        **({names.VALIDATION_IMAGE: args.image} if args.takes_image_of_version else {}),
        **({"VALIDATION_ALLOW_CODE": "true"} if args.allow_code else {}),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": training.tracking_url,
        "VALIDATION_DEADLINE_SECONDS": str(args.deadline_minutes * 60),
        "VALIDATION_REPORTS": Output.concat(training.artifact_store.uri, f"/{names.VALIDATION_REPORTS}"),
        **training.artifact_store.environment,
    }
    return {
        **_container(args),
        "name": NAME,
        "image": args.image,
        "command": ["python", "-m", "training.validate", training.model],
        "args": ["--training-job", name],
        # Python imports modules from its working directory first.
        "working_dir": "/code",
        "env": pods.environment(values),
        "env_from": pods.secret_environment(args.grant),
        "resources": pods.resources(args.cpu, args.memory, **disk),
        "volume_mounts": [pods.TMP, {"name": CODE, "mount_path": "/code", "read_only": True}],
    }


def _container(args: ValidationArgs) -> k8s.core.v1.ContainerArgsDict:
    return {
        "name": "",
        "resources": pods.resources(args.cpu, args.memory),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
    }
