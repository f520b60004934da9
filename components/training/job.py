"""Training job: a first run or a schedule, the template for `mlops train`, and the validation of new versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import pods
from components.foundation import TRAINING_ONLY, NodePool
from components.mlflow_identities import PROXY, add_proxy
from components.training import sweep, validation
from components.training.container import NAME, SHARED_MEMORY, SecretValue, TrainingContainerArgs, container
from components.training.same_pod import DIGEST, Free
from components.training.schedule import NEVER, Schedule, cron_job
from components.training.templates import Template
from components.training.validation import ValidationArgs
from contract import names, script

BAD_INPUT = 2
"""Exit code of the training image for a bad dataset or parameter, with which every retry would fail too."""
TYPE = "mlops:index:TrainingJob"


@dataclass(frozen=True, kw_only=True)
class TrainingJobArgs(TrainingContainerArgs):
    """Settings of one training job."""

    deadline_minutes: int
    """Minutes within which a run must end, with its retries; a sweep gets as long for each wave of its points."""
    schedule: Schedule | None
    """Schedule of the runs; None for one run per change."""
    priority_class: str | None
    """Name of an existing PriorityClass; None for none."""
    service_account: str | None
    """Name of an existing ServiceAccount; None for the grant's."""
    tracking_ui: Input[str]
    """URL at which people reach MLflow."""
    validation: ValidationArgs
    """Settings of the validation of new versions."""


