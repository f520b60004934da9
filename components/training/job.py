"""Runs of one model's training: now, on a schedule, or when somebody asks; and a look at what they register."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import pods
from components.foundation import NodePool
from components.training import sweep, validation
from components.training.container import NAME, TrainingContainerArgs, container
from components.training.schedule import NEVER, Schedule, cron_job
from components.training.validation import ValidationArgs
from contract import names

BAD_INPUT = 2
"""What the training image exits with when another attempt would fail the same way: bad dataset, bad parameter."""
TYPE = "mlops:index:TrainingJob"


@dataclass(frozen=True, kw_only=True)
class TrainingJobArgs(TrainingContainerArgs):
    """`deadline_minutes` is for one run with its retries; a sweep may take that for each wave of its points.

    `service_account` and `priority_class` are names of what is there already; None is the grant's, and no class.
    `tracking_ui` is where people reach MLflow.
    """

    deadline_minutes: int
    schedule: Schedule | None
    priority_class: str | None
    service_account: str | None
    tracking_ui: Input[str]
    validation: ValidationArgs


class TrainingJob(pulumi.ComponentResource):
    """A CronJob of the training job's name, which every run is made from; and, without a schedule, a first run.

    Without a schedule the CronJob is suspended: `mlops train` makes Jobs from it. The first run is a Job that
    `pulumi up` starts and does not wait for. Any change makes a new one and removes the old one, running or done; no
    change leaves it be, so a model is not trained twice. It has no time to live for the same reason: Pulumi would make
    a Job again that cleaned itself up.

    A second CronJob, `<name>-validation`, looks for versions that a run has registered, and says in the registry which
    of them may go forward. Where that is not enabled it is suspended: `mlops validate` makes Jobs from it.
    """

    template_name: Output[str]
    """The CronJob's name in the cluster."""
    job_name: Output[str | None]
    """The Job's; None with a schedule."""

    def __init__(self, name: str, args: TrainingJobArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(TYPE, name, None, opts)
        labels = names.labels("training", name, "training")
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
                    # What Pulumi did not make must not look as if it had: the lab waits for Jobs that are Pulumi's.
                    "metadata": {"labels": {**labels, names.MANAGED_BY: "cronjob"}},
                    "spec": _job(labels, args, container(name, _urn(name, "CronJob"), args)),
                },
            ),
            opts=ResourceOptions(parent=self),
        )
        k8s.batch.v1.CronJob(
            names.validation(name),
            metadata={
                "name": names.validation(name),
                "namespace": args.grant.namespace,
                "labels": validation.labels(name),
            },
            spec=validation.cron_job_of(name, args.validation, args, _service_account(args)),
            opts=ResourceOptions(parent=self),
        )
        self.template_name = template.metadata.name
        self.job_name = Output.from_input(None) if args.schedule else self._run(name, labels, args)
        self.register_outputs({"template_name": self.template_name, "job_name": self.job_name})

    def _run(self, name: str, labels: Mapping[str, str], args: TrainingJobArgs) -> Output[str | None]:
        job = k8s.batch.v1.Job(
            name,
            metadata={
                "namespace": args.grant.namespace,
                "labels": labels,
                "annotations": {"pulumi.com/skipAwait": "true"},
            },
            spec=_job(labels, args, container(name, _urn(name, "Job"), args)),
            # Kubernetes would take some changes in place, as of the deadline, and not run anything again.
            opts=ResourceOptions(parent=self, replace_on_changes=["spec"]),
        )
        return job.metadata.name.apply(lambda given: given)


def _urn(name: str, kind: str) -> Output[str]:
    """Written out, since what depends on `self.urn` cannot be a child of it; true as long as we have no parent."""
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
                # A node that is drained or taken back is nobody's mistake and does not count as an attempt.
                {"action": "Ignore", "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailIndex" if args.sweep else "FailJob",
                    "on_exit_codes": {"container_name": NAME, "operator": "In", "values": [BAD_INPUT]},
                },
            ]
        },
        "template": {"metadata": _metadata(labels, args.pool), "spec": pod},
    }
    if args.sweep:
        sweep.index(job, args.sweep, args.retries)
        job["active_deadline_seconds"] = seconds * args.sweep.waves
        # One point that hangs must not use up the time of the others.
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
        "volumes": [pods.scratch("tmp", args.ephemeral_storage)],
    }
    if args.priority_class:
        pod["priority_class_name"] = args.priority_class
    return pod


def _service_account(args: TrainingJobArgs) -> Input[str]:
    return args.service_account or args.grant.service_account


def _metadata(labels: Mapping[str, str], pool: NodePool) -> k8s.meta.v1.ObjectMetaArgsDict:
    return {"labels": labels, "annotations": pool.annotations} if pool.annotations else {"labels": labels}


def _tolerations(pool: NodePool) -> list[k8s.core.v1.TolerationArgsDict]:
    return [{"key": pool.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}] if pool.gpu_resource else []
