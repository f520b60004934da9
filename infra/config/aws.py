"""Settings of `kind: aws`, the foundation in an AWS account."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from components.aws import instance_families, subnets
from components.aws.subnets import overlap
from components.foundation import IngressRequest
from contract import names
from infra.config import aws_rules, rules, secret_rules
from infra.config.rules import Rule, at_least
from infra.config.secret_rules import SecretRule
from infra.config.section import Model

POOL_LABEL = "mlops/node-pool"
"""Label of nodes whose value is the name of their pool; pods select nodes by it."""


def default_kind(kind: str) -> BeforeValidator:
    """Return a validator that adds `kind` to a mapping without one."""

    def add(value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {"kind": kind, **cast("Mapping[str, Any]", value)}

    return BeforeValidator(add)


def twice(arns: Iterable[str]) -> str | None:
    """Return the first role's name that a former ARN has too, with any path; None if there is none."""
    known = set[str]()
    for name in (arn.rpartition("/")[2] for arn in arns):
        if name in known:
            return name
        known.add(name)
    return None


class NewNetwork(Model):
    """A VPC that the program creates for the platform."""

    kind: Literal["new"] = "new"
    """Kind of the network: `new` creates a VPC."""
    cidr: aws_rules.VpcCidr
    """IPv4 block of the VPC; each pod takes one address. Example: 10.40.0.0/16"""
    availability_zones: aws_rules.Zones = 3
    """Number of availability zones that get subnets. Example: 3"""
    nat_gateways: aws_rules.NatGateways
    """NAT gateways for connections from the nodes to the internet. Example: per_zone"""
    load_balancers: aws_rules.LoadBalancers = "shared"
    """Subnets of internal load balancers: `shared` with nodes and pods, or `own`, so that pods behind a load balancer
    admit its subnets only and not the whole VPC. A stack with load balancers goes from `shared` to `own` by `moving`:
    then the load balancers get their subnets, and pods still admit the whole VPC (docs/aws.md). Example: own
    """
    interface_endpoints: tuple[aws_rules.InterfaceEndpoint, ...] = ()
    """AWS services that get an interface endpoint in the VPC; each costs money by the hour and zone.
    Example: [ecr.api, ecr.dkr, eks-auth, sts]
    """
    flow_log_days: aws_rules.LogDays = 30
    """Days for which CloudWatch keeps the VPC's flow logs. Example: 90"""

    def reaches(self, service: str) -> bool:
        """Return whether pods can connect to an AWS service: by a NAT gateway, or by an interface endpoint."""
        return self.nat_gateways != "none" or service in self.interface_endpoints

    @field_validator("load_balancers")
    @classmethod
    def _with_room_for_subnets(cls, chosen: str, info: ValidationInfo) -> str:
        cidr = info.data.get("cidr")
        if chosen != "shared" and cidr and subnets.block(cidr).prefixlen > subnets.OWN_PREFIX:
            raise aws_rules.ROOM_FOR_LOAD_BALANCERS.broken(f"{chosen} in {cidr}")
        return chosen

    @field_validator("interface_endpoints")
    @classmethod
    def _enough_without_nat(cls, endpoints: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        missing = aws_rules.NEEDED_WITHOUT_NAT - set(endpoints)
        if info.data.get("nat_gateways") == "none" and missing:
            raise Rule(
                must=f"must also contain {', '.join(sorted(missing))} if nat_gateways is none",
                because="nodes could neither join the cluster nor pull an image",
                instead="add them, or write nat_gateways: one",
            ).broken()
        return endpoints


class ExistingNetwork(Model):
    """A VPC that exists already, with its routes, endpoints and load balancer tags."""

    kind: Literal["existing"]
    """Kind of the network: `existing` uses a VPC that you created, with its routes and endpoints."""
    vpc_id: aws_rules.VpcId
    """Id of the VPC. Example: vpc-0123456789abcdef0"""
    availability_zones: aws_rules.Zones = 2
    """Smallest number of zones that the private subnets must cover. Example: 2"""
    private_subnet_ids: Annotated[tuple[aws_rules.SubnetId, ...], AfterValidator(at_least(2)), aws_rules.SOME_SUBNETS]
    """Ids of the subnets for nodes, database and internal load balancers.
    Example: [subnet-0aaaaaaaaaaaaaaaa, subnet-0bbbbbbbbbbbbbbbb]
    """
    public_subnet_ids: Annotated[tuple[aws_rules.SubnetId, ...], aws_rules.SUBNETS] = ()
    """Ids of the subnets for public load balancers. Example: [subnet-0cccccccccccccccc, subnet-0dddddddddddddddd]"""

    @field_validator("private_subnet_ids")
    @classmethod
    def _covers_the_zones(cls, subnets: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        zones = info.data.get("availability_zones", 0)
        if len(set(subnets)) < max(zones, len(subnets)):
            raise Rule(
                must=f"must be {zones} different subnets or more, for availability_zones: {zones}",
                because="a zone without a subnet gets no node and no standby database",
                instead=f"add a subnet, or write availability_zones: {len(set(subnets))}",
            ).broken()
        return subnets


class Access(Model):
    """IAM roles of people, each in one list; the lists give the rights of a Kubernetes group."""

    viewers: tuple[aws_rules.PersonRole, ...] = ()
    """ARNs of roles that read everything in the platform's namespaces except Secrets and logs, and forward MLflow's
    port.
    Example: ["arn:aws:iam::123456789012:role/data-science"]
    """
    trainers: tuple[aws_rules.PersonRole, ...] = ()
    """ARNs of roles that may also start training and validation Jobs and read their logs.
    Example: ["arn:aws:iam::123456789012:role/ml-engineering"]
    """
    oncall: tuple[aws_rules.PersonRole, ...] = ()
    """ARNs of roles that, in addition to the rights of `viewers`, read all logs, and in `ml-serving` delete pods,
    restart and undo rollouts and scale.
    Example: ["arn:aws:iam::123456789012:role/oncall"]
    """
    admins: tuple[aws_rules.PersonRole, ...] = ()
    """ARNs of roles with every right in the cluster. Example: ["arn:aws:iam::123456789012:role/platform"]"""

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """ARNs of the roles by Kubernetes group."""
        return {
            names.VIEWERS: self.viewers,
            names.TRAINERS: self.trainers,
            names.ONCALL: self.oncall,
            names.ADMINS: self.admins,
        }

    @property
    def arns(self) -> tuple[str, ...]:
        """ARNs of all lists."""
        return tuple(arn for arns in self.groups.values() for arn in arns)


class NewCluster(Model):
    """An EKS cluster in Auto Mode that the program creates.

    The VPC and `private_access_cidrs` reach its API at private addresses, `public_access_cidrs` over the internet.
    """

    kind: Literal["new"] = "new"
    """Kind of the cluster: `new` creates an EKS cluster."""
    kubernetes_version: aws_rules.KubernetesVersion
    """Minor version of Kubernetes; raise it by one at a time.
    Example: "1.35"
    """
    admin_role_arns: Annotated[tuple[aws_rules.RoleArn, ...], AfterValidator(at_least(1)), aws_rules.ADMINISTRATORS]
    """ARNs of the IAM roles with administrator rights in the cluster; the role that runs Pulumi is one of them. For
    people, use `access`.
    Example: ["arn:aws:iam::123456789012:role/mlops-deploy"]
    """
    preview_role_arns: Annotated[tuple[aws_rules.RoleArn, ...], aws_rules.PREVIEWERS] = ()
    """ARNs of the IAM roles that may read every object in the cluster and change none. With such a role,
    `pulumi preview` works and `pulumi up` is refused.
    Example: ["arn:aws:iam::123456789012:role/mlops-preview"]
    """
    access: Access = Access()
    """IAM roles of people by their rights: `viewers`, `trainers`, `oncall`, `admins`."""
    public_access_cidrs: tuple[aws_rules.PublicApiCidr, ...] = ()
    """Internet networks that may reach the Kubernetes API; empty: the API has private addresses only.
    Example: [203.0.113.0/24]
    """
    private_access_cidrs: tuple[aws_rules.PrivateApiCidr, ...] = ()
    """Private networks, in addition to the VPC, that may reach the Kubernetes API: VPN clients, peered VPCs.
    Example: [10.8.0.0/16]
    """
    service_cidr: aws_rules.ServiceCidr = "172.20.0.0/16"
    """IPv4 block of the Services' addresses; it must not overlap the VPC. Example: 172.20.0.0/16"""
    log_days: aws_rules.LogDays = 90
    """Days for which CloudWatch keeps the control plane's logs. Example: 365"""
    pod_log_days: aws_rules.LogDays | None = None
    """Days for which CloudWatch keeps the logs of all containers; without it they stay on the nodes. Example: 90"""
    protected: rules.Truth = True
    """Whether deletion of the cluster is refused. Example: true"""

    @field_validator("admin_role_arns")
    @classmethod
    def _each_once(cls, arns: tuple[str, ...]) -> tuple[str, ...]:
        if twice(arns):
            raise aws_rules.ADMINISTRATORS.broken()
        return arns

    @field_validator("preview_role_arns")
    @classmethod
    def _no_administrators(cls, arns: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        names = [arn.rpartition("/")[2] for arn in (*info.data.get("admin_role_arns", ()), *arns)]
        if len(set(names)) < len(names):
            raise aws_rules.PREVIEWERS.broken()
        return arns

    @field_validator("access")
    @classmethod
    def _in_one_list(cls, access: Access, info: ValidationInfo) -> Access:
        others = (*info.data.get("admin_role_arns", ()), *info.data.get("preview_role_arns", ()))
        if found := twice((*others, *access.arns)):
            raise aws_rules.ONE_LIST.broken(f"the role {found} in two places")
        return access


class ExistingCluster(Model):
    """An EKS cluster in Auto Mode that exists already; the role that runs Pulumi needs an access entry in it."""

    kind: Literal["existing"]
    """Kind of the cluster: `existing` uses an EKS cluster that you created."""
    name: aws_rules.ClusterName
    """Name of the cluster. Example: platform"""


class AwsGpu(Model):
    """GPUs of a node pool."""

    kind: rules.GpuKind
    """Vendor of the GPUs. Example: nvidia"""
    max: aws_rules.MaxGpus
    """Largest number of GPUs in the pool, over all its nodes. Example: 4"""


class AutoNodePool(Model):
    """Nodes that EKS Auto Mode starts when pods need them, limited by `max_cpus`, or by `gpu.max` in a GPU pool."""

    kind: Literal["auto"] = "auto"
    """Kind of the pool: `auto` pools grow from zero nodes as pods need them."""
    gpu: AwsGpu | None = None
    """GPUs of the pool; leave the key out for a pool without GPUs."""
    architecture: aws_rules.Architecture = "amd64"
    """CPU architecture of the nodes, the same in all pools of a stack. Example: arm64"""
    instance_families: Annotated[tuple[aws_rules.Family, ...], AfterValidator(at_least(1)), aws_rules.SOME_FAMILIES]
    """EC2 instance families to choose from. Example: [m7i, m7a]"""
    capacity: Annotated[tuple[aws_rules.Capacity, ...], AfterValidator(at_least(1)), aws_rules.SOME_CAPACITY] = (
        "on-demand",
    )
    """Purchase options of the instances; if both are allowed, spot is preferred. Example: [spot, on-demand]"""
    zones: tuple[aws_rules.ZoneName, ...] = ()
    """Availability zones for the nodes; empty: all zones of the network. Example: [eu-west-1a]"""
    max_cpus: Annotated[int | None, aws_rules.MAX_CPUS] = Field(default=None, strict=True, ge=2, le=100_000)
    """Largest number of virtual CPUs in the pool; required without `gpu`, refused with it. Example: 64"""
    disk_gib: aws_rules.DiskGib = 80
    """Size of each node's disk in GiB. Example: 200"""
    training_only: rules.Truth = False
    """Whether a taint keeps all pods but training runs away from the nodes; a change of the key trains the models of
    the pool again. Example: true
    """
    expire_after_days: aws_rules.NodeDays = 14
    """Age in days at which a node is replaced by a new one. Example: 14"""
    max_disrupted: aws_rules.Disrupted = "10%"
    """Number or percentage of nodes that may be drained at the same time.
    Example: "10%"
    """

    @field_validator("instance_families")
    @classmethod
    def _all_of_one_sort(cls, families: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not {"gpu", "architecture"} <= info.data.keys():
            return families
        gpu, architecture = info.data["gpu"], info.data["architecture"]
        fitting = instance_families.GPU if gpu else instance_families.CPU
        if wrong := [family for family in families if fitting.get(family) != architecture]:
            sort = "with GPUs" if gpu else "without GPUs"
            raise Rule(
                must=f"must be instance families {sort} and with architecture {architecture}",
                because="only pods that request a GPU may run on GPU nodes, and they need one"
                if set(wrong) & {*instance_families.GPU, *(instance_families.CPU if gpu else ())}
                else "an image runs on one architecture",
                instead=f"remove {', '.join(wrong)}, or move them to another pool "
                f"({'without' if gpu else 'with'} gpu, or with their architecture)",
            ).broken()
        return families

    @field_validator("max_cpus")
    @classmethod
    def _one_limit(cls, most: int | None, info: ValidationInfo) -> int | None:
        if "gpu" in info.data and (most is None) is (info.data["gpu"] is None):
            raise aws_rules.MAX_CPUS.broken("missing" if most is None else str(most))
        return most


class ManagedNodePool(Model):
    """A managed node group of constant size, for teams that cannot use Auto Mode's nodes."""

    kind: Literal["managed"]
    """Kind of the pool: `managed` is a node group of constant size."""
    gpu: AwsGpu | None = None
    """GPUs of the pool; leave the key out for a pool without GPUs."""
    architecture: aws_rules.Architecture = "amd64"
    """CPU architecture of the nodes, the same in all pools of a stack. Example: arm64"""
    instance_types: Annotated[tuple[aws_rules.InstanceType, ...], AfterValidator(at_least(1)), aws_rules.SOME_FAMILIES]
    """EC2 instance types to choose from. Example: [m7i.xlarge]"""
    capacity: aws_rules.Capacity = "on-demand"
    """Purchase option of the instances. Example: on-demand"""
    min: aws_rules.Nodes
    """Number of nodes. Example: 2"""
    max: aws_rules.Nodes
    """Number of nodes; equal to `min`. Example: 2"""
    disk_gib: aws_rules.DiskGib = 80
    """Size of each node's disk in GiB. Example: 200"""
    training_only: rules.Truth = False
    """Whether a taint keeps all pods but training runs away from the nodes; a change of the key trains the models of
    the pool again. Example: true
    """

    @field_validator("instance_types")
    @classmethod
    def _all_of_one_sort(cls, types: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not {"gpu", "architecture"} <= info.data.keys():
            return types
        gpu, architecture = info.data["gpu"], info.data["architecture"]
        fitting = instance_families.GPU if gpu else instance_families.CPU
        if any(fitting.get(kind.split(".")[0]) != architecture for kind in types):
            raise Rule(
                must=f"must be types {'with' if gpu else 'without'} GPUs and of architecture {architecture}",
                because="all nodes of the pool get the same image of the operating system",
                instead="move the other types to another pool",
            ).broken()
        return types

    @field_validator("max")
    @classmethod
    def _constant(cls, most: int, info: ValidationInfo) -> int:
        if most != (fewest := info.data.get("min", most)):
            raise Rule(
                must=f"must equal min, {fewest}",
                because="the program has no autoscaler that changes the size of a managed node group",
                instead=f"write max: {fewest}, or kind: auto, which scales by itself",
            ).broken()
        return most


class Artifacts(Model):
    """The bucket of datasets, models and predictions."""

    bucket: aws_rules.BucketName | None = None
    """Name of the bucket. Default: Pulumi chooses a name. Example: example-mlops-prod"""
    noncurrent_days: aws_rules.KeptDays = 30
    """Days for which overwritten and deleted objects can be restored. Example: 90"""
    prediction_log_days: aws_rules.KeptDays = 90
    """Days for which files of the prediction log are kept. Example: 180"""
    access_log_bucket: aws_rules.BucketName | None = None
    """Existing bucket that receives S3's access log; without it there is no access log. Example: example-access-logs"""
    protected: rules.Truth = True
    """Whether deletion of the bucket is refused; without protection its objects are deleted with it. Example: true"""


class Database(Model):
    """The Postgres database of MLflow, in RDS."""

    engine_version: aws_rules.PostgresVersion = "17"
    """Major version of Postgres.
    Example: "17"
    """
    instance_class: aws_rules.InstanceClass
    """RDS instance class. Example: db.m7g.large"""
    storage_gib: aws_rules.StorageGib
    """Size of the storage in GiB at the start. Example: 100"""
    max_storage_gib: aws_rules.StorageGib
    """Size in GiB up to which the storage grows by itself; at least 26 % above `storage_gib`. Example: 500"""
    multi_az: rules.Truth = False
    """Whether a standby in another availability zone takes over after a failure. Example: true"""
    protected: rules.Truth = True
    """With `true`, the database cannot be deleted, and changes that cause an outage wait for the maintenance window.
    Example: true
    """
    snapshots: rules.Truth = True
    """Whether a snapshot is taken before deletion and before an MLflow upgrade changes the schema. Example: true"""
    backup_days: aws_rules.BackupDays
    """Days for which RDS keeps automated backups; 0 switches them off. Example: 14"""
    restore_from: aws_rules.SnapshotId | None = None
    """Snapshot with which a new database starts; keep the key afterwards. Example: mlops-prod-final-20261130"""
    log_days: aws_rules.LogDays = 30
    """Days for which CloudWatch keeps the database's logs. Example: 30"""
    authority: aws_rules.Authority | None = None
    """Certificates (PEM) of the region's authority, for a region that the program has none for."""

    @field_validator("max_storage_gib")
    @classmethod
    def _room_to_grow(cls, most: int, info: ValidationInfo) -> int:
        least = -(-info.data.get("storage_gib", 0) * 126 // 100)
        if most < least:
            raise Rule(
                must=f"must be at least {least}, 26 % above storage_gib",
                because="RDS extends storage only if it can grow by at least 26 %",
                instead=f"write max_storage_gib: {2 * info.data['storage_gib']}",
            ).broken()
        return most

    @field_validator("snapshots")
    @classmethod
    def _taken_if_protected(cls, kept: bool, info: ValidationInfo) -> bool:
        if not kept and info.data.get("protected"):
            raise Rule(
                must="must be true if the database is protected",
                because="otherwise switching the protection off by mistake would be enough to lose the data",
                instead="leave the key out, or write protected: false if the data may be lost",
            ).broken()
        return kept

    @field_validator("backup_days")
    @classmethod
    def _backed_up_if_protected(cls, days: int, info: ValidationInfo) -> int:
        if days == 0 and info.data.get("protected"):
            raise Rule(
                must="must be 1 or more if the database is protected",
                because="deletion protection cannot restore rows that a wrong statement has deleted",
                instead="write backup_days: 14, or protected: false if the data may be lost",
            ).broken()
        return days


class Alarms(Model):
    """CloudWatch alarms about database, NAT gateways and control plane, and the topic that they notify."""

    emails: tuple[aws_rules.Email, ...] = ()
    """Addresses that get each notification; each owner confirms it once. Other subscribers use the topic.
    Example: [oncall@example.com]
    """

    @field_validator("emails")
    @classmethod
    def _each_once(cls, emails: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(emails))


class Backup(Model):
    """Daily backups of the database and the bucket by AWS Backup, each with a copy in another region."""

    days: aws_rules.BackupKeptDays = 35
    """Days for which a backup is kept in the stack's region. Example: 35"""
    copy_region: aws_rules.Region
    """Region of the copies. Example: eu-central-1"""
    copy_days: aws_rules.BackupKeptDays = 35
    """Days for which a copy is kept. Example: 90"""


Network = Annotated[Annotated[NewNetwork | ExistingNetwork, Field(discriminator="kind")], default_kind("new")]
Cluster = Annotated[Annotated[NewCluster | ExistingCluster, Field(discriminator="kind")], default_kind("new")]
AwsNodePool = Annotated[Annotated[AutoNodePool | ManagedNodePool, Field(discriminator="kind")], default_kind("auto")]


class AwsFoundation(Model):
    """An AWS account: VPC, EKS cluster, S3 bucket, RDS database, image repositories, one role for each workload."""

    secrets: ClassVar[Mapping[str, SecretRule]] = {"database_password": secret_rules.PASSWORD}
    kind: Literal["aws"]
    """Kind of the foundation: `aws` creates it in one AWS account and region."""
    account_id: aws_rules.AccountId
    """Number of the AWS account; credentials of another account are refused.
    Example: "123456789012"
    """
    permissions_boundary: aws_rules.PolicyArn | None = None
    """ARN of an IAM policy that limits each role of the stack. Example: arn:aws:iam::123456789012:policy/boundary"""
    network: Network
    """The VPC; `kind` chooses between `new` (the default) and `existing`."""
    cluster: Cluster
    """The EKS cluster; `kind` chooses between `new` (the default) and `existing`."""
    node_pools: Annotated[dict[aws_rules.AwsPoolName, AwsNodePool], Field(min_length=1), rules.SOME_POOLS]
    """Node pools, by name; `kind` chooses between `auto` (the default) and `managed`. At least one pool has no GPUs."""
    artifacts: Artifacts = Artifacts()
    """The S3 bucket of datasets, models and prediction logs."""
    database: Database
    """The RDS database of MLflow."""
    egress: aws_rules.Egress = "https"
    """Addresses outside the cluster that pods of MLflow, training and serving reach on port 443: `https` for all, `s3`
    for those of S3 in the region. AWS adds addresses from time to time, and the next update allows them.
    Example: s3
    """
    network_policy_logs: rules.Truth = False
    """Whether nodes of Auto Mode log each connection that a NetworkPolicy allows or refuses, in a file on the node. A
    change replaces the nodes one after another. Example: true
    """
    alarms: Alarms | None = None
    """CloudWatch alarms; without the key there are none."""
    access_log_days: aws_rules.AccessLogDays | None = None
    """Days for which access logs of the load balancers and the bucket are kept, in a bucket of their own; without the
    key there are none. Example: 90
    """
    backup: Backup | None = None
    """Backups of the database and the bucket in vaults; without the key there are RDS's own backups only."""
    keep_images: aws_rules.KeepImages = 50
    """Number of images that each ECR repository keeps; older ones are deleted. Example: 50"""
    image_reader_role_arns: tuple[aws_rules.ImageReader, ...] = ()
    """ARNs of further IAM roles that may pull images: CI with a build cache, a scanner.
    Example: ["arn:aws:iam::123456789012:role/image-scanner"]
    """

    @field_validator("permissions_boundary")
    @classmethod
    def _boundary_of_this_account(cls, arn: str | None, info: ValidationInfo) -> str | None:
        return _of_account(arn, info) if arn else arn

    @field_validator("image_reader_role_arns")
    @classmethod
    def _readers_of_this_account(cls, arns: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return tuple(_of_account(arn, info) for arn in arns)

    @field_validator("cluster")
    @classmethod
    def _cluster_of_this_network(
        cls, cluster: NewCluster | ExistingCluster, info: ValidationInfo
    ) -> NewCluster | ExistingCluster:
        network = info.data.get("network")
        if isinstance(cluster, ExistingCluster):
            if isinstance(network, NewNetwork):
                raise aws_rules.EXISTING_NEEDS_EXISTING.broken(f"the existing {cluster.name}")
            return cluster
        for arn in (*cluster.admin_role_arns, *cluster.preview_role_arns, *cluster.access.arns):
            _of_account(arn, info)
        if isinstance(network, NewNetwork) and overlap(cluster.service_cidr, network.cidr):
            raise Rule(
                must=f"must have a service_cidr that does not overlap network.cidr, {network.cidr}",
                because="otherwise a Service and a pod could have the same address",
                instead="write another service_cidr, such as 172.20.0.0/16",
            ).broken(cluster.service_cidr)
        return cluster

    @field_validator("node_pools")
    @classmethod
    def _somewhere_to_run(
        cls, pools: dict[str, AutoNodePool | ManagedNodePool]
    ) -> dict[str, AutoNodePool | ManagedNodePool]:
        if all(pool.gpu or pool.training_only for pool in pools.values()):
            raise Rule(
                must="must contain a pool without GPUs and without training_only",
                because="MLflow and the endpoints tolerate no taint of a pool, so they would never start",
                instead="add a pool, as in cpu: {instance_families: [m7i, m7a], max_cpus: 64}",
            ).broken()
        if len(built_for := sorted({pool.architecture for pool in pools.values()})) > 1:
            raise aws_rules.ONE_ARCHITECTURE.broken(" and ".join(built_for))
        return pools


class Ingress(Model):
    """A load balancer for one Service; only the VPC reaches it unless you name more networks."""

    host: aws_rules.HostName
    """Host name that the load balancer answers to; you point its DNS record at the load balancer.
    Example: churn.ml.example.com
    """
    scheme: aws_rules.Scheme = "internal"
    """Whether the load balancer has private addresses (`internal`) or addresses of the internet (`public`).
    Example: internal
    """
    certificate_arn: aws_rules.CertificateArn | None = None
    """ARN of the ACM certificate for HTTPS; without it the load balancer accepts plain HTTP. Required for `public`.
    Example: arn:aws:acm:eu-west-1:123456789012:certificate/12345678-1234-1234-1234-123456789012
    """
    cidrs: tuple[aws_rules.NamedCidr, ...] = ()
    """Networks that may connect; with `internal`, the VPC may too. Required for `public`. Example: [203.0.113.0/24]"""
    idle_timeout_seconds: aws_rules.IdleSeconds = 60
    """Seconds without data after which the load balancer closes a connection. Example: 60"""

    @property
    def url(self) -> str:
        """URL for clients outside the cluster."""
        return f"{'https' if self.certificate_arn else 'http'}://{self.host}"

    def request(self, health_path: str) -> IngressRequest:
        """Return what the foundation's load balancer must do; `health_path` answers 200 for every Host header."""
        return IngressRequest(
            host=self.host,
            public=self.scheme == "public",
            certificate=self.certificate_arn,
            cidrs=self.cidrs,
            idle_timeout_seconds=self.idle_timeout_seconds,
            health_path=health_path,
        )

    @field_validator("certificate_arn")
    @classmethod
    def _tls_when_public(cls, arn: str | None, info: ValidationInfo) -> str | None:
        if arn is None and info.data.get("scheme") == "public":
            raise aws_rules.PUBLIC_TLS.broken("missing")
        return arn

    @field_validator("cidrs")
    @classmethod
    def _for_named_networks_when_public(cls, cidrs: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not cidrs and info.data.get("scheme") == "public":
            raise aws_rules.PUBLIC_NETWORKS.broken("empty")
        return cidrs


class TrackingIngress(Ingress):
    """A load balancer for MLflow. It cannot be public, because MLflow has no user accounts here."""

    @field_validator("scheme")
    @classmethod
    def _never_public(cls, scheme: str) -> str:
        if scheme == "public":
            raise aws_rules.NO_PUBLIC_TRACKING.broken()
        return scheme


def _of_account(arn: str, info: ValidationInfo) -> str:
    account = info.data.get("account_id", "")
    if account and f":{account}:" not in arn:
        raise Rule(
            must=f"must belong to account_id, {account}",
            because="a role or policy of another account cannot be used here",
            instead="write the ARN of a role or policy of this account",
        ).broken(arn)
    return arn
