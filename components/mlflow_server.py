"""MLflow server: runs, metrics and the model registry."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceHookBinding, ResourceOptions

from components import mlflow_database, mlflow_gateway, mlflow_identities, mlflow_login, pods, timeouts
from components.foundation import ArtifactStore, Database, Grant, Ingress
from components.ingress import from_load_balancer, ingress
from components.mlflow_database import Connection
from components.mlflow_login import Login
from components.service import service
from contract import names

NAME = names.TRACKING_SERVICE
PORT = names.TRACKING_PORT
SELECTOR = names.selector(NAME, NAME)
# Only pods behind the Service answer requests; the migration has the tracking component's label but not this selector.
LABELS = names.labels(NAME, NAME, "tracking")
GATEWAY = "gateway"
"""Name of the proxy's container, which needs no credentials of the store."""
LOGIN: k8s.core.v1.VolumeMountArgsDict = {"name": "login", "mount_path": mlflow_login.SECRETS, "read_only": True}
SOCKETS: k8s.core.v1.VolumeMountArgsDict = {"name": "socket", "mount_path": mlflow_gateway.SOCKET.rpartition("/")[0]}
MIGRATION = "migration"
"""Name of the container that migrates the database; it reads no artifacts, so it gets no credentials."""
MIGRATION_LABELS = names.labels("mlflow-migration", NAME, "tracking")
DRAIN_SECONDS = 5
GRACE_SECONDS = DRAIN_SECONDS + 30
STARTUP_SECONDS = 180
"""Seconds within which a server must respond for the first time."""
MIGRATION_SECONDS = 540
"""Deadline in seconds of a database migration, with its retries."""


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """Proxy in front of MLflow that verifies who asks."""

    image: str
    """Image with the program `envoy`."""
    trainers: Sequence[str]
    """Service accounts of training Jobs other than the platform's own."""
    watchers: Sequence[str] = ()
    """Service accounts of drift jobs."""
    login: Login | None = None
    """Issuer at which people log in with a browser; None for none."""
    login_secrets: Mapping[str, Input[str]] = field(default_factory=dict[str, Input[str]])
    """Secrets of the login: CLIENT_SECRET and COOKIE_KEY of components/mlflow_login.py."""


@dataclass(frozen=True, kw_only=True)
class MlflowServerArgs:
    """Settings of the MLflow server."""

    image: str
    """MLflow image."""
    replicas: int
    """Number of pods."""
    workers: int
    """Worker processes of one pod."""
    cpu: str
    """CPU request of a pod, as a Kubernetes quantity."""
    memory: str
    """Memory request and limit of a pod, as a Kubernetes quantity."""
    allowed_hosts: Sequence[str]
    """Host headers that MLflow accepts in addition to the names of its Service and its Ingress."""
    database: Database
    """Database of runs, metrics and registered models."""
    artifact_store: ArtifactStore
    """Bucket of the artifacts."""
    grant: Grant
    """Namespace and identity of the pods."""
    clients: Input[str]
    """Namespace of the pods of training, in which MLflow has a second name."""
    placement: pods.Placement
    """Nodes and priority of the pods."""
    gateway: Gateway | None = None
    """Proxy that verifies who asks; None if everybody who reaches MLflow may do everything."""
    ingress: Ingress | None = None
    """Ingress settings; None if MLflow is reached only inside the cluster."""
    on_unready: ResourceHookBinding | None = None
    """Hooks for an update whose pods do not become ready (components/rollout.py)."""


