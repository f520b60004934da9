"""What looks at each new version of a training job's model: the training image's code, on what will serve it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import pulumi_kubernetes as k8s
from pulumi import Input

from components import pods
from components.training.container import TrainingContainerArgs, literal
from components.training.schedule import Schedule, cron_job
from contract import names

NAME = "validate"
MINUTES_BETWEEN = 15
COPY = """\
if [ -f /app/training/validate.py ]; then
  # The training image of a former release has no package `contract`, and needs none.
  for package in contract training; do [ ! -d /app/$package ] || cp -R /app/$package /code/ || exit; done
  exit
fi
echo "image {image} has no /app/training/validate.py, so what it trains cannot be validated: build it from the \
training image, or write validation: {{enabled: false}} under mlops:training.{name}" >&2
exit 2
"""
"""Script that copies the code of the training image to the volume of the validation's container."""


@dataclass(frozen=True, kw_only=True)
class ValidationArgs:
    """`image` is what will serve the model. Not `enabled`, it waits to be asked.

    `cron` is in UTC; without one, it looks every MINUTES_BETWEEN minutes. `limits` are those that are not the defaults
    of training/validation/limits.py. `endpoint` is the URL of the endpoint that serves the model; the version that it
    serves is the champion. The validation asks for that version: written here, a release would change two objects.
    """

    image: str
    enabled: bool
    cron: str | None
    cpu: str
    memory: str
    ephemeral_storage: str
    deadline_minutes: int
    limits: Mapping[str, Any]
    endpoint: str | None


def cron_job_of(
    name: str, args: ValidationArgs, training: TrainingContainerArgs, service_account: Input[str]
) -> k8s.batch.v1.CronJobSpecArgsDict:
    """Looks for the newest version of the training job `name` that nobody looked at; ends at once if there is none."""
    schedule = Schedule(
        cron=args.cron or _spread(name),
        time_zone="Etc/UTC",
        suspend=not args.enabled,
        keep_succeeded=3,
        keep_failed=3,
    )
    made = {**labels(name), names.MANAGED_BY: "cronjob"}
    pod: k8s.core.v1.PodSpecArgsDict = {
        # On no pool of its own: it measures how fast the version answers, on nodes such as servers get.
        **pods.hardened(_validate(name, args, training)),
        "service_account_name": service_account,
        "restart_policy": "Never",
        "init_containers": [_copy(name, args, training.image)],
        "volumes": [pods.scratch("tmp", args.ephemeral_storage), pods.scratch("code", "64Mi")],
    }
    return cron_job(schedule, {"metadata": {"labels": made}, "spec": _job(made, args, pod)})


def labels(training: str) -> dict[str, str]:
    """Of the CronJob and, but for who made them, of its Jobs and their pods."""
    return names.labels("validation", names.validation(training), "validation")


def _spread(name: str) -> str:
    """Jobs of many models do not all start in the same minute."""
    return f"{crc32(name.encode()) % MINUTES_BETWEEN}-59/{MINUTES_BETWEEN} * * * *"


def _job(
    labels: Mapping[str, str], args: ValidationArgs, pod: k8s.core.v1.PodSpecArgsDict
) -> k8s.batch.v1.JobSpecArgsDict:
    return {
        "active_deadline_seconds": args.deadline_minutes * 60,
        # An answer that is no is an answer; and what could not be looked at is looked at again by the schedule.
        "backoff_limit": 0,
        "pod_failure_policy": {
            "rules": [{"action": "Ignore", "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }


def _copy(name: str, args: ValidationArgs, image: str) -> k8s.core.v1.ContainerArgsDict:
    return {
        **_container(args),
        "name": "code",
        "image": image,
        "command": ["/bin/sh", "-c", COPY.format(image=image, name=name)],
        "volume_mounts": [{"name": "code", "mount_path": "/code"}],
    }


def _validate(name: str, args: ValidationArgs, training: TrainingContainerArgs) -> k8s.core.v1.ContainerArgsDict:
    """`args` of the command are apart: who asks for one version replaces them."""
    disk = {"ephemeral-storage": args.ephemeral_storage}
    values: dict[str, Input[str]] = {
        **({"ENDPOINT": args.endpoint} if args.endpoint else {}),
        **({"VALIDATION": literal(json.dumps(args.limits, sort_keys=True))} if args.limits else {}),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": training.tracking_url,
        "VALIDATION_DEADLINE_SECONDS": str(args.deadline_minutes * 60),
        **training.artifact_store.environment,
    }
    return {
        **_container(args),
        "name": NAME,
        "image": args.image,
        "command": ["python", "-m", "training.validate", training.model],
        "args": ["--training-job", name],
        # Python looks where it is started before it looks anywhere else.
        "working_dir": "/code",
        "env": pods.environment(values),
        "env_from": pods.secret_environment(training.grant),
        "resources": pods.resources(args.cpu, args.memory, **disk),
        "volume_mounts": [pods.TMP, {"name": "code", "mount_path": "/code", "read_only": True}],
    }


def _container(args: ValidationArgs) -> k8s.core.v1.ContainerArgsDict:
    return {
        "name": "",
        "resources": pods.resources(args.cpu, args.memory),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
    }
