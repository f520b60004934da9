"""Price of every resource except nodes, by type: a monthly amount, a price by usage, or free."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from cost.plan import Plan, Resource
from cost.pools import AUTO, AUTO_CLASS, MANAGED
from cost.prices import HOURS, Model, NotPricedError, Prices, Unit
from cost.unpriced import Unpriced, read_each


class Line(Model):
    """Monthly price; the price of nodes lies between `floor_usd` and `ceiling_usd`."""

    kind: str
    name: str
    floor_usd: float
    ceiling_usd: float
    note: str = ""


class Usage(Model):
    """Price of one unit of something whose amount the plan does not tell, such as traffic."""

    kind: str
    name: str
    unit: str
    """Counted unit, such as `GB through it`."""
    usd: float | None
    """Price of one unit in US dollars; None if the price table lacks it."""


@dataclass
class Found:
    """Prices of a plan's resources, and the resources without an estimate."""

    lines: list[Line] = field(default_factory=list[Line])
    usage: list[Usage] = field(default_factory=list[Usage])
    not_estimated: list[Unpriced] = field(default_factory=list[Unpriced])
    free: list[str] = field(default_factory=list[str])


Cost = Line | Usage
Pricer = Callable[[Resource, Plan, Prices], Iterator[Cost]]

FREE = frozenset({
    "aws:amp/alertManagerDefinition:AlertManagerDefinition",
    "aws:amp/ruleGroupNamespace:RuleGroupNamespace",  # its samples are its workspace's
    "aws:backup/plan:Plan",
    "aws:backup/selection:Selection",
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
    "aws:ec2/flowLog:FlowLog",  # its bytes are its log group's
    "aws:ec2/internetGateway:InternetGateway",
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/route:Route",
    "aws:ec2/routeTable:RouteTable",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:ec2/subnet:Subnet",
    "aws:ecr/lifecyclePolicy:LifecyclePolicy",
    "aws:ecr/repositoryPolicy:RepositoryPolicy",
    "aws:eks/accessEntry:AccessEntry",
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
    "aws:eks/addon:Addon",  # its pods run on the nodes
    "aws:eks/podIdentityAssociation:PodIdentityAssociation",
    "aws:glue/catalogDatabase:CatalogDatabase",
    "aws:glue/catalogTable:CatalogTable",  # the first million objects of an account
    "aws:grafana/roleAssociation:RoleAssociation",  # its users are its workspace's
    "aws:grafana/workspaceSamlConfiguration:WorkspaceSamlConfiguration",
    "aws:iam/policy:Policy",
    "aws:iam/role:Role",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:kms/alias:Alias",
    "aws:rds/parameterGroup:ParameterGroup",
    "aws:rds/subnetGroup:SubnetGroup",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    "aws:s3/bucketLogging:BucketLogging",
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
    "aws:s3/bucketPolicy:BucketPolicy",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketVersioning:BucketVersioning",
    "aws:sns/topicPolicy:TopicPolicy",
    "aws:sns/topicSubscription:TopicSubscription",  # its messages are its topic's
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
})  # fmt: skip
"""AWS resources that have no price of their own."""
ON_NODES = frozenset({
    "ClusterRole", "ClusterRoleBinding", "ConfigMap", "CronJob", "DaemonSet", "Deployment", "HorizontalPodAutoscaler",
    "IngressClass", "Job", "LimitRange", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "PriorityClass",
    "ResourceQuota", "Role", "RoleBinding", "Secret", "ServiceAccount", "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
})  # fmt: skip
"""Kinds of Kubernetes objects that cost nothing besides the nodes on which their pods run."""
NODES = frozenset({AUTO, AUTO_CLASS, MANAGED})
"""Types of resources that are priced as node pools."""
OURS = ("pulumi:", "mlops:")
"""Prefixes of types that exist in Pulumi's state only: providers, the stack, components."""


