"""Foundation of `kind: aws`: network, cluster, stores and permissions in an AWS account."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import foundation
from components.aws import (
    access_logs,
    database,
    kubernetes_access,
    load_balancer,
    nodes,
    rds_authorities,
    workload_identity,
)
from components.aws import account as accounts
from components.aws.access_logs import AccessLogs, AccessLogsArgs
from components.aws.account import Account
from components.aws.alarms import Alarms, AlarmsArgs
from components.aws.artifact_bucket import (
    ARTIFACTS,
    BATCHES,
    DATASETS,
    PREDICTIONS,
    REPORTS,
    ArtifactBucket,
    ArtifactBucketArgs,
    PodNetwork,
    addresses,
)
from components.aws.backup import Backup, BackupArgs
from components.aws.cluster import Cluster, ClusterArgs
from components.aws.database import Database, DatabaseArgs, DatabaseSnapshot, DatabaseSnapshotArgs
from components.aws.existing_cluster import ExistingCluster, ExistingClusterArgs
from components.aws.existing_network import ExistingNetwork, ExistingNetworkArgs
from components.aws.image_registry import ImageRegistry, ImageRegistryArgs
from components.aws.log_queries import LogQueries, LogQueriesArgs
from components.aws.managed_grafana import IdentityCenter, ManagedGrafana, ManagedGrafanaArgs, Saml
from components.aws.managed_node_group import ManagedNodeGroup, ManagedNodeGroupArgs
from components.aws.managed_prometheus import ManagedPrometheus, ManagedPrometheusArgs
from components.aws.network import Network, NetworkArgs
from components.aws.node_agents import NodeAgents, NodeAgentsArgs, addon
from components.aws.node_pool import GPU_TAINT, GRACE_HOURS, UNDISTURBED, NodePool, NodePoolArgs
from components.aws.nodes import Nodes, NodesArgs
from components.aws.pod_logs import PodLogs, PodLogsArgs
from components.aws.policy_documents import Rights, Statement
from components.aws.workload_identity import WorkloadIdentity, WorkloadIdentityArgs
from components.ingress import peers
from components.namespaces import CLUSTER_DNS, DNS_PODS, Namespaces, NamespacesArgs, QuotaArgs
from contract import names
from infra.config import aws
from infra.config import stack as settings
from infra.config.athena import Athena
from infra.config.aws import POOL_LABEL, AwsFoundation, ManagedNodePool
from infra.config.drift import OUTCOMES
from infra.config.monitoring import Grafana, IdentityCenterGrafana, ManagedMonitoring, Monitoring
from infra.config.stack import Settings
from infra.foundations import aws_changes
from infra.foundations.aws_checks import check, name_access

IMAGES = ("tracking", "training", "serving")
POD_IDENTITY_AGENT = "169.254.170.23/32"
"""Address from which a pod gets its role's credentials (EKS user guide, "Pod Identity")."""
_MODELS, _DATA, _PREDICTIONS, _REPORTS = ((each,) for each in (ARTIFACTS, DATASETS, PREDICTIONS, REPORTS))
RIGHTS: Mapping[str, Rights] = {
    # Clients write artifacts themselves. MLflow's route `upload-artifact` writes with MLflow's own role, for every
    # client that reaches MLflow.
    "tracking": Rights(read=_MODELS + _REPORTS),
    "training": Rights(read=_MODELS + _DATA, write=_MODELS),
    "validation": Rights(read=_MODELS + _DATA, write=_REPORTS),
    "serving": Rights(read=_MODELS, write=_PREDICTIONS),
    "batch": Rights(read=_MODELS + _DATA + (BATCHES,), write=(BATCHES,)),
}
"""Permissions of each workload for the bucket's objects; an endpoint writes below the prefix of its model only."""
ROLES = {"batch": "training-batch", "validation": "training-validation"}
"""Roles whose name is not the workload's: `mlops-deploy` may create roles named training-* and serving-*, and no
others; the names serving-* are those of endpoints."""
LONGEST_ROLE = 64 - 8


@dataclass(frozen=True, kw_only=True)
class Site:
    """Settings that all parts of the foundation share."""

    name: str
    """Name of a new cluster and prefix of all fixed names, unique in an account and region."""
    account: Account
    """AWS account of the stack."""
    zones: Sequence[str]
    """Names of the region's zones that can hold a cluster."""
    chosen: AwsFoundation
    """Settings of the stack file."""