class MlflowServer(pulumi.ComponentResource):
    """MLflow server behind the Service `mlflow`; a Job migrates the database before a new version starts.

    Clients read and write artifacts in the store directly, not through MLflow. MLflow has no accounts. With a gateway,
    each client needs a token of its service account, and components/mlflow_gateway.py says what it may do; without one,
    every client that reaches the Service may change everything.
    """

    url: Output[str]
    """Tracking URI inside the cluster; it resolves when the server is ready."""

    def __init__(self, name: str, args: MlflowServerArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:MlflowServer", name, None, opts)
        child = ResourceOptions(parent=self)
        namespace = args.grant.namespace
        metadata: k8s.meta.v1.ObjectMetaArgsDict = {"namespace": namespace, "labels": LABELS}
        named: k8s.meta.v1.ObjectMetaArgsDict = {**metadata, "name": NAME}
        connection = mlflow_database.connect(name, args.database, args.image, metadata, child)
        k8s.networking.v1.NetworkPolicy(name, metadata=metadata, spec=_policy(args), opts=child)
        migration = k8s.batch.v1.Job(
            f"{name}-migration",
            metadata={"namespace": namespace, "labels": MIGRATION_LABELS},
            spec=_migration(args, connection),
            opts=ResourceOptions(parent=self, custom_timeouts=timeouts.job(MIGRATION_SECONDS)),
        )
        deployment = k8s.apps.v1.Deployment(
            name,
            metadata=named,
            spec=_deployment(
                args,
                connection,
                _gateway_configuration(name, args, metadata, child),
                _login_secret(name, args, metadata, child),
            ),
            opts=ResourceOptions(
                parent=self,
                # A server of a new version must not start with the schema of the old one.
                depends_on=[migration],
                custom_timeouts=timeouts.rollout(_pod_seconds(args), args.replicas, grace_seconds=GRACE_SECONDS),
                hooks=args.on_unready,
            ),
        )
        entry = service(name, SELECTOR, PORT, PORT, metadata=named, opts=child)
        _alias(args.clients, child)
        k8s.policy.v1.PodDisruptionBudget(
            name, metadata=metadata, spec={"max_unavailable": 1, "selector": {"match_labels": SELECTOR}}, opts=child
        )
        if args.ingress:
            ingress(name, args.ingress, entry.metadata.name, PORT, _pod_seconds(args), metadata=named, opts=child)
        self.url = Output.concat("http://", entry.metadata.name, ".", deployment.metadata.namespace, f":{PORT}")
        self.register_outputs({"url": self.url})


def allowed_hosts(more: Sequence[str]) -> str:
    """Return the Host headers that MLflow accepts: the names of its Services, with and without port, and `more`.

    MLflow compares literally and answers 403 to any other host, except for /health.
    """
    qualified = (
        NAME,
        f"{NAME}.{names.PLATFORM}",
        f"{NAME}.{names.PLATFORM}.svc",
        f"{NAME}.{names.PLATFORM}.svc.cluster.local",
        names.TRACKING_ALIAS,
        f"{names.TRACKING_ALIAS}.{names.TRAINING}",
    )
    return ",".join([*qualified, *(f"{host}:{PORT}" for host in qualified), *more])


def sources(bucket: str) -> str:
    """Return the regular expression of the sources that a new version may have: a folder of this s3:// URI.

    A source `models:/` names a model or version of this registry. Prompts have no files, and a constant as source.
    """
    return f"^({re.escape(bucket)}/.|models:/.|(prompt-template|dummy-source)$)"


def _environment(args: MlflowServerArgs, connection: Connection) -> list[k8s.core.v1.EnvVarArgsDict]:
    settings: dict[str, Input[str]] = {
        "MLFLOW_BACKEND_STORE_URI": connection.uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": Output.concat(args.artifact_store.uri, "/mlflow"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HOST": "0.0.0.0",
        "MLFLOW_PORT": str(PORT),
        "MLFLOW_SERVER_ALLOWED_HOSTS": allowed_hosts(
            [*args.allowed_hosts, *([args.ingress.host] if args.ingress else [])]
        ),
        # Each worker process would run a job queue, and together they need more than 1 GiB of memory.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVE_ARTIFACTS": "false",
        "MLFLOW_WORKERS": str(args.workers),
        **args.artifact_store.environment,
    }
    return [*pods.environment(settings), connection.password]


def _rules(args: MlflowServerArgs) -> list[k8s.core.v1.EnvVarArgsDict]:
    """Return the variables that the migration does not need."""
    allowed = Output.from_input(args.artifact_store.uri).apply(sources)
    found: dict[str, Input[str]] = {"MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX": allowed}
    if args.ingress:
        # MLflow refuses the searches of its own page at another origin than localhost.
        has_login = args.gateway and args.gateway.login
        schemes = ("https",) if has_login else ("https", "http")
        found["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(f"{each}://{args.ingress.host}" for each in schemes)
    return pods.environment(found)


def _pod(
    args: MlflowServerArgs, container: k8s.core.v1.ContainerArgsDict, connection: Connection
) -> k8s.core.v1.PodSpecArgsDict:
    return {
        **pods.hardened(container, placement=args.placement),
        "service_account_name": args.grant.service_account,
        "volumes": [pods.scratch("tmp", "512Mi"), *connection.volumes],
    }


def _container(args: MlflowServerArgs, name: str, connection: Connection) -> k8s.core.v1.ContainerArgsDict:
    return {
        "name": name,
        "image": args.image,
        "env": _environment(args, connection),
        "env_from": pods.secret_environment(args.grant),
        "resources": pods.resources(args.cpu, args.memory),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
        "volume_mounts": [pods.TMP, *connection.mounts],
    }


def _alias(namespace: Input[str], opts: ResourceOptions) -> None:
    """Declare the name by which scripts of tutorials ask MLflow, in the namespace of the pods of training."""
    alias = names.TRACKING_ALIAS
    k8s.core.v1.Service(
        alias,
        metadata={
            "name": alias,
            "namespace": namespace,
            "labels": LABELS,
            "annotations": {"pulumi.com/skipAwait": "true"},
        },
        spec={"type": "ExternalName", "external_name": f"{NAME}.{names.PLATFORM}.svc.cluster.local"},
        opts=opts,
    )


def _pod_seconds(args: MlflowServerArgs) -> int:
    """Return the seconds within which a new pod must be ready and receive requests."""
    return timeouts.IMAGE_PULL_SECONDS + STARTUP_SECONDS + (args.ingress.healthy_seconds if args.ingress else 0)


def _migration(args: MlflowServerArgs, connection: Connection) -> k8s.batch.v1.JobSpecArgsDict:
    container: k8s.core.v1.ContainerArgsDict = {
        **_container(args, MIGRATION, connection),
        "command": ["mlflow", "db", "upgrade", "$(MLFLOW_BACKEND_STORE_URI)"],
    }
    pod = _pod(args, container, connection)
    without = [MIGRATION]
    if connection.owner:
        pod["init_containers"] = [connection.owner]
        pod["volumes"] = [pods.scratch("tmp", "512Mi"), *connection.volumes, *connection.owner_volumes]
        without.append(mlflow_database.OWNER)
    return {
        "backoff_limit": 3,
        "active_deadline_seconds": MIGRATION_SECONDS,
        "template": {
            "metadata": pods.metadata(MIGRATION_LABELS, args.grant, *without, annotations=_annotations(args.database)),
            "spec": {**pod, "restart_policy": "Never"},
        },
    }


def _annotations(database: Database) -> dict[str, Input[str]]:
    """Name the database, so that another one is migrated too, and the snapshot to restore from.

    As the values are outputs, the migration waits for both.
    """
    named = {"mlops/database": database.identity, "mlops/database-snapshot": database.snapshot}
    return {key: value for key, value in named.items() if value is not None}


def _gateway_configuration(
    name: str, args: MlflowServerArgs, metadata: k8s.meta.v1.ObjectMetaArgsDict, child: ResourceOptions
) -> Input[str]:
    """Declare the gateway's configuration; another content has another name, so the pods are replaced."""
    if args.gateway is None:
        return ""
    configuration = mlflow_gateway.gateway(
        trainers=args.gateway.trainers, watchers=args.gateway.watchers, login=args.gateway.login
    )
    data = {
        "envoy.json": json.dumps(configuration, sort_keys=True),
        "token.json": json.dumps(mlflow_gateway.token(), sort_keys=True),
    }
    return k8s.core.v1.ConfigMap(f"{name}-gateway", metadata=metadata, data=data, opts=child).metadata.name


def _login_secret(
    name: str, args: MlflowServerArgs, metadata: k8s.meta.v1.ObjectMetaArgsDict, child: ResourceOptions
) -> Input[str]:
    """Declare the secrets of the login; other contents have another name, so the pods are replaced."""
    if args.gateway is None or args.gateway.login is None:
        return ""
    data = {**mlflow_login.secret_files(), **args.gateway.login_secrets}
    return k8s.core.v1.Secret(f"{name}-login", metadata=metadata, string_data=data, opts=child).metadata.name


def _add_gateway(
    pod: k8s.core.v1.PodSpecArgsDict,
    gateway: Gateway,
    configuration: Input[str],
    login_secret: Input[str],
    connection: Connection,
) -> None:
    login: list[k8s.core.v1.VolumeArgsDict] = (
        [{"name": LOGIN["name"], "secret": {"secret_name": login_secret}}] if gateway.login else []
    )
    proxy: k8s.core.v1.ContainerArgsDict = {
        **mlflow_identities.envoy(GATEWAY, gateway.image),
        "ports": [
            {"name": "http", "container_port": PORT, "protocol": "TCP"},
            {"name": "metrics", "container_port": mlflow_gateway.METRICS_PORT, "protocol": "TCP"},
        ],
        "startup_probe": {"tcp_socket": {"port": PORT}, "period_seconds": 1, "failure_threshold": 60},
        "volume_mounts": [
            mlflow_identities.CONFIGURATION,
            mlflow_identities.TOKENS,
            SOCKETS,
            *([LOGIN] if gateway.login else []),
        ],
    }
    pod["init_containers"] = [proxy]
    pod["volumes"] = [
        pods.scratch("tmp", "512Mi"),
        pods.scratch("socket", "1Mi"),
        mlflow_identities.configuration(configuration),
        mlflow_identities.tokens(for_api_server=True),
        *login,
        *connection.volumes,
    ]


def _deployment(
    args: MlflowServerArgs, connection: Connection, configuration: Input[str], login_secret: Input[str]
) -> k8s.apps.v1.DeploymentSpecArgsDict:
    health: k8s.core.v1.ProbeArgsDict = {"http_get": {"path": "/health", "port": PORT}, "timeout_seconds": 5}
    container: k8s.core.v1.ContainerArgsDict = {
        **_container(args, "mlflow", connection),
        "env": [*_environment(args, connection), *_rules(args)],
        "command": ["mlflow", "server"],
        "ports": [{"name": "http", "container_port": PORT, "protocol": "TCP"}],
        "startup_probe": {**health, "period_seconds": 2, "failure_threshold": STARTUP_SECONDS // 2},
        "readiness_probe": {**health, "period_seconds": 5},
        "liveness_probe": {**health, "period_seconds": 10, "failure_threshold": 6},
        "lifecycle": {"pre_stop": {"sleep": {"seconds": DRAIN_SECONDS}}},
    }
    if args.gateway:
        del container["ports"]
        container["command"] = ["mlflow", "server", "--uvicorn-opts", f"--uds {mlflow_gateway.SOCKET}"]
        container["volume_mounts"] = [pods.TMP, SOCKETS, *connection.mounts]
    pod = _pod(args, container, connection)
    if args.gateway:
        _add_gateway(pod, args.gateway, configuration, login_secret, connection)
    return {
        "replicas": args.replicas,
        "selector": {"match_labels": SELECTOR},
        "strategy": {"type": "RollingUpdate", "rolling_update": {"max_unavailable": 0, "max_surge": 1}},
        "revision_history_limit": 3,
        "template": {
            "metadata": pods.metadata(LABELS, args.grant, *([GATEWAY] if args.gateway else [])),
            "spec": {
                **pod,
                "topology_spread_constraints": pods.spread(SELECTOR),
                "termination_grace_period_seconds": GRACE_SECONDS,
            },
        },
    }


def _policy(args: MlflowServerArgs) -> k8s.networking.v1.NetworkPolicySpecArgsDict:
    login = args.gateway.login if args.gateway else None
    return {
        "pod_selector": {"match_labels": names.TRACKING_PODS},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {
                "from_": [{"namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": names.TRAINING}}}],
                "ports": [{"protocol": "TCP", "port": PORT}],
            },
            *([from_load_balancer(args.ingress, PORT)] if args.ingress else []),
        ],
        "egress": [
            args.database.egress,
            *args.artifact_store.egress,
            *([pods.TO_API_SERVER] if args.gateway else []),
            # Addresses of an issuer may change at any time.
            *([{"ports": [{"protocol": "TCP", "port": port} for port in login.ports]}] if login else []),
        ],
    }