def priced(plan: Plan, prices: Prices) -> Found:
    """Price all resources except nodes. A resource of an unknown type is listed as not estimated."""
    found = Found()
    for resource in plan.resources:
        if resource.type.startswith(OURS) or resource.type in NODES:
            continue
        pricer = PRICERS.get(_key(resource))
        if pricer:
            _add(found, resource, plan, prices, pricer)
        elif _is_free(resource):
            found.free.append(resource.type)
        else:
            why = "this program has no price for resources of this type"
            found.not_estimated.append(Unpriced(type=resource.type, name=resource.name, why=why))
    found.free = sorted(set(found.free))
    return found


def _add(found: Found, resource: Resource, plan: Plan, prices: Prices, pricer: Pricer) -> None:
    for costs in read_each([resource], lambda each: list(pricer(each, plan, prices)), found.not_estimated):
        found.lines += [cost for cost in costs if isinstance(cost, Line)]
        found.usage += [cost for cost in costs if isinstance(cost, Usage)]
        if not costs:
            found.free.append(resource.type)


def _key(resource: Resource) -> str:
    """Return the type, or for Kubernetes objects the kind alone, which stays when their API version changes."""
    prefix, kind = resource.type.partition(":")[0], resource.type.rpartition(":")[2]
    return f"kubernetes:{kind}" if prefix == "kubernetes" else resource.type


def _is_free(resource: Resource) -> bool:
    return resource.type in FREE or _key(resource).removeprefix("kubernetes:") in ON_NODES


def _month(kind: str, resource: Resource, usd: float, note: str = "") -> Line:
    return Line(kind=kind, name=resource.name, floor_usd=usd, ceiling_usd=usd, note=note)


def _use(kind: str, resource: Resource, prices: Prices, unit: str, price: Unit) -> Usage:
    return Usage(kind=kind, name=resource.name, unit=unit, usd=prices.units.get(price))


def _number(resource: Resource, key: str) -> float:
    value = resource.inputs.get(key)
    if not isinstance(value, int | float):
        raise NotPricedError(f"its {key} is not known before the update")
    if not (math.isfinite(value) and value >= 0):
        raise NotPricedError(f"its {key} is {value}, which is no amount")
    return float(value)


def _count(resource: Resource, key: str) -> int:
    value = resource.inputs.get(key)
    if isinstance(value, list):
        return len(cast("list[object]", value))
    raise NotPricedError(f"its {key} are not known before the update")