def build(stack: Settings, chosen: AwsFoundation) -> foundation.Foundation:
    """Declare the foundation.

    Raises:
        pulumi.RunError: a check failed, such as that of the credentials' account, or a change is impossible.
    """
    site = Site(
        name=f"{pulumi.get_project()}-{pulumi.get_stack()}",
        account=accounts.current(),
        zones=accounts.zones(),
        chosen=chosen,
    )
    check(site.name, site.account, site.zones, stack)
    name_access(site.account, chosen)
    facts = aws_changes.facts(site.account.region, chosen)
    aws_changes.announce(facts)
    registry = _registry(site, stack)
    network = _network(site)
    cluster = _cluster(site, network, [names.PREVIEWERS] if stack.tracking.authenticated else [])
    pools = _node_pools(site, network, cluster, stack.training)
    _metrics(cluster, pools)
    _pod_logs(site, cluster, pools)
    logs = _access_logs(site)
    bucket = _bucket(site, logs, network, athena=any(each.engine == "athena" for each in stack.watched.values()))
    queries = _queries(site, stack.athena, bucket)
    store = _database(site, network, cluster)
    to_s3 = _egress_to_s3(site, network)
    egress = to_s3 if chosen.egress == "s3" else _egress()
    namespaces = Namespaces(
        "namespaces",
        NamespacesArgs(
            platform=QuotaArgs(**stack.quotas.platform.model_dump()),
            training=QuotaArgs(**stack.quotas.training.model_dump()),
            serving=QuotaArgs(**stack.quotas.serving.model_dump()),
            artifact_store=egress,
            artifact_store_only=to_s3,
            dns=_dns(cluster.service_cidr),
            drift=bool(stack.watched),
            guarded=stack.has_guarded_pods,
            labels=load_balancer.READINESS_GATES,
        ),
        # The nodes must not be deleted before the pods.
        ResourceOptions(provider=cluster.provider, depends_on=pools),
    )
    namespace_of = {
        "tracking": namespaces.platform,
        "training": namespaces.training,
        "validation": namespaces.training,
        "serving": namespaces.serving,
        **({"batch": namespaces.serving} if stack.batch else {}),
    }
    # What all identities have in common.
    store_access = _StoreAccess(bucket=bucket, cluster=cluster, boundary=chosen.permissions_boundary)
    grants = {
        name: store_access.grant(ROLES.get(name, name), name, namespace, rights=RIGHTS[name])
        for name, namespace in namespace_of.items()
    }
    endpoints = {
        name: store_access.grant(
            _role("serving-", name),
            f"serving-{name}",
            namespaces.serving,
            rights=_endpoint_rights(stack.served_model(name)),
        )
        for name in stack.endpoints
    }
    drift = {
        name: store_access.grant(
            _role("training-drift-", name),
            names.drift_account(name),
            namespaces.training,
            rights=_drift_rights(name, stack),
            further=queries.statements if queries and watched.engine == "athena" else (),
        )
        for name, watched in stack.watched.items()
    }
    return foundation.Foundation(
        provider=cluster.provider,
        access=foundation.ClusterAccess(kubeconfig=kubernetes_access.kubeconfig(cluster.access)),
        artifact_store=foundation.ArtifactStore(
            bucket=bucket.name,
            uri=Output.concat("s3://", bucket.name),
            environment={"AWS_REGION": site.account.region},
            egress=egress,
        ),
        database=foundation.Database(
            host=store.host,
            port=database.PORT,
            name=database.NAME,
            user=database.USER,
            password=database.user_password(settings.secret("database_password")),
            authority=chosen.database.authority or rds_authorities.root(site.account.region) or "",
            administrator=foundation.DatabaseAdministrator(
                user=database.ADMINISTRATOR, password=settings.secret("database_password")
            ),
            egress={"to": peers(network.cidrs), "ports": [{"protocol": "TCP", "port": database.PORT}]},
            identity=store.identity,
            snapshot=_snapshot(site, store, stack.images.tracking) if chosen.database.snapshots else None,
        ),
        node_pools={
            name: foundation.NodePool(
                labels={POOL_LABEL: name},
                gpu_resource=GPU_TAINT if pool.gpu else None,
                training_only=pool.training_only,
                annotations=UNDISTURBED,
            )
            for name, pool in chosen.node_pools.items()
        },
        **grants,
        endpoints=endpoints,
        drift=drift,
        log_queries=_log_queries(site, network, queries),
        priority_class=namespaces.priority_class,
        facts={
            "cluster": cluster.name,
            "kubeconfig_command": kubernetes_access.update_kubeconfig_command(_cluster_name(site), site.account.region),
            "registry": registry.urls,
            **_alarms(site, network, cluster, stack),
            **_backup(site, store, bucket),
            **({"athena": queries.name} if queries else {}),
            aws_changes.OUTPUT: facts,
        },
        ingress=lambda request: foundation.Ingress(
            host=request.host,
            class_name=load_balancer.CLASS,
            annotations=load_balancer.annotations(
                request,
                subnet_ids=network.public_subnet_ids if request.public else network.internal_subnet_ids,
                network=network.cidrs,
                access_logs=(logs.bucket, access_logs.LOAD_BALANCERS) if logs else None,
            ),
            sources=network.public_sources if request.public else network.internal_sources,
            healthy_seconds=load_balancer.HEALTHY_SECONDS,
        ),
        prometheus=lambda request: _monitoring(site, network, cluster, request, stack.monitoring),
    )


