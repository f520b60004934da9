"""Interface between the platform and its foundation: the cluster, the stores and the permissions below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi_kubernetes as k8s
from pulumi import Input

TRAINING_ONLY = "mlops/training-only"
"""Key of the taint of nodes that run only training Jobs."""


@dataclass(frozen=True, kw_only=True)
class ArtifactStore:
    """Bucket with an S3 API."""

    bucket: Input[str]
    """Name of the bucket."""
    uri: Input[str]
    """URI of the bucket, without a slash at its end."""
    environment: Mapping[str, Input[str]]
    """Environment variables by which S3 clients find it, such as region and endpoint."""
    egress: Sequence[k8s.networking.v1.NetworkPolicyEgressRuleArgsDict]
    """NetworkPolicy rules that let pods reach the bucket and the service that gives them credentials."""


@dataclass(frozen=True, kw_only=True)
class DatabaseAdministrator:
    """User that may create other users."""

    user: str
    """User name."""
    password: Input[str]
    """Password of the user."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """Postgres database, empty or with MLflow's schema, that accepts only TLS connections."""

    host: Input[str]
    """Host name of the server."""
    port: int
    """TCP port of the server."""
    name: str
    """Name of the database on the server."""
    user: str
    """User name of MLflow."""
    password: Input[str]
    """Password of the user."""
    authority: Input[str]
    """Certificates (PEM) of the authorities that sign the server's certificate, which names `host`."""
    egress: k8s.networking.v1.NetworkPolicyEgressRuleArgsDict
    """NetworkPolicy rule that lets pods reach the database."""
    administrator: DatabaseAdministrator | None = None
    """User that creates `user` and gives it the database before each migration; None if `user` has it already."""
    identity: Input[str] | None = None
    """Identifier that differs after the database was replaced, as by one from a snapshot; None if it never is."""
    snapshot: Input[str] | None = None
    """Identifier of the snapshot taken before a new MLflow version migrates the schema; None if none is taken."""


@dataclass(frozen=True, kw_only=True)
class NodePool:
    """Group of nodes on which training jobs run."""

    labels: Mapping[str, str]
    """Labels by which pods select the nodes."""
    gpu_resource: str | None = None
    """Resource name of the nodes' GPUs, also the key of their taint; None if they have no GPUs."""
    training_only: bool = False
    """True: the nodes have the taint TRAINING_ONLY, which only training runs tolerate."""
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    """Annotations that keep the cluster from moving a pod before it has ended."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Namespace and identity of one kind of workload, with its access to the artifact store."""

    namespace: Input[str]
    """Namespace of the pods."""
    service_account: Input[str]
    """Service account of the pods."""
    secret: Input[str] | None = None
    """Secret in `namespace` whose keys are environment variables; None if the service account itself gives access."""
    skip_annotation: str | None = None
    """Annotation of a pod that names the containers without credentials, with commas between; None if only containers
    that name `secret` have credentials."""


@dataclass(frozen=True, kw_only=True)
class ClusterAccess:
    """Settings by which kubectl reaches the cluster; without either, it uses the current context."""

    context: str | None = None
    """Context in the kubeconfig of the machine that runs Pulumi."""
    kubeconfig: Input[str] | None = None
    """Content of a kubeconfig, used instead of the machine's."""


@dataclass(frozen=True, kw_only=True)
class IngressRequest:
    """Requirements for the load balancer of one Service, from which a foundation derives an `Ingress`."""

    host: str
    """Host name of the requests."""
    public: bool
    """Whether the internet reaches the load balancer; otherwise only private networks do."""
    certificate: str | None
    """Identifier by which the foundation finds the TLS certificate; None for plain HTTP."""
    cidrs: Sequence[str]
    """Networks that may send requests; empty for the foundation's default."""
    idle_timeout_seconds: int
    """Seconds without data after which the load balancer closes a connection."""
    health_path: str
    """Path that responds with 200 for every Host header."""


@dataclass(frozen=True, kw_only=True)
class Ingress:
    """Settings of the Kubernetes Ingress of one host."""

    host: str
    """Host name of the requests."""
    class_name: str
    """Name of the cluster's ingress class."""
    annotations: Mapping[str, Input[str]]
    """Annotations for the controller of the ingress class."""
    sources: Input[Sequence[str]]
    """Address blocks (CIDR) of the load balancer, from which requests reach the pods."""
    healthy_seconds: int
    """Seconds that the load balancer may take to find a new pod healthy; the pod is not ready before."""


@dataclass(frozen=True, kw_only=True)
class LogQueries:
    """Service that counts the rows of prediction logs by SQL."""

    workgroup: Input[str]
    """Name of Athena's workgroup, and of the database with the tables; it resolves when both exist."""
    region: str
    """Region of the workgroup."""
    egress: Sequence[k8s.networking.v1.NetworkPolicyEgressRuleArgsDict]
    """NetworkPolicy rules by which pods reach the service."""


@dataclass(frozen=True, kw_only=True)
class MonitoringRequest:
    """Settings of a Prometheus that the cloud runs, with its Alertmanager."""

    scrape: str
    """Scrape configuration, as the text of a prometheus.yml."""
    rules: str
    """Text of the rule file."""
    emails: Sequence[str]
    """Addresses of e-mail that get the alerts."""


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """Cluster with the platform's namespaces, its two stores, and a grant for each kind of workload."""

    provider: k8s.Provider
    """Kubernetes provider of the cluster."""
    access: ClusterAccess
    """Settings by which kubectl reaches the cluster."""
    artifact_store: ArtifactStore
    """Bucket of datasets, models and prediction logs."""
    database: Database
    """Database of MLflow."""
    node_pools: Mapping[str, NodePool]
    """Node pools by name."""
    tracking: Grant
    """Grant of MLflow."""
    training: Grant
    """Grant of training jobs."""
    validation: Grant
    """Grant of validation jobs: it reads models and datasets, and writes reports only."""
    serving: Grant
    """Grant of pods in ml-serving that belong to no endpoint."""
    endpoints: Mapping[str, Grant]
    """Grant of each endpoint's model servers, by the endpoint's name."""
    priority_class: Input[str]
    """Name of the PriorityClass of pods that answer requests."""
    facts: Mapping[str, Input[str] | Mapping[str, Input[str]]]
    """Stack outputs that describe the foundation; none is secret."""
    ingress: Callable[[IngressRequest], Ingress] | None = None
    """Function that derives ingress settings; None if the cluster cannot make load balancers."""
    drift: Mapping[str, Grant] = field(default_factory=dict[str, Grant])
    """Grant of each endpoint's drift job, by the endpoint's name: it reads the endpoint's log, outcomes, models and
    datasets, and writes reports and, with outcomes, the endpoint's joined table only."""
    log_queries: LogQueries | None = None
    """Service that the drift jobs with `engine: athena` use; None if the stack declares none."""
    prometheus: Callable[[MonitoringRequest], Mapping[str, Input[str]]] | None = None
    """Function that declares a Prometheus which the cloud runs, and returns stack outputs that describe it; None if
    the foundation has none."""
    batch: Grant | None = None
    """Grant of batches: it reads models, datasets and batches, and writes batches; None in a stack without one."""
