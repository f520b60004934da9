"""Router of an endpoint: Envoy in front of the pods of champion, challenger and shadow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, ResourceHookBinding, ResourceOptions

from components import pods, timeouts
from components.endpoint.experiments import Experiment
from components.router import configuration
from contract import names

EXPERIMENT = "mlops/experiment"
"""Annotation of the Deployment: the experiment as JSON (components/endpoint/experiments.py)."""
CONTAINER = "envoy"
REPLICAS = 2
CPU = "100m"
WORKERS = 2
"""Number of Envoy's worker threads."""
BASE_MIB, BODIES = 256, 8
"""Memory of a router: BASE_MIB, and room for BODIES of the largest bodies, which are kept for mirrors and retries."""
WAIT_SECONDS, START_SECONDS = 20, 30
"""Seconds for which a new router waits for the champion's pods, and within which Envoy must be ready."""
ADMIN_PORT = 9901
WAIT = (
    "for _ in {1..%d}; do timeout 1 bash -c 'exec 3<>/dev/tcp/%s/%d' 2>/dev/null && exit 0; sleep 1; done; "
    "echo 'no pod of the champion accepts connections yet'"
)
"""Script that ends when the champion can be reached. It gives up, because a new endpoint has no champion yet."""
STOP = (
    "ask() {{ exec 3<>/dev/tcp/127.0.0.1/{port}; "
    "printf '%s HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n' \"$1\" >&3; "
    "cat <&3; }}; "
    "ask 'POST /healthcheck/fail'; sleep {drain}; for _ in {{1..{longest}}}; do "
    "ask 'GET /stats?filter=requests.downstream_rq_active' | grep -q 'active: 0' && exit 0; sleep 1; done"
)
"""Script that stops a router: it asks clients to close their connections, waits until no new
ones come, and then waits for the open requests.

Envoy ends its connections at once when it gets SIGTERM.
"""


@dataclass(frozen=True, kw_only=True)
class RouterArgs:
    """Settings of a router."""

    endpoint: str
    """Name of the endpoint."""
    image: str
    """Image with `envoy` and `bash`."""
    routes: configuration.Router
    """Versions and shares; the memory of the container is set here."""
    namespace: Input[str]
    """Namespace of the endpoint."""
    placement: pods.Placement
    """Nodes and priority of the pods."""
    drain_seconds: int
    """Seconds for which a pod that Kubernetes deletes goes on accepting requests."""
    healthy_seconds: int
    """Seconds that a load balancer may take to find a new pod healthy; 0 without one."""
    experiment: Experiment | None
    """Experiment that runs; None with a shadow alone."""
    gate: ResourceHookBinding | None
    """Hooks that decide whether the experiment may run."""
    on_unready: ResourceHookBinding | None
    """Hooks for routers that do not become ready (components/rollout.py)."""
    after: Sequence[pulumi.Resource]
    """Resources that must be ready before the router, and are deleted after it."""