def _cluster_name(site: Site) -> str:
    cluster = site.chosen.cluster
    return cluster.name if isinstance(cluster, aws.ExistingCluster) else site.name


def _node_roles(site: Site) -> list[str]:
    managed = [name for name, pool in site.chosen.node_pools.items() if isinstance(pool, ManagedNodePool)]
    return [nodes.role_name(site.name), *(_managed_role(site, name) for name in managed)]


def _image_readers(site: Site) -> list[str]:
    """Return the roles of nodes, the administrators' roles and `image_reader_role_arns`."""
    cluster = site.chosen.cluster
    administrators = () if isinstance(cluster, aws.ExistingCluster) else cluster.admin_role_arns
    node_roles = (accounts.role_arn(name, site.account) for name in _node_roles(site))
    return [*node_roles, *administrators, *site.chosen.image_reader_role_arns]


def _managed_role(site: Site, pool: str) -> str:
    return f"{site.name}-{pool}-nodes"


def _registry(site: Site, stack: Settings) -> ImageRegistry:
    """Declare the registry without dependencies, so that images can be pushed before the first pod starts."""
    return ImageRegistry(
        "images",
        ImageRegistryArgs(
            prefix=site.name,
            images=(*IMAGES, *(["envoy"] if stack.images.envoy else [])),
            puller_role_arns=_image_readers(site),
            keep=site.chosen.keep_images,
            protected=site.chosen.artifacts.protected,
            account=site.account,
        ),
    )


def _network(site: Site) -> Network | ExistingNetwork:
    match site.chosen.network:
        case aws.ExistingNetwork() as existing:
            return ExistingNetwork(
                "network",
                ExistingNetworkArgs(
                    vpc_id=existing.vpc_id,
                    private_subnet_ids=existing.private_subnet_ids,
                    public_subnet_ids=existing.public_subnet_ids,
                ),
            )
        case new:
            return Network(
                "network",
                NetworkArgs(
                    cidr=new.cidr,
                    zones=site.zones[: new.availability_zones],
                    nat_gateways=new.nat_gateways,
                    load_balancers=new.load_balancers,
                    interface_endpoints=new.interface_endpoints,
                    flow_log_days=new.flow_log_days,
                    cluster_name=_cluster_name(site),
                    permissions_boundary=site.chosen.permissions_boundary,
                    account=site.account,
                ),
            )


def _cluster(
    site: Site, network: Network | ExistingNetwork, preview_groups: Sequence[str]
) -> Cluster | ExistingCluster:
    match site.chosen.cluster:
        case aws.ExistingCluster() as existing:
            return ExistingCluster("cluster", ExistingClusterArgs(cluster_name=existing.name, account=site.account))
        case new:
            return Cluster(
                "cluster",
                ClusterArgs(
                    cluster_name=site.name,
                    kubernetes_version=new.kubernetes_version,
                    service_cidr=new.service_cidr,
                    subnet_ids=network.control_plane_subnet_ids,
                    admin_role_arns=new.admin_role_arns,
                    preview_role_arns=new.preview_role_arns,
                    preview_groups=preview_groups,
                    people=new.access.groups,
                    public_access_cidrs=new.public_access_cidrs,
                    vpc_id=network.vpc_id,
                    private_access_cidrs=network.cidrs.apply(lambda vpc: sorted({*vpc, *new.private_access_cidrs})),
                    log_days=new.log_days,
                    permissions_boundary=site.chosen.permissions_boundary,
                    protected=new.protected,
                    account=site.account,
                ),
            )


