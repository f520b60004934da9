"""One training run as a Job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import names, pods
from components.foundation import ArtifactStore, Grant, NodePool

BAD_INPUT = 2
"""What the training image exits with when another attempt would fail the same way: bad dataset, bad parameter."""


@dataclass(frozen=True, kw_only=True)
class TrainingJobArgs:
    """`model` is the registry's name for what comes out; `project` is the file of training/projects that makes it."""

    image: str
    commit: str | None
    project: str
    model: str
    dataset: str
    parameters: Mapping[str, str | float | bool]
    cpu: str
    memory: str
    gpus: int
    pool_name: str
    pool: NodePool
    deadline_minutes: int
    retries: int
    tracking_url: Input[str]
    artifact_store: ArtifactStore
    grant: Grant


class TrainingJob(pulumi.ComponentResource):
    """A Job that trains and registers one version; `pulumi up` starts it and does not wait for it.

    Any change makes a new Job and removes the old one, running or done; no change leaves it be, so a model is not
    trained twice. It has no time to live for the same reason: Pulumi would make a Job again that cleaned itself up.
    """

    job_name: Output[str]
    """The Job's name in the cluster."""

    def __init__(self, name: str, args: TrainingJobArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:TrainingJob", name, None, opts)
        labels = names.labels("training", name, "training")
        # Written out, since what depends on `self.urn` cannot be a child of it; true as long as we have no parent.
        urn = pulumi.create_urn(name, "mlops:index:TrainingJob$kubernetes:batch/v1:Job")
        job = k8s.batch.v1.Job(
            name,
            metadata={
                "namespace": args.grant.namespace,
                "labels": labels,
                "annotations": {"pulumi.com/skipAwait": "true"},
            },
            spec=_job(labels, args, _container(args, _environment(name, urn, args))),
            # Kubernetes would take some changes in place, as of the deadline, and not run anything again.
            opts=ResourceOptions(parent=self, replace_on_changes=["spec"]),
        )
        self.job_name = job.metadata.name
        self.register_outputs({"job_name": self.job_name})


def _environment(name: str, urn: Input[str], args: TrainingJobArgs) -> Mapping[str, Input[str]]:
    """The contract with training/settings.py."""
    return {
        **({"GIT_COMMIT": args.commit} if args.commit else {}),
        "DATASET": args.dataset,
        "EXPERIMENT": args.model,
        "IMAGE": args.image,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": args.tracking_url,
        "MODEL": args.model,
        "NODE_POOL": args.pool_name,
        "PARAMETERS": json.dumps(dict(args.parameters), sort_keys=True),
        "PROJECT": args.project,
        "PULUMI_URN": urn,
        "STACK": pulumi.get_stack(),
        "TRAINING_JOB": name,
        **args.artifact_store.environment,
    }


def _container(args: TrainingJobArgs, environment: Mapping[str, Input[str]]) -> k8s.core.v1.ContainerArgsDict:
    devices = {args.pool.gpu_resource: str(args.gpus)} if args.pool.gpu_resource and args.gpus else {}
    return {
        "name": "train",
        "image": args.image,
        "env": pods.environment(environment),
        "env_from": pods.secret_environment(args.grant),
        "resources": pods.resources(args.cpu, args.memory, **devices),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
        "volume_mounts": [pods.TMP],
    }


def _job(
    labels: Mapping[str, str], args: TrainingJobArgs, container: k8s.core.v1.ContainerArgsDict
) -> k8s.batch.v1.JobSpecArgsDict:
    return {
        "active_deadline_seconds": args.deadline_minutes * 60,
        "backoff_limit": args.retries,
        "pod_failure_policy": {
            "rules": [
                # A node that is drained or taken back is nobody's mistake and does not count as an attempt.
                {"action": "Ignore", "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "on_exit_codes": {"container_name": "train", "operator": "In", "values": [BAD_INPUT]},
                },
            ]
        },
        "template": {
            "metadata": _metadata(labels, args.pool),
            "spec": {
                **pods.hardened(container),
                "service_account_name": args.grant.service_account,
                "restart_policy": "Never",
                "node_selector": args.pool.labels,
                "tolerations": _tolerations(args.pool),
                "volumes": [pods.scratch("tmp", "2Gi")],
            },
        },
    }


def _metadata(labels: Mapping[str, str], pool: NodePool) -> k8s.meta.v1.ObjectMetaArgsDict:
    return {"labels": labels, "annotations": pool.annotations} if pool.annotations else {"labels": labels}


def _tolerations(pool: NodePool) -> list[k8s.core.v1.TolerationArgsDict]:
    return [{"key": pool.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}] if pool.gpu_resource else []
