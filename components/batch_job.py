"""Batch predictions: an Indexed Job over the partitions of a table, in the serving image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceHookBinding, ResourceOptions

from components import pods
from components.endpoint import release
from components.endpoint.release import Files
from components.foundation import ArtifactStore, Grant
from components.training.container import literal
from components.training.schedule import NEVER, Schedule, cron_job
from contract import names

NAME = "predict"
FETCH = "fetch"
BAD_INPUT = 2
"""Exit code of both containers for input with which every retry would fail too."""


@dataclass(frozen=True, kw_only=True)
class BatchJobArgs:
    """Settings of one batch."""

    image: str
    """Serving image, unless `files` has one for the version's own packages."""
    model: str
    """Name of the registered model."""
    version: int
    """Number of the version in the registry."""
    files: Input[Files]
    """Files of the version, which the pods download."""
    override: str
    """User's reason why the version is used in spite of the gate; empty if it passed."""
    gate: ResourceHookBinding | None
    """Hooks that decide whether the version may be used (infra/release/gate.py)."""
    input: str
    """URI of the partitions, with one `*` in the name of the files."""
    output: str
    """URI of the folder for the results."""
    workers: int
    """Number of pods; each predicts the partitions of its index."""
    cpu: str
    """CPU request of a pod, as a Kubernetes quantity."""
    memory: str
    """Memory request and limit of a pod, as a Kubernetes quantity."""
    ephemeral_storage: str
    """Disk for one partition and its result, as a Kubernetes quantity."""
    deadline_minutes: int
    """Minutes within which a run must end, with its retries."""
    retries: int
    """Number of further attempts of a pod after a failure."""
    schedule: Schedule | None
    """Schedule of the runs; None for one run per change."""
    artifact_store: ArtifactStore
    """Bucket of the model, the partitions and the results."""
    grant: Grant
    """Namespace and identity of the pods."""
    placement: pods.Placement
    """Nodes of the pods."""


class BatchJob(pulumi.ComponentResource):
    """CronJob whose Jobs predict a table and, if there is no schedule, a first run.

    Without a schedule, `pulumi up` starts a Job for each change and does not wait for it; a run skips partitions that
    have a result, so a change of anything else but the version costs little.
    """

    template_name: Output[str]
    """Name of the CronJob in the cluster."""

    def __init__(self, name: str, args: BatchJobArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:BatchJob", name, None, opts)
        labels = names.labels("batch", name, "batch", version=str(args.version))
        metadata: k8s.meta.v1.ObjectMetaArgsDict = {"namespace": args.grant.namespace, "labels": labels}
        files = Output.from_input(args.files)
        now = files.apply(lambda each: release.text(each.release(args.model, args.version, args.override)))
        scheduled = {**labels, names.MANAGED_BY: "cronjob"}
        template = k8s.batch.v1.CronJob(
            name,
            metadata={**metadata, "name": name, "annotations": {names.RELEASE: now}},
            spec=cron_job(args.schedule or NEVER, {"metadata": {"labels": scheduled}, "spec": _job(scheduled, args)}),
            opts=ResourceOptions(parent=self, hooks=args.gate),
        )
        if not args.schedule:
            k8s.batch.v1.Job(
                name,
                metadata={**metadata, "annotations": {"pulumi.com/skipAwait": "true"}},
                spec=_job(labels, args),
                # The gate is a hook of the CronJob, so a refused version starts no Job.
                opts=ResourceOptions(parent=self, depends_on=[template], replace_on_changes=["spec"]),
            )
        self.template_name = template.metadata.name
        self.register_outputs({"template_name": self.template_name})


def _job(labels: Mapping[str, str], args: BatchJobArgs) -> k8s.batch.v1.JobSpecArgsDict:
    pod: k8s.core.v1.PodSpecArgsDict = {
        **pods.hardened(_predict(args)),
        "service_account_name": args.grant.service_account,
        "restart_policy": "Never",
        "node_selector": args.placement.node_labels,
        "init_containers": [_fetch(args)],
        "volumes": [pods.scratch("tmp", args.ephemeral_storage), pods.scratch("model", args.memory)],
    }
    return {
        "active_deadline_seconds": args.deadline_minutes * 60,
        "completion_mode": "Indexed",
        "completions": args.workers,
        "parallelism": args.workers,
        "backoff_limit_per_index": args.retries,
        "pod_failure_policy": {
            "rules": [
                # A drained or reclaimed node is no failure: the next pod continues behind the last result.
                {"action": "Ignore", "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}]},
                *(
                    {
                        "action": "FailIndex",
                        "on_exit_codes": {"container_name": container, "operator": "In", "values": [BAD_INPUT]},
                    }
                    for container in (FETCH, NAME)
                ),
            ]
        },
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }


def _fetch(args: BatchJobArgs) -> k8s.core.v1.ContainerArgsDict:
    values = {**_common(args), "MODEL_SOURCE": Output.from_input(args.files).apply(lambda each: each.source)}
    return {**_container(args, FETCH, "model_server.fetch"), "env": pods.environment(values)}


def _predict(args: BatchJobArgs) -> k8s.core.v1.ContainerArgsDict:
    values = {
        **_common(args),
        "BATCH_INPUT": literal(args.input),
        "BATCH_OUTPUT": literal(args.output),
        "BATCH_WORKERS": str(args.workers),
        "THREADS": "1",
    }
    return {**_container(args, NAME, "model_server.batch"), "env": pods.environment(values)}


def _common(args: BatchJobArgs) -> Mapping[str, Input[str]]:
    return {
        "MODEL": args.model,
        "MODEL_DIGEST": Output.from_input(args.files).apply(lambda each: each.digest),
        "MODEL_DIR": "/model",
        "MODEL_VERSION": str(args.version),
        **args.artifact_store.environment,
    }


def _container(args: BatchJobArgs, name: str, module: str) -> k8s.core.v1.ContainerArgsDict:
    disk = {"ephemeral-storage": args.ephemeral_storage}
    return {
        "name": name,
        "image": Output.from_input(args.files).apply(lambda each: each.container_image(args.image)),
        "command": ["python", "-m", module],
        "env_from": pods.secret_environment(args.grant),
        "resources": pods.resources(args.cpu, args.memory, **disk),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
        "volume_mounts": [pods.TMP, {"name": "model", "mount_path": "/model"}],
    }