def _node_pools(
    site: Site,
    network: Network | ExistingNetwork,
    cluster: Cluster | ExistingCluster,
    training: Mapping[str, settings.Training],
) -> list[pulumi.Resource]:
    shared = Nodes(
        "nodes",
        NodesArgs(
            prefix=site.name,
            cluster_name=cluster.name,
            cluster_role_arn=cluster.role_arn,
            disk_role_arns=_autoscaling(site),
            permissions_boundary=site.chosen.permissions_boundary,
            protected=False,
            account=site.account,
        ),
    )
    pools: list[pulumi.Resource] = []
    # Nodes need the network for as long as they exist, to reach AWS and image registries.
    agents = _agents(site, cluster)
    connected = ResourceOptions(depends_on=[network, *([agents] if agents else [])])
    for name, pool in site.chosen.node_pools.items():
        match pool:
            case ManagedNodePool():
                pools.append(
                    ManagedNodeGroup(
                        name,
                        ManagedNodeGroupArgs(
                            role_name=_managed_role(site, name),
                            labels={POOL_LABEL: name},
                            instance_types=pool.instance_types,
                            capacity=pool.capacity,
                            architecture=pool.architecture,
                            nodes=pool.max,
                            gpu=pool.gpu is not None,
                            training_only=pool.training_only,
                            disk_gib=pool.disk_gib,
                            cluster_name=cluster.name,
                            kubernetes_version=cluster.version,
                            subnet_ids=network.private_subnet_ids,
                            disk_key_arn=shared.disk_key_arn,
                            permissions_boundary=site.chosen.permissions_boundary,
                            account=site.account,
                        ),
                        connected,
                    )
                )
            case auto:
                pools.append(
                    NodePool(
                        name,
                        NodePoolArgs(
                            labels={POOL_LABEL: name},
                            instance_families=auto.instance_families,
                            capacity=auto.capacity,
                            architecture=auto.architecture,
                            zones=auto.zones,
                            max_cpus=auto.max_cpus,
                            max_gpus=auto.gpu.max if auto.gpu else None,
                            disk_gib=auto.disk_gib,
                            training_only=auto.training_only,
                            expire_after_days=auto.expire_after_days,
                            grace_hours=_grace_hours(name, training),
                            max_disrupted=auto.max_disrupted,
                            policy_logs=site.chosen.network_policy_logs,
                            node_role=shared.role_name,
                            subnet_ids=network.private_subnet_ids,
                            security_group_id=cluster.security_group_id,
                            disk_key_arn=shared.disk_key_arn,
                        ),
                        ResourceOptions.merge(connected, ResourceOptions(provider=cluster.provider)),
                    )
                )
    if agents:
        pools.append(_dns_server(cluster, agents, pools))
    return pools


def _grace_hours(pool: str, training: Mapping[str, settings.Training]) -> int:
    """Return the hours that an expired node of the pool waits: as long as its longest training run may take."""
    minutes = (job.deadline_minutes for job in training.values() if job.node_pool == pool)
    return max(GRACE_HOURS, math.ceil(max(minutes, default=0) / 60))


def _agents(site: Site, cluster: Cluster | ExistingCluster) -> NodeAgents | None:
    """Declare the agents of managed nodes; return None if there are no managed nodes."""
    if not any(isinstance(pool, ManagedNodePool) for pool in site.chosen.node_pools.values()):
        return None
    return NodeAgents("node-agents", NodeAgentsArgs(cluster_name=cluster.name, kubernetes_version=cluster.version))


def _dns_server(
    cluster: Cluster | ExistingCluster, agents: NodeAgents, pools: Sequence[pulumi.Resource]
) -> pulumi.Resource:
    """Declare CoreDNS for managed nodes; its pods need one of these nodes."""
    return addon(
        "node-agents-coredns",
        "coredns",
        NodeAgentsArgs(cluster_name=cluster.name, kubernetes_version=cluster.version),
        # Its former parent was `agents`, for which the nodes wait.
        ResourceOptions(parent=cluster, depends_on=pools, aliases=[pulumi.Alias(parent=agents)]),
    )


