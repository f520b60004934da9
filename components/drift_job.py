"""CronJob that looks for drift of an endpoint's requests, measures outcomes, and trains the model again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import pods
from components.foundation import ArtifactStore, Grant, LogQueries
from components.mlflow_identities import PROXY, ClientProxy, add_proxy
from components.monitoring import access
from components.training import same_pod
from components.training.schedule import Schedule, cron_job
from contract import names

NAME = "drift"
DISK = "2Gi"
"""Disk request and limit of the job: the version's files, the training's table and the report."""
LEAST_ROWS = 500
FALSE_ALARMS_PER_YEAR = 4.0


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """Training of the endpoint's model after drift."""

    training: Input[str]
    """Name of the training job's CronJob; it resolves when the CronJob exists."""
    job: Input[Mapping[str, object]]
    """Spec of the Jobs of this CronJob, with keys in snake case."""
    after: int
    """Number of windows in a row with an effect on the model."""
    pause_hours: float
    """Shortest time in hours between the starts of two retrainings."""


@dataclass(frozen=True, kw_only=True)
class DriftJobArgs:
    """Settings of an endpoint's drift job."""

    image: str
    """Training image."""
    model: str
    """Name of the registered model."""
    version: int
    """Number of the version that the endpoint serves."""
    cron: str | None
    """Start times in UTC, as a cron expression; None for each hour, at a minute that depends on the name."""
    suspend: bool
    """True: the schedule is paused and starts no Jobs. The CronJob stays as a template."""
    window_hours: float
    """Length of a window in hours."""
    least_rows: int
    """Smallest number of rows that is compared."""
    false_alarms_per_year: float
    """Number of false alarms in a year that is accepted."""
    cpu: str
    """CPU request, as a Kubernetes quantity."""
    memory: str
    """Memory request and limit, as a Kubernetes quantity."""
    deadline_minutes: int
    """Minutes within which the job must end."""
    outcomes: str | None
    """URI of the folder with outcomes; None for none."""
    outcomes_days: int
    """Days before the end of a window whose predictions are joined."""
    queries: LogQueries | None
    """Service that counts the rows of a window; None: the job reads them itself."""
    retraining: Retraining | None
    """Training after drift; None for none."""
    tracking_url: Input[str]
    """URL of MLflow as the container reaches it."""
    tracking_proxy: ClientProxy | None
    """Proxy that adds the pod's token to requests to MLflow; None if MLflow needs no token."""
    artifact_store: ArtifactStore
    """Bucket of the prediction log, the models and the reports."""
    grant: Grant
    """Namespace and identity of the pods."""