class TrainingJob(pulumi.ComponentResource):
    """CronJob from which every run is created and, if there is no schedule, a first run.

    Without a schedule the CronJob is suspended and `mlops train` creates Jobs from it. The first run is a Job that
    `pulumi up` starts and does not wait for. A change of the training job replaces this Job, even if it is running;
    without a change it stays, so no model is trained twice. It has no time to live, because Pulumi would create a
    deleted Job again.

    A second CronJob, `<name>-validation`, validates the versions that runs have registered and records the result in
    the registry. If validation is disabled, this CronJob is suspended and `mlops validate` creates Jobs from it.
    """

    template_name: Output[str]
    """Name of the CronJob in the cluster."""
    job: Output[Mapping[str, object]]
    """Spec of the Jobs of the CronJob, with keys in snake case."""
    templates: Mapping[str, Template]
    """Templates of runs and of validations, by the name of their CronJob."""
    job_name: Output[str | None]
    """Name of the first run's Job in the cluster; None if there is a schedule."""

    def __init__(self, name: str, args: TrainingJobArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(TYPE, name, None, opts)
        labels = names.labels("training", name, "training")
        spec = _job(labels, args, container(name, _urn(name, "CronJob"), args))
        template = k8s.batch.v1.CronJob(
            name,
            metadata={
                "name": name,
                "namespace": args.grant.namespace,
                "labels": labels,
                "annotations": {names.TRACKING_UI: args.tracking_ui},
            },
            spec=cron_job(
                args.schedule or NEVER,
                {
                    # These Jobs are not Pulumi's, and the lab waits for all Jobs with Pulumi's label.
                    "metadata": {"labels": {**labels, names.MANAGED_BY: "cronjob", **_queue(args)}},
                    "spec": spec,
                },
            ),
            opts=ResourceOptions(parent=self),
        )
        validates = validation.validation_cron_job(name, args.validation, args)
        k8s.batch.v1.CronJob(
            names.validation(name),
            metadata={
                "name": names.validation(name),
                "namespace": args.validation.grant.namespace,
                "labels": validation.labels(name),
            },
            spec=validates,
            opts=ResourceOptions(parent=self),
        )
        self.template_name = template.metadata.name
        self.job = Output.from_input(cast("Mapping[str, object]", spec))
        self.templates = {
            name: Template(job=self.job, free=_free(args)),
            names.validation(name): Template(job=validation.job(validates), free=validation.free(args.validation)),
        }
        self.job_name = Output.from_input(None) if args.schedule else self._run(name, labels, args)
        self.register_outputs({"template_name": self.template_name, "job_name": self.job_name})

    def _run(self, name: str, labels: Mapping[str, str], args: TrainingJobArgs) -> Output[str | None]:
        job = k8s.batch.v1.Job(
            name,
            metadata={
                "namespace": args.grant.namespace,
                "labels": {**labels, **_queue(args)},
                "annotations": {"pulumi.com/skipAwait": "true"},
            },
            spec=_job(labels, args, container(name, _urn(name, "Job"), args)),
            # Kubernetes accepts some changes, such as a new deadline, in place, and would not run the training again.
            opts=ResourceOptions(parent=self, replace_on_changes=["spec"]),
        )
        return job.metadata.name.apply(lambda name: name)


def _free(args: TrainingJobArgs) -> Free:
    """Return what `mlops train` changes in a Job: the parameters, the requester, and the build of the code."""
    own = {name.upper() for name in args.parameters} if args.is_script else set[str]()
    context = {script.CONTEXT} if args.is_script else set[str]()
    secret = {name.upper() for name, value in args.parameters.items() if isinstance(value, SecretValue)}
    return Free(
        variables={names.PARAMETERS, names.REQUESTER, "IMAGE", "GIT_COMMIT"} | context | own - secret, image=DIGEST
    )


def _urn(name: str, kind: str) -> Output[str]:
    """Return the URN of a child. `self.urn` cannot be used here, because a child must not depend on its parent.

    It is correct as long as the training job itself has no parent.
    """
    return pulumi.create_urn(name, f"{TYPE}$kubernetes:batch/v1:{kind}")


def _job(
    labels: Mapping[str, str], args: TrainingJobArgs, container: k8s.core.v1.ContainerArgsDict
) -> k8s.batch.v1.JobSpecArgsDict:
    pod = _pod(args, container)
    seconds = args.deadline_minutes * 60
    job: k8s.batch.v1.JobSpecArgsDict = {
        "active_deadline_seconds": seconds,
        "pod_failure_policy": {
            "rules": [
                # A drained or reclaimed node is not a failure of the run, so it does not count as an attempt.
                {"action": "Ignore", "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailIndex" if args.sweep else "FailJob",
                    "on_exit_codes": {"container_name": NAME, "operator": "In", "values": [BAD_INPUT]},
                },
            ]
        },
        "template": {"metadata": _metadata(labels, args), "spec": pod},
    }
    if args.sweep:
        sweep.index(job, args.sweep, args.retries)
        job["active_deadline_seconds"] = seconds * args.sweep.waves
        # A point that hangs must not use up the deadline of the others.
        pod["active_deadline_seconds"] = seconds
    else:
        job["backoff_limit"] = args.retries
    return job


def _pod(args: TrainingJobArgs, container: k8s.core.v1.ContainerArgsDict) -> k8s.core.v1.PodSpecArgsDict:
    pod: k8s.core.v1.PodSpecArgsDict = {
        **pods.hardened(container),
        "service_account_name": _service_account(args),
        "restart_policy": "Never",
        "node_selector": args.pool.labels,
        "tolerations": _tolerations(args.pool),
        "volumes": [pods.scratch("tmp", args.ephemeral_storage), *_shared_memory(args)],
    }
    if args.priority_class:
        pod["priority_class_name"] = args.priority_class
    if args.tracking_proxy:
        add_proxy(pod, args.tracking_proxy)
    return pod


def _shared_memory(args: TrainingJobArgs) -> list[k8s.core.v1.VolumeArgsDict]:
    """Return the volume in memory through which the processes of a data loader exchange batches."""
    if not args.shared_memory:
        return []
    return [{"name": SHARED_MEMORY["name"], "empty_dir": {"medium": "Memory", "size_limit": args.shared_memory}}]


def _queue(args: TrainingJobArgs) -> dict[str, str]:
    """Return the label by which Kueue admits a Job; it must be on the Job itself, not on its CronJob."""
    return {names.QUEUE: args.queue} if args.queue else {}


def _service_account(args: TrainingJobArgs) -> Input[str]:
    return args.service_account or args.grant.service_account


def _metadata(labels: Mapping[str, str], args: TrainingJobArgs) -> k8s.meta.v1.ObjectMetaArgsDict:
    without = [PROXY] if args.tracking_proxy else []
    return pods.metadata(labels, args.grant, *without, annotations=args.pool.annotations)


def _tolerations(pool: NodePool) -> list[k8s.core.v1.TolerationArgsDict]:
    taints = [*([pool.gpu_resource] if pool.gpu_resource else []), *([TRAINING_ONLY] if pool.training_only else [])]
    return [{"key": taint, "operator": "Exists", "effect": "NoSchedule"} for taint in taints]