def _metrics(cluster: Cluster | ExistingCluster, pools: Sequence[pulumi.Resource]) -> None:
    """Declare the metrics server, which autoscalers need, in a new cluster; its pods need a node."""
    if isinstance(cluster, Cluster):
        addon(
            "cluster-metrics-server",
            "metrics-server",
            NodeAgentsArgs(cluster_name=cluster.name, kubernetes_version=cluster.version),
            ResourceOptions(parent=cluster, depends_on=pools),
        )


def _autoscaling(site: Site) -> list[str]:
    """Return the ARN of EC2 Auto Scaling's role, which creates the disks of managed nodes; empty without such nodes."""
    if not any(isinstance(pool, ManagedNodePool) for pool in site.chosen.node_pools.values()):
        return []
    path = "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    return [f"arn:{site.account.partition}:iam::{site.account.id}:{path}"]


def _pod_logs(site: Site, cluster: Cluster | ExistingCluster, pools: Sequence[pulumi.Resource]) -> None:
    """Declare the shipping of all containers' logs, in a new cluster that asks for it."""
    new = site.chosen.cluster
    if isinstance(new, aws.NewCluster) and new.pod_log_days:
        args = PodLogsArgs(
            cluster=site.name,
            cluster_name=cluster.name,
            cluster_arn=cluster.arn,
            kubernetes_version=cluster.version,
            retention_days=new.pod_log_days,
            nodes=pools,
            permissions_boundary=site.chosen.permissions_boundary,
            account=site.account,
        )
        PodLogs("cluster-pod-logs", args)


def _alarms(
    site: Site, network: Network | ExistingNetwork, cluster: Cluster | ExistingCluster, stack: Settings
) -> Mapping[str, Input[str]]:
    """Declare the alarms, if the stack has some; return their topic as a fact."""
    if site.chosen.alarms is None:
        return {}
    hosts: dict[str, set[str]] = {}
    for ingress in (stack.tracking.ingress, *(each.ingress for each in stack.endpoints.values())):
        if ingress and ingress.certificate_arn:
            hosts.setdefault(ingress.certificate_arn, set()).add(ingress.host)
    args = AlarmsArgs(
        prefix=site.name,
        emails=site.chosen.alarms.emails,
        database=site.name,
        database_class=site.chosen.database.instance_class,
        database_storage_gib=site.chosen.database.storage_gib,
        nat_gateway_ids=network.nat_gateway_ids if isinstance(network, Network) else {},
        cluster_name=cluster.name,
        certificates=hosts,
        account=site.account,
    )
    return {"alarms": Alarms("alarms", args).topic_arn}


def _monitoring(
    site: Site,
    network: Network | ExistingNetwork,
    cluster: Cluster | ExistingCluster,
    request: foundation.MonitoringRequest,
    chosen: Monitoring | None,
) -> Mapping[str, Input[str]]:
    """Declare a managed Prometheus, and a managed Grafana if wanted; return stack outputs that describe them."""
    args = ManagedPrometheusArgs(
        prefix=site.name,
        cluster_arn=cluster.arn,
        subnet_ids=network.private_subnet_ids,
        security_group_id=cluster.security_group_id,
        scrape=request.scrape,
        rules=request.rules,
        emails=request.emails,
        account=site.account,
    )
    prometheus = ManagedPrometheus("prometheus", args)
    outputs: dict[str, Input[str]] = {"prometheus": prometheus.url, "alerts": prometheus.topic_arn}
    if isinstance(chosen, ManagedMonitoring) and chosen.grafana:
        outputs["grafana"] = _grafana(site, prometheus, chosen.grafana).url
    return outputs


def _grafana(site: Site, prometheus: ManagedPrometheus, chosen: Grafana) -> ManagedGrafana:
    login = IdentityCenter if isinstance(chosen, IdentityCenterGrafana) else Saml
    args = ManagedGrafanaArgs(
        prefix=site.name,
        prometheus_arn=prometheus.arn,
        login=login(**chosen.model_dump(exclude={"kind"})),
        permissions_boundary=site.chosen.permissions_boundary,
        account=site.account,
    )
    return ManagedGrafana("grafana", args)