class DriftJob(pulumi.ComponentResource):
    """CronJob `<endpoint>-drift` with the rights that a retraining needs.

    The job's account may create Jobs only with the pod of the training job's template: an admission policy of the API
    server compares them.
    """

    name: Output[str]
    """Name of the CronJob in the cluster."""

    def __init__(self, name: str, args: DriftJobArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:DriftJob", name, None, opts)
        child = ResourceOptions(parent=self)
        own = names.drift(name)
        labels = names.labels(NAME, own, NAME)
        rights: list[pulumi.Resource] = []
        if args.retraining:
            rights = _rights(own, labels, args.grant, args.retraining, child)
        to_api_server = [pods.TO_API_SERVER] if args.retraining else []
        if egress := [*to_api_server, *(args.queries.egress if args.queries else ())]:
            _reach(own, labels, args.grant, egress, child)
        made = k8s.batch.v1.CronJob(
            own,
            metadata={"name": own, "namespace": args.grant.namespace, "labels": labels},
            spec=_cron_job(name, labels, args),
            # A job that starts before the policy exists could create any Job.
            opts=ResourceOptions(parent=self, depends_on=rights),
        )
        self.name = made.metadata.name
        self.register_outputs({"name": self.name})


def _cron_job(endpoint: str, labels: Mapping[str, str], args: DriftJobArgs) -> k8s.batch.v1.CronJobSpecArgsDict:
    schedule = Schedule(
        cron=args.cron or f"{crc32(endpoint.encode()) % 60} * * * *",
        time_zone="Etc/UTC",
        suspend=args.suspend,
        keep_succeeded=3,
        keep_failed=3,
    )
    own = {**labels, names.MANAGED_BY: "cronjob"}
    pod: k8s.core.v1.PodSpecArgsDict = {
        **pods.hardened(_container(endpoint, args)),
        "service_account_name": args.grant.service_account,
        "restart_policy": "Never",
        "volumes": [pods.scratch("tmp", DISK), *([access.token()] if args.retraining else [])],
    }
    if args.tracking_proxy:
        add_proxy(pod, args.tracking_proxy)
    without = [PROXY] if args.tracking_proxy else []
    job: k8s.batch.v1.JobSpecArgsDict = {
        "active_deadline_seconds": args.deadline_minutes * 60,
        # The next start of the schedule tries again.
        "backoff_limit": 0,
        "pod_failure_policy": {
            "rules": [{"action": "Ignore", "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "template": {"metadata": pods.metadata(own, args.grant, *without), "spec": pod},
    }
    return cron_job(schedule, {"metadata": {"labels": own}, "spec": job})


def _container(endpoint: str, args: DriftJobArgs) -> k8s.core.v1.ContainerArgsDict:
    values: dict[str, Input[str]] = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": args.tracking_url,
        **args.artifact_store.environment,
    }
    if args.queries:
        # boto3 does not read AWS_REGION, and Athena has no address without a region.
        values["AWS_DEFAULT_REGION"] = args.queries.region
    disk = {"ephemeral-storage": DISK}
    return {
        "name": NAME,
        "image": args.image,
        "command": ["python", "-m", "drift.job"],
        "args": _arguments(endpoint, args),
        "env": pods.environment(values),
        "env_from": pods.secret_environment(args.grant),
        "resources": pods.resources(args.cpu, args.memory, **disk),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
        "volume_mounts": [pods.TMP, *([access.TOKEN] if args.retraining else [])],
    }


def _arguments(endpoint: str, args: DriftJobArgs) -> list[Input[str]]:
    options: dict[str, Input[str]] = {
        "--model": args.model,
        "--version": str(args.version),
        "--log": args.artifact_store.uri,
        "--hours": f"{args.window_hours:g}",
        "--least-rows": str(args.least_rows),
        "--false-alarms-per-year": f"{args.false_alarms_per_year:g}",
        "--reports": Output.concat(args.artifact_store.uri, f"/{names.DRIFT_REPORTS}"),
    }
    if args.outcomes:
        options |= {"--outcomes": args.outcomes, "--outcomes-days": str(args.outcomes_days)}
    if args.queries:
        options |= {"--workgroup": args.queries.workgroup}
    if again := args.retraining:
        options |= {"--training": again.training, "--after": str(again.after)}
        options |= {"--pause-hours": f"{again.pause_hours:g}"}
    return [endpoint, *(word for option in options.items() for word in option)]


def _rights(
    own: str, labels: Mapping[str, str], grant: Grant, again: Retraining, child: ResourceOptions
) -> list[pulumi.Resource]:
    """Declare the rights to read the training job and to create Jobs from its template."""
    metadata: k8s.meta.v1.ObjectMetaArgsDict = {"name": own, "namespace": grant.namespace, "labels": labels}
    role = k8s.rbac.v1.Role(
        own,
        metadata=metadata,
        rules=[
            {"api_groups": ["batch"], "resources": ["cronjobs"], "resource_names": [again.training], "verbs": ["get"]},
            {"api_groups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get"]},
        ],
        opts=child,
    )
    account = Output.concat("system:serviceaccount:", grant.namespace, ":", grant.service_account)
    policy = k8s.admissionregistration.v1.ValidatingAdmissionPolicy(
        own,
        metadata={"name": own, "labels": labels},
        spec={
            "failure_policy": "Fail",
            "match_constraints": {
                "resource_rules": [
                    {
                        "api_groups": ["batch"],
                        "api_versions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["jobs"],
                    }
                ]
            },
            "match_conditions": [
                {"name": "drift-job", "expression": Output.concat("request.userInfo.username == '", account, "'")}
            ],
            # The name of the training job resolves after its update.
            "validations": Output.all(again.job, again.training).apply(
                lambda known: same_pod.job_validations(known[0])
            ),
        },
        opts=child,
    )
    bound = k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
        own,
        metadata={"name": own, "labels": labels},
        spec={
            "policy_name": policy.metadata.name,
            "validation_actions": ["Deny"],
        },
        opts=child,
    )
    binding = k8s.rbac.v1.RoleBinding(
        own,
        metadata=metadata,
        role_ref={"api_group": access.RBAC, "kind": "Role", "name": role.metadata.name},
        subjects=[{"kind": "ServiceAccount", "name": grant.service_account, "namespace": grant.namespace}],
        # The right to create Jobs comes after the policy that limits it.
        opts=ResourceOptions(parent=child.parent, depends_on=[bound]),
    )
    return [binding]


def _reach(
    own: str,
    labels: Mapping[str, str],
    grant: Grant,
    egress: Sequence[k8s.networking.v1.NetworkPolicyEgressRuleArgsDict],
    child: ResourceOptions,
) -> None:
    """Declare the connections of the job's pods besides those of all drift jobs."""
    k8s.networking.v1.NetworkPolicy(
        own,
        metadata={"namespace": grant.namespace, "labels": labels},
        spec={
            "pod_selector": {"match_labels": names.selector(NAME, own)},
            "policy_types": ["Egress"],
            "egress": egress,
        },
        opts=child,
    )
