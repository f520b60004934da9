"""Endpoint that serves one version of one model over HTTP."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceHookBinding, ResourceOptions

from components import pods, timeouts
from components.endpoint import arms, autoscaling, experiments, model_cache, prediction_log, release, tracing
from components.endpoint.arms import Arm, Challenger, Shadow
from components.endpoint.autoscaling import Autoscaling
from components.endpoint.experiments import Experiment
from components.endpoint.model_cache import ModelCache
from components.endpoint.prediction_log import PredictionLog
from components.endpoint.release import Files, Release
from components.endpoint.tracing import Tracing
from components.foundation import ArtifactStore, Grant, Ingress
from components.ingress import ingress
from components.router import configuration
from components.router.authentication import Callers
from components.router.router import Router, RouterArgs
from components.service import service
from contract import names

PORT = names.SERVING_PORT
METRICS = "metrics"
"""Name of the port for scrapers, on pods and Service."""
REQUEST_SECONDS = 30
"""Deadline in seconds of one request."""
LAST_REQUEST_SECONDS = REQUEST_SECONDS + 5
"""Seconds in which a stopping server finishes its requests: enough for a prediction and for most request bodies."""


@dataclass(frozen=True, kw_only=True)
class ModelEndpointArgs:
    """Settings of one endpoint."""

    image: str
    """Serving image, unless `files` has one for the version's own packages."""
    model: str
    """Name of the registered model."""
    version: int
    """Number of the version in the registry."""
    autoscaling: Autoscaling
    """Limits and targets of the autoscaler."""
    cpu: str
    """CPU request of a pod, as a Kubernetes quantity."""
    memory: str
    """Memory request and limit of a pod, as a Kubernetes quantity."""
    startup_seconds: int
    """Seconds within which a pod must have downloaded the model and be ready."""
    drain_seconds: int
    """Seconds for which a pod that Kubernetes deletes goes on accepting requests."""
    max_body_mib: int = 10
    """Largest body of a request in MiB, 10 by default."""
    example: Literal["require", "warn"] = "require"
    """`require` fails the release of a version that refuses its own input example; `warn` serves it with a warning."""
    files: Input[Files]
    """Files of the version, which the pods download."""
    override: str = ""
    """User's reason why the version goes live in spite of the gate; empty if it passed."""
    history: Input[Sequence[Release]] = ()
    """Former releases of the endpoint, the oldest first."""
    gate: ResourceHookBinding | None = None
    """Hooks that decide whether the version may go live (infra/release/gate.py)."""
    artifact_store: ArtifactStore
    """Bucket from which pods download the model."""
    grant: Grant
    """Namespace and identity of the pods."""
    placement: pods.Placement
    """Nodes and priority of the pods."""
    ingress: Ingress | None = None
    """Ingress settings; None if the endpoint is reached only inside the cluster."""
    path: str = ""
    """Beginning of the paths that the endpoint shares a host by, and removes; empty: it declares an Ingress of its own.
    """
    model_cache: ModelCache | None = None
    """Cache of models on the nodes; None for no cache."""
    prediction_log: PredictionLog | None = None
    """Settings of the prediction log; None if predictions are not logged."""
    on_unready: ResourceHookBinding | None = None
    """Hooks for a release whose pods do not become ready (components/rollout.py)."""
    tracing: Tracing | None = None
    """Settings of tracing; None if requests are not traced."""
    challenger: Challenger | None = None
    """Second version that answers a share of the callers; None if there is none."""
    shadow: Shadow | None = None
    """Version that gets copies of requests; None if there is none."""
    callers: Callers | None = None
    """Tokens that callers must send; None if everybody may call the endpoint."""
    router_image: str = ""
    """Image with Envoy, for an endpoint with a challenger, a shadow or callers."""
    experiments: Input[Sequence[Experiment]] = ()
    """Experiments that the endpoint has run."""
    experiment_gate: ResourceHookBinding | None = None
    """Hooks that decide whether the experiment may run (infra/release/gate.py)."""