def _backup(site: Site, store: Database, bucket: ArtifactBucket) -> Mapping[str, Input[str]]:
    """Declare the backups, if the stack has some; return their vaults as facts."""
    if (chosen := site.chosen.backup) is None:
        return {}
    args = BackupArgs(
        prefix=site.name,
        days=chosen.days,
        copy_region=chosen.copy_region,
        copy_days=chosen.copy_days,
        resource_arns=[store.arn, bucket.arn],
        protected=site.chosen.database.protected,
        permissions_boundary=site.chosen.permissions_boundary,
        account=site.account,
    )
    backup = Backup("backup", args)
    return {"backup_vault": backup.vault, "backup_copies": backup.copy_vault_arn}


def _queries(site: Site, chosen: Athena | None, bucket: ArtifactBucket) -> LogQueries | None:
    """Declare Athena over the prediction log, if the stack has it."""
    if chosen is None:
        return None
    args = LogQueriesArgs(
        name=re.sub(r"\W", "_", site.name).lower(),
        results=f"{site.name}-{site.account.id}-athena",
        bucket=bucket.name,
        key_arn=bucket.key_arn,
        query_limit_gib=chosen.query_limit_gib,
        result_days=chosen.result_days,
        account=site.account,
    )
    return LogQueries("log-queries", args)


def _log_queries(
    site: Site, network: Network | ExistingNetwork, queries: LogQueries | None
) -> foundation.LogQueries | None:
    """Return Athena as the drift jobs reach it.

    Its interface endpoint has addresses of the VPC. Without one, its addresses are any of AWS's.
    """
    if queries is None:
        return None
    https, _ = _egress()
    new = site.chosen.network
    private = isinstance(new, aws.NewNetwork) and "athena" in new.interface_endpoints
    rule: k8s.networking.v1.NetworkPolicyEgressRuleArgsDict = (
        {**https, "to": peers(network.cidrs)} if private else https
    )
    return foundation.LogQueries(workgroup=queries.name, region=site.account.region, egress=[rule])


def _access_logs(site: Site) -> AccessLogs | None:
    if site.chosen.access_log_days is None:
        return None
    args = AccessLogsArgs(
        bucket=f"{site.name}-{site.account.id}-access-logs",
        days=site.chosen.access_log_days,
        protected=site.chosen.artifacts.protected,
        account=site.account,
    )
    return AccessLogs("access-logs", args)


def _bucket(site: Site, logs: AccessLogs | None, network: Network | ExistingNetwork, *, athena: bool) -> ArtifactBucket:
    chosen = site.chosen.artifacts
    # The ARN is made from the name, because the policy must not wait for the cluster.
    cluster_arn = accounts.arn("eks", f"cluster/{_cluster_name(site)}", site.account)
    alias = f"{site.name}-artifacts"
    return ArtifactBucket(
        "artifacts",
        ArtifactBucketArgs(
            bucket=chosen.bucket,
            key_alias=alias,
            noncurrent_days=chosen.noncurrent_days,
            prediction_log_days=chosen.prediction_log_days,
            access_log_bucket=chosen.access_log_bucket or (logs and logs.bucket),
            access_log_prefix=alias if chosen.access_log_bucket else f"{access_logs.BUCKETS}/{alias}",
            # An existing network may have no endpoint for S3.
            pods=PodNetwork(cluster_arn=cluster_arn, vpc_id=network.vpc_id, athena=athena)
            if isinstance(network, Network)
            else None,
            protected=chosen.protected,
            account=site.account,
        ),
    )


def _database(site: Site, network: Network | ExistingNetwork, cluster: Cluster | ExistingCluster) -> Database:
    chosen = site.chosen.database
    return Database(
        "database",
        DatabaseArgs(
            identifier=site.name,
            engine_version=chosen.engine_version,
            instance_class=chosen.instance_class,
            storage_gib=chosen.storage_gib,
            max_storage_gib=chosen.max_storage_gib,
            multi_az=chosen.multi_az,
            backup_days=chosen.backup_days,
            restore_from=chosen.restore_from,
            protected=chosen.protected,
            final_snapshot=chosen.snapshots,
            log_days=chosen.log_days,
            account=site.account,
            password=settings.secret("database_password"),
            vpc_id=network.vpc_id,
            subnet_ids=network.private_subnet_ids,
            client_security_group_id=cluster.security_group_id,
        ),
    )