class Router(pulumi.ComponentResource):
    """Pods with Envoy that split and mirror the requests of one endpoint; they get those of the endpoint's Service."""

    def __init__(self, name: str, args: RouterArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:Router", name, None, opts)
        child = ResourceOptions(parent=self)
        selector = names.selector(names.ROUTERS, args.endpoint)
        labels = names.labels(names.ROUTERS, args.endpoint, "router")
        metadata: k8s.meta.v1.ObjectMetaArgsDict = {"namespace": args.namespace, "labels": labels}
        policy = k8s.networking.v1.NetworkPolicy(name, metadata=metadata, spec=_to_pods(selector, args), opts=child)
        k8s.apps.v1.Deployment(
            name,
            metadata={**metadata, "name": name, "annotations": _annotations(args)},
            spec={
                "replicas": REPLICAS,
                "selector": {"match_labels": selector},
                "strategy": {"type": "RollingUpdate", "rolling_update": {"max_unavailable": 0, "max_surge": 1}},
                "progress_deadline_seconds": _progress_deadline(args),
                "revision_history_limit": 3,
                # The endpoint's Service selects the pods by this component.
                "template": {
                    "metadata": {"labels": {**labels, **names.ENDPOINTS}},
                    "spec": {
                        **pods.hardened(_envoy(args), placement=args.placement),
                        "init_containers": [_wait(args)],
                        "topology_spread_constraints": pods.spread(selector),
                        "termination_grace_period_seconds": _grace(args),
                    },
                },
            },
            opts=ResourceOptions.merge(
                ResourceOptions(
                    parent=self,
                    depends_on=[policy, *args.after],
                    hooks=args.on_unready,
                    custom_timeouts=timeouts.rollout(_progress_deadline(args), REPLICAS, grace_seconds=_grace(args)),
                ),
                ResourceOptions(hooks=args.gate),
            ),
        )
        k8s.policy.v1.PodDisruptionBudget(
            name,
            metadata=metadata,
            spec={
                "max_unavailable": 1,
                "selector": {"match_labels": selector},
                "unhealthy_pod_eviction_policy": "AlwaysAllow",
            },
            opts=child,
        )
        self.register_outputs({})


def _annotations(args: RouterArgs) -> Mapping[str, str]:
    """Return the experiment as an annotation, so that other versions change the Deployment, and its hooks run."""
    return {EXPERIMENT: json.dumps(asdict(args.experiment))} if args.experiment else {}


def memory_mib(max_body_mib: int) -> int:
    """Return the memory of a router's pod in MiB."""
    return BASE_MIB + BODIES * max_body_mib


def _progress_deadline(args: RouterArgs) -> int:
    return WAIT_SECONDS + START_SECONDS + 10 + args.healthy_seconds


def _grace(args: RouterArgs) -> int:
    return args.drain_seconds + args.routes.request_seconds + 5


def _memory(args: RouterArgs) -> str:
    return f"{memory_mib(args.routes.max_body_bytes >> 20)}Mi"


def _envoy(args: RouterArgs) -> k8s.core.v1.ContainerArgsDict:
    mib = memory_mib(args.routes.max_body_bytes >> 20)
    config = configuration.configuration(replace(args.routes, memory_bytes=mib << 20, admin_port=ADMIN_PORT))
    stop = STOP.format(port=ADMIN_PORT, drain=args.drain_seconds, longest=args.routes.request_seconds)
    return {
        **_container(args, CONTAINER),
        # Envoy gets its configuration here, so a changed share is a rollout, and a rollback has the former shares.
        "command": ["envoy", "--config-yaml", json.dumps(config), "--concurrency", f"{WORKERS}"],
        "args": ["--disable-hot-restart", "--log-level", "warning"],
        "ports": [
            {"name": "http", "container_port": names.SERVING_PORT, "protocol": "TCP"},
            {"name": "metrics", "container_port": names.PROBE_PORT, "protocol": "TCP"},
        ],
        "startup_probe": {**_probe("/ping"), "period_seconds": 1, "failure_threshold": START_SECONDS},
        "readiness_probe": {**_probe("/ping"), "period_seconds": 5, "failure_threshold": 2},
        "liveness_probe": {**_probe("/health"), "period_seconds": 10, "failure_threshold": 3},
        "lifecycle": {"pre_stop": {"exec_": {"command": ["bash", "-c", stop]}}},
    }


def _wait(args: RouterArgs) -> k8s.core.v1.ContainerArgsDict:
    script = WAIT % (WAIT_SECONDS, args.routes.champion.host, args.routes.champion.port)
    return {**_container(args, "wait"), "command": ["bash", "-c", script]}


def _container(args: RouterArgs, name: str) -> k8s.core.v1.ContainerArgsDict:
    return {
        "name": name,
        "image": args.image,
        "resources": pods.resources(CPU, _memory(args)),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
    }


def _probe(path: str) -> k8s.core.v1.ProbeArgsDict:
    return {"http_get": {"path": path, "port": names.PROBE_PORT}, "timeout_seconds": 3}


def _to_pods(selector: Mapping[str, str], args: RouterArgs) -> k8s.networking.v1.NetworkPolicySpecArgsDict:
    """Return the policy that lets the router reach all pods of its endpoint, and the keys of its callers' issuer."""
    peers: k8s.meta.v1.LabelSelectorArgsDict = {"match_labels": {names.INSTANCE: args.endpoint}}
    ports = (names.SERVING_PORT, names.PROBE_PORT)
    issuer = args.routes.callers.port if args.routes.callers else None
    return {
        "pod_selector": {"match_labels": selector},
        "policy_types": ["Egress"],
        "egress": [
            {"to": [{"pod_selector": peers}], "ports": [{"protocol": "TCP", "port": port} for port in ports]},
            # Addresses of an issuer may change at any time.
            *([{"ports": [{"protocol": "TCP", "port": issuer}]}] if issuer else []),
        ],
    }