class ModelEndpoint(pulumi.ComponentResource):
    """Service that serves exactly one version of a model, on port 80 under the endpoint's name.

    A new version changes only the Deployment: an old pod stops when a new pod is ready, and finishes its requests
    first. If the new version does not start, the rollout fails and the old version goes on serving.

    With a challenger, a shadow or callers that need tokens, a router stands between the Service and the pods. It takes
    over, and is removed again, without a lost request (docs/two-versions.md).
    """

    url: Output[str]
    """URL inside the cluster, without a path; /invocations accepts MLflow's scoring protocol."""
    releases: Output[Sequence[Mapping[str, Any]]]
    """Releases of the endpoint, the oldest first, as JSON values. The gate reads them from the state."""
    experiments: Output[Sequence[Mapping[str, Any]] | None]
    """Experiments of the endpoint, as `releases`; None if there was none, and then the state has no such output."""

    def __init__(self, name: str, args: ModelEndpointArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:ModelEndpoint", name, None, opts)
        child = ResourceOptions(parent=self)
        labels = names.labels("model-endpoint", name, "serving")
        metadata: k8s.meta.v1.ObjectMetaArgsDict = {"namespace": args.grant.namespace, "labels": labels}
        named: k8s.meta.v1.ObjectMetaArgsDict = {**metadata, "name": name}
        ports = {METRICS: names.PROBE_PORT}
        if args.challenger or args.shadow or args.callers:
            entry = service(name, arms.entry(name), 80, PORT, metadata=named, opts=child, more=ports)
            champion, *others = _arms(name, args, metadata, child)
            hosts = [arm.service(metadata, child) for arm in (champion, *others)]
            ready = [_declare(arm, _of_arm(arm, args), metadata, self) for arm in others]
            guard = [arms.only_from_router(name, metadata, child)] if args.callers else []
            router = Router(f"{name}-router", _router(name, args, [entry, *hosts, *ready, *guard]), child)
            deployment = _declare(champion, _of_arm(champion, args), metadata, self, after=router)
        else:
            champion = Arm(endpoint=name)
            deployment = _declare(champion, args, metadata, self)
            # The pods are there before a router goes.
            later = ResourceOptions(parent=self, depends_on=[deployment])
            entry = service(name, champion.selector, 80, PORT, metadata=named, opts=later, more=ports)
        if args.ingress and not args.path:
            ingress(name, args.ingress, entry.metadata.name, 80, _progress_deadline(args), metadata=named, opts=child)
        self.url = Output.concat("http://", entry.metadata.name, ".", names.SERVING)
        self.releases = Output.all(args.history, deployment.metadata.annotations).apply(
            lambda known: _with_present(*known)
        )
        self.experiments = Output.all(args.experiments, deployment.id).apply(
            lambda known: experiments.appended(known[0], _experiment(args)) or None
        )
        self.register_outputs({"url": self.url, "releases": self.releases, "experiments": self.experiments})


def _arms(
    name: str, args: ModelEndpointArgs, metadata: k8s.meta.v1.ObjectMetaArgsDict, opts: ResourceOptions
) -> list[Arm]:
    """Return the versions of an endpoint with a router, the champion first; declare the Secret that they share."""
    header, salt = {}, None
    if args.challenger:
        header, salt = {"UNIT_HEADER": args.challenger.key}, arms.salt(name, metadata, opts)
    wanted: Mapping[arms.Role, object] = {"champion": args, "challenger": args.challenger, "shadow": args.shadow}
    return [
        Arm(
            endpoint=name,
            role=role,
            is_routed=True,
            is_guarded=args.callers is not None,
            salt=salt,
            environment={**header, "MODEL_ROLE": role},
        )
        for role, declared in wanted.items()
        if declared
    ]


def _of_arm(arm: Arm, args: ModelEndpointArgs) -> ModelEndpointArgs:
    """Return the settings of one version of an endpoint with a router."""
    slow = replace(args, drain_seconds=max(args.drain_seconds, arms.ROUTED_DRAIN_SECONDS))
    own = {"challenger": args.challenger, "shadow": args.shadow}.get(arm.role)
    if own is None:
        return slow
    size = {"autoscaling": own.size.autoscaling, "cpu": own.size.cpu, "memory": own.size.memory}
    return replace(slow, version=own.version, files=own.files, override="", **size)


def _router(name: str, args: ModelEndpointArgs, after: Sequence[pulumi.Resource]) -> RouterArgs:
    def address(role: arms.Role) -> configuration.Address:
        return configuration.Address(host=f"{Arm(endpoint=name, role=role).host}.{names.SERVING}")

    challenger, shadow = args.challenger, args.shadow
    routes = configuration.Router(
        champion=address("champion"),
        challenger=challenger
        and configuration.Challenger(
            address=address("challenger"),
            percent=challenger.percent,
            key=challenger.key,
            experiment=challenger.experiment,
            versions=(args.version, challenger.version) if challenger.override else None,
        ),
        shadow=shadow and configuration.Shadow(address=address("shadow"), percent=shadow.percent),
        callers=args.callers,
        request_seconds=LAST_REQUEST_SECONDS,
        max_body_bytes=args.max_body_mib << 20,
        path=args.path,
    )
    return RouterArgs(
        endpoint=name,
        image=args.router_image,
        routes=routes,
        namespace=args.grant.namespace,
        placement=args.placement,
        drain_seconds=args.drain_seconds,
        healthy_seconds=args.ingress.healthy_seconds if args.ingress else 0,
        after=after,
        experiment=_experiment(args),
        gate=args.experiment_gate,
        on_unready=args.on_unready,
    )


def _declare(
    arm: Arm,
    args: ModelEndpointArgs,
    metadata: k8s.meta.v1.ObjectMetaArgsDict,
    parent: pulumi.Resource,
    *,
    after: pulumi.Resource | None = None,
) -> k8s.apps.v1.Deployment:
    """Declare the Deployment of one version, with its autoscaler, its disruption budget and its rules."""
    name, child = arm.name, ResourceOptions(parent=parent)
    now = Output.from_input(args.files).apply(lambda files: files.release(args.model, args.version, args.override))
    deployment = k8s.apps.v1.Deployment(
        name,
        metadata={
            **metadata,
            "name": name,
            "labels": arm.labels(args.version),
            "annotations": _annotations(args, now),
        },
        spec=_deployment(arm, args),
        opts=ResourceOptions.merge(
            ResourceOptions(
                parent=parent,
                depends_on=[after] if after else [],
                custom_timeouts=timeouts.rollout(
                    _progress_deadline(args), args.autoscaling.min_replicas, grace_seconds=_grace(args)
                ),
                hooks=args.on_unready,
                # The autoscaler sets the number of pods, so the program does not declare it. Without this option,
                # the plugin removes a number that `kubectl edit` wrote, and Kubernetes then runs a single pod.
                ignore_changes=["spec.replicas"],
            ),
            ResourceOptions(hooks=args.gate),
        ),
    )
    k8s.policy.v1.PodDisruptionBudget(name, metadata=metadata, spec=_disruption(arm.selector), opts=child)
    k8s.autoscaling.v2.HorizontalPodAutoscaler(
        name, metadata=metadata, spec=autoscaling.spec(deployment.metadata.name, args.autoscaling), opts=child
    )
    if args.tracing:
        policy = tracing.egress(arm.selector, args.tracing)
        k8s.networking.v1.NetworkPolicy(f"{name}-tracing", metadata=metadata, spec=policy, opts=child)
    return deployment


def _experiment(args: ModelEndpointArgs) -> Experiment | None:
    challenger = args.challenger
    if challenger is None:
        return None
    return Experiment(name=challenger.experiment, champion=args.version, challenger=challenger.version)


def _annotations(args: ModelEndpointArgs, now: Output[Release]) -> Mapping[str, Input[str]]:
    """Return the annotations: what `kubectl rollout history` shows, and the release."""
    return {
        "kubernetes.io/change-cause": f"{args.model} version {args.version}",
        names.RELEASE: now.apply(release.text),
    }


def _with_present(history: Sequence[Release], annotations: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
    """Return the history with the release that the Deployment has; it is known when the rollout is complete."""
    return release.appended(history, release.served(annotations), datetime.now(UTC).isoformat(timespec="seconds"))


def _deployment(arm: Arm, args: ModelEndpointArgs) -> k8s.apps.v1.DeploymentSpecArgsDict:
    """Return the spec without `replicas`, which the autoscaler sets."""
    log, selector = args.prediction_log, arm.selector
    return {
        "selector": {"match_labels": selector},
        "strategy": {"type": "RollingUpdate", "rolling_update": {"max_unavailable": 0, "max_surge": 1}},
        "progress_deadline_seconds": _progress_deadline(args),
        "revision_history_limit": 3,
        "template": {
            # The server accepts requests from outside, and reads files only.
            "metadata": pods.metadata(arm.pod_labels(args.version), args.grant, autoscaling.SERVER),
            "spec": {
                **pods.hardened(_server(arm, args), placement=args.placement),
                "service_account_name": args.grant.service_account,
                "topology_spread_constraints": pods.spread(selector),
                "termination_grace_period_seconds": _grace(args),
                "init_containers": [_fetch(args), *([_shipper(args)] if log else [])],
                # The model's volume may be as large as the pod's memory: a larger model could not be loaded anyway.
                "volumes": [
                    pods.scratch("tmp", "256Mi"),
                    pods.scratch("model", args.memory),
                    *([model_cache.volume(args.model_cache)] if args.model_cache else []),
                    *([prediction_log.volume(log)] if log else []),
                ],
            },
        },
    }


def _progress_deadline(args: ModelEndpointArgs) -> int:
    """Return the seconds without progress after which a rollout has failed: the time of a slow pod, and some more."""
    return args.startup_seconds + 10 + (args.ingress.healthy_seconds if args.ingress else 0)


def _grace(args: ModelEndpointArgs) -> int:
    """Return the seconds after which Kubernetes kills a pod that it is stopping."""
    return args.drain_seconds + LAST_REQUEST_SECONDS + 5 + (prediction_log.DRAIN_SECONDS if args.prediction_log else 0)


def _fetch(args: ModelEndpointArgs) -> k8s.core.v1.ContainerArgsDict:
    files = Output.from_input(args.files)
    return {
        **_container(args),
        "name": "fetch",
        "command": ["python", "-m", "model_server.fetch"],
        "env": pods.environment(
            {
                **_model(args),
                **args.artifact_store.environment,
                "MODEL_DIGEST": files.apply(lambda each: each.digest),
                "MODEL_SOURCE": files.apply(lambda each: each.source),
                **(model_cache.environment(args.model_cache) if args.model_cache else {}),
            }
        ),
        "env_from": pods.secret_environment(args.grant),
        "volume_mounts": [
            pods.TMP,
            {"name": "model", "mount_path": "/model"},
            *([model_cache.MOUNT] if args.model_cache else []),
        ],
    }


def _shipper(args: ModelEndpointArgs) -> k8s.core.v1.ContainerArgsDict:
    return prediction_log.shipper(_container(args), _model(args), args.artifact_store, args.grant)


def _server(arm: Arm, args: ModelEndpointArgs) -> k8s.core.v1.ContainerArgsDict:
    """Return the server's container; it reads the model from a folder, so it needs no address or credentials."""
    log = args.prediction_log
    # Clients that use all connections of the serving port cannot reach the port of the probes.
    ping: k8s.core.v1.ProbeArgsDict = {"http_get": {"path": "/ping", "port": names.PROBE_PORT}, "timeout_seconds": 3}
    return {
        **_container(args),
        "name": autoscaling.SERVER,
        "env": [
            *pods.environment(
                {
                    **_model(args),
                    # The server's default is left out, so that endpoints that do not use the key are not rolled out.
                    **({"EXAMPLE": "warn"} if args.example == "warn" else {}),
                    "DEADLINE_SECONDS": str(REQUEST_SECONDS),
                    "DRAIN_SECONDS": str(LAST_REQUEST_SECONDS),
                    "MAX_REQUEST_BYTES": str(args.max_body_mib << 20),
                    **({"PATH_PREFIX": args.path} if args.path else {}),
                    "PORT": str(PORT),
                    "PROBE_PORT": str(names.PROBE_PORT),
                    "THREADS": str(_threads(args.cpu)),
                    **(prediction_log.environment(log) if log else {}),
                    **(tracing.environment(args.tracing) if args.tracing else {}),
                }
            ),
            {"name": "MEMORY_BYTES", "value_from": {"resource_field_ref": {"resource": "limits.memory"}}},
            *arm.variables(),
        ],
        "ports": [
            {"name": "http", "container_port": PORT, "protocol": "TCP"},
            {"name": METRICS, "container_port": names.PROBE_PORT, "protocol": "TCP"},
        ],
        "startup_probe": {**ping, "period_seconds": 1, "failure_threshold": args.startup_seconds},
        "readiness_probe": {**ping, "period_seconds": 5, "failure_threshold": 2},
        "liveness_probe": {
            "http_get": {"path": "/health", "port": names.PROBE_PORT},
            "timeout_seconds": 5,
            "period_seconds": 10,
            "failure_threshold": 3,
        },
        # The pod still answers while proxies learn that it stops; the signal makes it close idle connections.
        "lifecycle": {
            "pre_stop": {"exec_": {"command": ["/bin/sh", "-c", f"kill -USR1 1; sleep {args.drain_seconds}"]}}
        },
        "volume_mounts": [
            pods.TMP,
            {"name": "model", "mount_path": "/model", "read_only": True},
            *([prediction_log.MOUNT] if log else []),
        ],
    }


def _container(args: ModelEndpointArgs) -> k8s.core.v1.ContainerArgsDict:
    return {
        "name": "",
        "image": Output.from_input(args.files).apply(lambda each: each.container_image(args.image)),
        "resources": pods.resources(args.cpu, args.memory),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
    }


def _model(args: ModelEndpointArgs) -> Mapping[str, Input[str]]:
    return {"MODEL": args.model, "MODEL_DIR": "/model", "MODEL_VERSION": str(args.version)}


def _threads(cpu: str) -> int:
    """Return the number of concurrent predictions: the CPU request rounded up, but at least two.

    With two, one slow prediction does not block the others. The node's CPUs do not count, because each thread needs
    memory.
    """
    millicpus = int(cpu.removesuffix("m")) * (1 if cpu.endswith("m") else 1000)
    return max(2, math.ceil(millicpus / 1000))


def _disruption(selector: Mapping[str, str]) -> k8s.policy.v1.PodDisruptionBudgetSpecArgsDict:
    """Allow the eviction of one ready pod at a time and of every unready pod, so that a drain never hangs."""
    return {
        "max_unavailable": 1,
        "selector": {"match_labels": selector},
        "unhealthy_pod_eviction_policy": "AlwaysAllow",
    }