def _snapshot(site: Site, store: Database, image: str) -> Output[str]:
    """Declare a snapshot that is taken before another MLflow image may migrate the schema."""
    args = DatabaseSnapshotArgs(prefix=site.name, database=site.name, before=image)
    return DatabaseSnapshot("before-mlflow", args, ResourceOptions(depends_on=[store])).arn


@dataclass(frozen=True, kw_only=True)
class _StoreAccess:
    """Bucket and cluster, between which each workload gets an identity."""

    bucket: ArtifactBucket
    cluster: Cluster | ExistingCluster
    boundary: str | None

    def grant(
        self,
        role: str,
        service_account: str,
        namespace: Input[str],
        *,
        rights: Rights,
        further: Sequence[Statement] = (),
    ) -> foundation.Grant:
        """Create a role, and the service account whose pods get it."""
        identity = WorkloadIdentity(
            role,
            WorkloadIdentityArgs(
                service_account=service_account,
                namespace=namespace,
                rights=rights,
                further=further,
                bucket_arn=self.bucket.arn,
                key_arn=self.bucket.key_arn,
                cluster_name=self.cluster.name,
                cluster_arn=self.cluster.arn,
                permissions_boundary=self.boundary,
            ),
            ResourceOptions(provider=self.cluster.provider),
        )
        return foundation.Grant(
            namespace=namespace,
            service_account=identity.service_account,
            skip_annotation=workload_identity.SKIP_CONTAINERS,
        )


def _endpoint_rights(model: str) -> Rights:
    """Return the permissions of an endpoint; model servers upload logs below `predictions/model=NAME/`."""
    return Rights(read=_MODELS, write=(f"{PREDICTIONS}model={model}/",))


def _drift_rights(name: str, stack: Settings) -> Rights:
    """Return the permissions of an endpoint's drift job; it reads the log of its model only."""
    log = (f"{PREDICTIONS}model={stack.served_model(name)}/", OUTCOMES)
    joined = (f"{names.JOINED_TABLES}/{name}/",) if stack.endpoints[name].outcomes else ()
    return Rights(read=_MODELS + _DATA + log, write=(f"{names.DRIFT_REPORTS}/", *joined))


def _role(prefix: str, endpoint: str) -> str:
    """Return the name of an endpoint's role without Pulumi's eight characters; IAM allows 64 in all."""
    longest = LONGEST_ROLE - len(prefix)
    if len(endpoint) <= longest:
        return f"{prefix}{endpoint}"
    return f"{prefix}{endpoint[: longest - 9]}-{sha256(endpoint.encode()).hexdigest()[:8]}"


def _egress() -> list[k8s.networking.v1.NetworkPolicyEgressRuleArgsDict]:
    """Return rules for port 443 of every address, and for the agent on the node that gives out credentials."""
    return [
        {"to": [{"ip_block": {"cidr": "0.0.0.0/0"}}], "ports": [{"protocol": "TCP", "port": 443}]},
        {"to": [{"ip_block": {"cidr": POD_IDENTITY_AGENT}}], "ports": [{"protocol": "TCP", "port": 80}]},
    ]


def _egress_to_s3(
    site: Site, network: Network | ExistingNetwork
) -> list[k8s.networking.v1.NetworkPolicyEgressRuleArgsDict]:
    """Return rules for the addresses of S3 in the stack's region, as AWS lists them now, and for the agent.

    An existing network may have an interface endpoint for S3, whose addresses are those of the VPC.
    """
    https, agent = _egress()
    places = [addresses(site.account.region), *([network.cidrs] if isinstance(network, ExistingNetwork) else [])]
    return [*({**https, "to": peers(each)} for each in places), agent]


def _dns(service_cidr: Output[str]) -> k8s.networking.v1.NetworkPolicyEgressRuleArgsDict:
    """Return the rule for DNS: the tenth address of the Services' block, and the pods of CoreDNS.

    Auto Mode runs CoreDNS on each node, outside pods. Managed nodes run it in pods.
    """
    address = service_cidr.apply(lambda cidr: f"{IPv4Network(cidr)[10]}/32")
    on_nodes: k8s.networking.v1.NetworkPolicyPeerArgsDict = {"ip_block": {"cidr": address}}
    return {**CLUSTER_DNS, "to": [on_nodes, DNS_PODS]}