def _cluster(cluster: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    yield _month("cluster", cluster, prices.unit("eks_cluster_hour") * HOURS, "control plane, standard support")


def _nat_gateway(gateway: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    yield _month("NAT gateway", gateway, prices.unit("nat_gateway_hour") * HOURS)
    yield _use("NAT gateway", gateway, prices, "GB through it", "nat_gateway_gb")


def _address(address: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    yield _month("public IPv4 address", address, prices.unit("public_ipv4_hour") * HOURS)


def _endpoint(endpoint: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    if endpoint.inputs.get("vpcEndpointType", "Gateway") == "Gateway":
        return
    zones = _count(endpoint, "subnetIds")
    yield _month(
        "interface endpoint", endpoint, zones * prices.unit("interface_endpoint_hour") * HOURS, f"in {zones} zones"
    )
    yield _use("interface endpoint", endpoint, prices, "GB through it", "interface_endpoint_gb")


def _database(database: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    kind, twice = database.inputs["instanceClass"], bool(database.inputs.get("multiAz"))
    if kind not in prices.databases:
        raise NotPricedError(f"the price table of {prices.region} has no instance class {kind}")
    hour = prices.databases[kind].multi_az_usd if twice else prices.databases[kind].usd
    gb: Unit = "database_storage_multi_az_gb_month" if twice else "database_storage_gb_month"
    storage = _number(database, "allocatedStorage")
    note = f"{kind}{', two zones' if twice else ''}, {storage:g} GiB"
    yield _month("database", database, hour * HOURS + storage * prices.unit(gb), note)
    if isinstance(database.inputs.get("maxAllocatedStorage"), int | float):
        most = _number(database, "maxAllocatedStorage")
        yield _use("database", database, prices, f"GB-month that it grows by, from {storage:g} to {most:g} GiB", gb)
    yield _use("database", database, prices, f"GB-month of backups above {storage:g} GiB", "database_backup_gb_month")


def _snapshot(snapshot: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    yield _use(
        "database snapshot", snapshot, prices, "GB-month, with the backups of its database", "database_backup_gb_month"
    )


def _alarm(alarm: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    yield _month("alarm", alarm, prices.unit("alarm_month"))


def _topic(topic: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    yield _use("topic", topic, prices, "1,000 e-mails", "sns_emails_1000")


def _vault(vault: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    """Price a vault; copies in another region have the prices of the stack's region, which differ little."""
    yield _use("backup vault", vault, prices, "GB-month of the database", "database_backup_gb_month")
    yield _use("backup vault", vault, prices, "GB-month of the bucket", "backup_s3_gb_month")
    if vault.inputs.get("region"):
        yield _use("backup vault", vault, prices, "GB copied from the stack's region", "between_regions_gb")


def _key_of_kms(key: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    """Price a key; its yearly rotation adds the price of a key in each of the first two years (AWS KMS pricing)."""
    usd = prices.unit("kms_key_month")
    yield _month("encryption key", key, usd)
    yield _use("encryption key", key, prices, "10,000 requests", "kms_requests_10000")
    if key.inputs.get("enableKeyRotation"):
        yield _use("encryption key", key, prices, "month for each of its first two rotations", "kms_key_month")


def _bucket(bucket: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    yield _use("bucket", bucket, prices, "GB-month, old versions included", "s3_gb_month")
    yield _use("bucket", bucket, prices, "1,000 writes and lists", "s3_writes_1000")
    yield _use("bucket", bucket, prices, "1,000 reads", "s3_reads_1000")


def _workgroup(workgroup: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    yield _use("Athena", workgroup, prices, "TB that statements read", "athena_tb")


def _repository(repository: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    yield _use("image repository", repository, prices, "GB-month", "ecr_gb_month")


def _log_group(group: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    yield _use("log group", group, prices, "GB written", "logs_ingested_gb")
    yield _use("log group", group, prices, "GB-month", "logs_stored_gb_month")


def _vpc(vpc: Resource, _plan: Plan, prices: Prices) -> Iterator[Cost]:
    yield _use("network", vpc, prices, "GB to the internet", "internet_gb")
    yield _use("network", vpc, prices, "GB between zones, each way", "between_zones_gb")


def _ingress(ingress: Resource, plan: Plan, prices: Prices) -> Iterator[Cost]:
    """Price an Ingress: its own Application Load Balancer, and for a public one an address in each zone."""
    if ingress.inputs.get("spec", {}).get("ingressClassName") != "alb":
        return
    words = ingress.inputs.get("metadata", {}).get("annotations", {})
    public = words.get("alb.ingress.kubernetes.io/scheme") == "internet-facing"
    addresses = _zones(plan, str(words.get("alb.ingress.kubernetes.io/subnets", ""))) if public else 0
    usd = prices.unit("load_balancer_hour") + addresses * prices.unit("public_ipv4_hour")
    note = f"public, {addresses} addresses" if public else "internal"
    yield _month("load balancer", ingress, usd * HOURS, note)
    yield _use("load balancer", ingress, prices, "LCU-hour", "load_balancer_lcu_hour")


def _zones(plan: Plan, subnets: str) -> int:
    """Return the number of a public load balancer's subnets: those that the Ingress names, else all public ones."""
    if re.fullmatch(r"subnet-\w+(,\s*subnet-\w+)*", subnets):
        return subnets.count("subnet-")
    ours = [
        each for each in plan.of("aws:ec2/subnet:Subnet") if "kubernetes.io/role/elb" in each.inputs.get("tags", {})
    ]
    if not ours:
        raise NotPricedError("its public subnets, each with an address that costs money, are not known")
    return len(ours)


def _service(service: Resource, _plan: Plan, _prices: Prices) -> Iterator[Cost]:
    if service.inputs.get("spec", {}).get("type") == "LoadBalancer":
        raise NotPricedError("a Service of type LoadBalancer has a load balancer whose kind the plan does not show")
    yield from ()


def _claim(claim: Resource, _plan: Plan, _prices: Prices) -> Iterator[Cost]:
    """Price a claim: on a folder of the node it is free; on a disk its price is not known."""
    if claim.inputs.get("spec", {}).get("storageClassName") != "":
        raise NotPricedError("the price of its disk depends on the cluster's storage class")
    yield from ()


def _samples(_resource: Resource, _plan: Plan, _prices: Prices) -> Iterator[Cost]:
    raise NotPricedError("AWS charges it by hours and by samples, and no plan shows how many series there will be")


def _users(_resource: Resource, _plan: Plan, _prices: Prices) -> Iterator[Cost]:
    raise NotPricedError("AWS charges it by the users that are active in a month, which no plan shows")


def _stateful(stateful: Resource, _plan: Plan, _prices: Prices) -> Iterator[Cost]:
    if stateful.inputs["spec"].get("volumeClaimTemplates"):
        raise NotPricedError("the price of its disks depends on the cluster's storage class")
    yield from ()


def _volume(volume: Resource, _plan: Plan, _prices: Prices) -> Iterator[Cost]:
    if "hostPath" not in volume.inputs.get("spec", {}):
        raise NotPricedError("it is not a folder of a node, so its price depends on its storage driver")
    yield from ()


PRICERS: Mapping[str, Pricer] = {
    "aws:amp/scraper:Scraper": _samples,
    "aws:amp/workspace:Workspace": _samples,
    "aws:athena/workgroup:Workgroup": _workgroup,
    "aws:backup/vault:Vault": _vault,
    "aws:cloudwatch/logGroup:LogGroup": _log_group,
    "aws:cloudwatch/metricAlarm:MetricAlarm": _alarm,
    "aws:ec2/eip:Eip": _address,
    "aws:ec2/natGateway:NatGateway": _nat_gateway,
    "aws:ec2/vpc:Vpc": _vpc,
    "aws:ec2/vpcEndpoint:VpcEndpoint": _endpoint,
    "aws:ecr/repository:Repository": _repository,
    "aws:eks/cluster:Cluster": _cluster,
    "aws:grafana/workspace:Workspace": _users,
    "aws:kms/key:Key": _key_of_kms,
    "aws:rds/instance:Instance": _database,
    "aws:rds/snapshot:Snapshot": _snapshot,
    "aws:s3/bucket:Bucket": _bucket,
    "aws:sns/topic:Topic": _topic,
    "kubernetes:Ingress": _ingress,
    "kubernetes:PersistentVolume": _volume,
    "kubernetes:PersistentVolumeClaim": _claim,
    "kubernetes:Service": _service,
    "kubernetes:StatefulSet": _stateful,
}
"""Function that prices a resource, by type or kind of a Kubernetes object; without a price, the resource is free."""


def by_kind(lines: Sequence[Line]) -> list[Line]:
    """Return one line with the sum of each kind, the most expensive first; the resources' names are joined."""
    kinds: dict[str, list[Line]] = {}
    for line in lines:
        kinds.setdefault(line.kind, []).append(line)
    joined = [
        Line(
            kind=kind if len(each) == 1 else f"{len(each)} x {kind}",
            name=", ".join(line.name for line in each),
            floor_usd=sum(line.floor_usd for line in each),
            ceiling_usd=sum(line.ceiling_usd for line in each),
            note=_same([line.note for line in each]),
        )
        for kind, each in kinds.items()
    ]
    return sorted(joined, key=lambda line: (-line.ceiling_usd, line.kind))


def _same(notes: Sequence[str]) -> str:
    return notes[0] if len(set(notes)) == 1 else ""
