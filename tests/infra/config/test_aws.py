"""Messages about wrong AWS stack files: one line for each problem, all at once."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from infra.config import problems
from infra.config.aws import AwsFoundation
from infra.config.stack import Rest, Settings

ADMIN = "arn:aws:iam::111122223333:role/platform"
PERSON = "arn:aws:iam::111122223333:role/team/ada"
RIGHT: Mapping[str, Any] = {
    "kind": "aws",
    "account_id": "111122223333",
    "network": {"cidr": "10.40.0.0/16", "availability_zones": 3, "nat_gateways": "per_zone"},
    "cluster": {"kubernetes_version": "1.35", "admin_role_arns": [ADMIN]},
    "node_pools": {
        "cpu": {"instance_families": ["m7i", "m7a"], "max_cpus": 64},
        "gpu": {"instance_families": ["g6", "g5"], "capacity": ["spot"], "gpu": {"kind": "nvidia", "max": 4}},
    },
    "database": {"instance_class": "db.m7g.large", "storage_gib": 100, "max_storage_gib": 400, "backup_days": 14},
}
PREVIEWED = {**RIGHT["cluster"], "preview_role_arns": [PERSON], "access": {"viewers": [PERSON]}}
EXISTING = {
    "kind": "existing",
    "vpc_id": "vpc-0123456789abcdef0",
    "availability_zones": 2,
    "private_subnet_ids": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
}
MANAGED = {"kind": "managed", "instance_types": ["m7i.xlarge"], "min": 2, "max": 2}
ARM = {"instance_families": ["m8g"], "architecture": "arm64", "max_cpus": 8}
NO_NAT = {"cidr": "10.40.0.0/16", "nat_gateways": "none"}


IMAGES = {name: f"registry.example/{name}:1" for name in ("tracking", "training", "serving")}
CERTIFICATE = "arn:aws:acm:eu-west-1:111122223333:certificate/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"
PUBLIC = {"host": "churn.example.com", "scheme": "public", "certificate_arn": CERTIFICATE, "cidrs": ["203.0.113.0/24"]}


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the valid stack with one other value."""
    tree = copy.deepcopy(dict(RIGHT))
    *parents, last = path.split(".")
    place = tree
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return tree


def lines(tree: Mapping[str, Any]) -> list[str]:
    try:
        AwsFoundation.model_validate(tree)
    except ValidationError as error:
        return [problem.line("Pulumi.prod.yaml") for problem in problems.of(error, AwsFoundation)]
    return []


# path, value, part of the message, and the path in the message if it is another one
WRONG: list[tuple[str, object, str] | tuple[str, object, str, str]] = [
    ("account_id", 111122223333, "12 digits, in quotes"),
    ("account_id", "1234", "12 digits, in quotes"),
    ("permissions_boundary", "arn:aws:iam::aws:policy/ReadOnlyAccess", "customer managed IAM policy"),
    ("permissions_boundary", "arn:aws:iam::999999999999:policy/boundary", "belong to account_id, 111122223333"),
    ("network.cidr", "10.40.0.0/24", "from /16 to /23"),
    ("network.cidr", "10.40.0.0/12", "from /16 to /23"),
    ("network.cidr", "10.40.0.1/16", "begins at its own address"),
    ("network.cidr", "52.0.0.0/16", "private IPv4 block"),
    ("network.availability_zones", 1, "must be 2 or 3"),
    ("network.availability_zones", 4, "must be 2 or 3"),
    ("network.nat_gateways", "two", "none, one or per_zone"),
    ("network.flow_log_days", 45, "must be one of 1, 3, 5"),
    ("network.interface_endpoints", ["s3"], "must be one of athena, ec2", "network.interface_endpoints.0"),
    ("network", NO_NAT, "must also contain ec2, ecr.api", "network.interface_endpoints"),
    ("network", {**EXISTING, "availability_zones": 3}, "3 different subnets or more", "network.private_subnet_ids"),
    ("network", {**EXISTING, "vpc_id": "vpc-1"}, "id of a VPC", "network.vpc_id"),
    ("network", {**EXISTING, "private_subnet_ids": ["subnet-01234567"]}, "two subnets", "network.private_subnet_ids"),
    ("network", {**EXISTING, "cidr": "10.0.0.0/16"}, "key that this program reads", "network.cidr"),
    ("network", {"kind": "shared"}, "new or existing", "network.kind"),
    ("cluster.kubernetes_version", "1.34", "1.35 or 1.36, in quotes"),
    ("cluster.kubernetes_version", 1.35, "1.35 or 1.36, in quotes"),
    ("cluster.admin_role_arns", [], "one role or more"),
    ("cluster.admin_role_arns", [ADMIN, ADMIN], "each once"),
    ("cluster.preview_role_arns", [ADMIN], "none of which is in admin_role_arns"),
    ("cluster.preview_role_arns", ["arn:aws:iam::999999999999:role/x"], "belong to account_id", "cluster"),
    ("cluster.admin_role_arns", ["arn:aws:iam::111122223333:user/me"], "an IAM role", "cluster.admin_role_arns.0"),
    ("cluster.admin_role_arns", ["arn:aws:iam::999999999999:role/x"], "belong to account_id", "cluster"),
    ("cluster.access.viewers", ["arn:aws:iam::111122223333:user/me"], "an IAM role", "cluster.access.viewers.0"),
    ("cluster.access.oncall", ["arn:aws:iam::999999999999:role/x"], "belong to account_id", "cluster"),
    ("cluster.access", {"viewers": [PERSON], "oncall": [PERSON]}, "each role once, in one of viewers"),
    ("cluster.access", {"admins": [ADMIN]}, "each role once, in one of viewers"),
    ("cluster", PREVIEWED, "each role once, in one of viewers", "cluster.access"),
    ("cluster.access.readers", [PERSON], "key that this program reads"),
    ("cluster.public_access_cidrs", ["0.0.0.0/0"], "never to the whole internet", "cluster.public_access_cidrs.0"),
    ("cluster.public_access_cidrs", ["203.0.113.7/24"], "own address", "cluster.public_access_cidrs.0"),
    ("cluster.public_access_cidrs", ["10.8.0.0/16"], "nor private addresses", "cluster.public_access_cidrs.0"),
    ("cluster.public_access_cidrs", ["2001:db8::/32"], "neither IPv6", "cluster.public_access_cidrs.0"),
    ("cluster.private_access_cidrs", ["0.0.0.0/0"], "access is given to named", "cluster.private_access_cidrs.0"),
    ("cluster.private_access_cidrs", ["fd00::/8"], "IPv4 block", "cluster.private_access_cidrs.0"),
    ("image_reader_role_arns", ["arn:aws:iam::999999999999:role/ci"], "belong to account_id, 111122223333"),
    ("image_reader_role_arns", ["ci"], "ARN of an IAM role", "image_reader_role_arns.0"),
    ("cluster.service_cidr", "10.40.128.0/20", "that does not overlap network.cidr", "cluster"),
    ("cluster.service_cidr", "172.20.0.0/26", "from /12 to /24"),
    ("cluster.log_days", 100, "must be one of 1, 3, 5"),
    ("cluster.protected", "yes", "true or false"),
    ("cluster", {"kind": "existing", "name": "a b"}, "name of an EKS cluster", "cluster.name"),
    ("cluster", {"kind": "existing", "name": "shared"}, "of kind new if network.kind is new"),
    ("node_pools", {}, "one pool or more"),
    ("node_pools.Big", RIGHT["node_pools"]["cpu"], "DNS label"),
    ("node_pools.general-purpose", RIGHT["node_pools"]["cpu"], "other than default, general-purpose, system"),
    ("node_pools.a-pool-for-large-batch-jobs", RIGHT["node_pools"]["cpu"], "at most 25 characters"),
    ("node_pools.arm", ARM, "pools of one architecture", "node_pools"),
    ("node_pools.cpu.instance_families", ["m99"], "instance family", "node_pools.cpu.instance_families.0"),
    ("node_pools.cpu.instance_families", [], "one instance family or more"),
    ("node_pools.cpu.instance_families", ["g6"], "without GPUs"),
    ("node_pools.gpu.instance_families", ["g6", "m7i"], "with GPUs"),
    ("node_pools.cpu.instance_families", ["m7g"], "architecture amd64"),
    ("node_pools.cpu.capacity", ["reserved"], "on-demand or spot", "node_pools.cpu.capacity.0"),
    ("node_pools.cpu.zones", ["eu-west-1"], "availability zone", "node_pools.cpu.zones.0"),
    ("node_pools.cpu.max_cpus", 0, "at least 2"),
    ("node_pools.cpu.max_cpus", None, "at least 2"),
    ("node_pools.gpu.max_cpus", 64, "left out in a pool with gpu"),
    ("node_pools.gpu.gpu", {"kind": "amd", "max": 4}, "must be nvidia", "node_pools.gpu.gpu.kind"),
    ("node_pools.gpu.gpu", {"kind": "nvidia", "max": 0}, "from 1 to 1000", "node_pools.gpu.gpu.max"),
    ("node_pools.cpu.expire_after_days", 21, "from 1 to 20"),
    ("node_pools.cpu.disk_gib", 8, "from 20 to 16384"),
    ("node_pools.cpu.max_disrupted", "110%", "percentage"),
    ("node_pools.old", {**MANAGED, "max": 6}, "must equal min, 2", "node_pools.old.max"),
    ("node_pools.old", {**MANAGED, "min": 6}, "must equal min, 6", "node_pools.old.max"),
    ("node_pools.old", {**MANAGED, "instance_types": ["m7i"]}, "instance type", "node_pools.old.instance_types.0"),
    ("node_pools.old", {**MANAGED, "instance_types": ["g6.xlarge"]}, "without GPUs", "node_pools.old.instance_types"),
    ("node_pools", {"gpu": RIGHT["node_pools"]["gpu"]}, "a pool without GPUs"),
    ("node_pools", {"cpu": {**RIGHT["node_pools"]["cpu"], "training_only": True}}, "and without training_only"),
    ("artifacts.bucket", "Models", "3 to 63 characters"),
    ("artifacts.bucket", "acme.models", "3 to 63 characters"),
    ("artifacts.bucket", "xn--models", "no reserved prefix"),
    ("artifacts.noncurrent_days", 0, "from 1 to 3650"),
    ("artifacts.force_destroy", True, "key that this program reads"),
    ("database.engine_version", "13", "16 or 17, in quotes"),
    ("database.instance_class", "m7g.large", "instance class of RDS"),
    ("database.storage_gib", 10, "from 20 to 65536"),
    ("database.max_storage_gib", 110, "must be at least 126"),
    ("database.instance_class", "db.m7g.small", "instance class of RDS"),
    ("database.snapshots", False, "true if the database is protected"),
    ("database.log_days", 100, "must be one of 1, 3, 5"),
    ("database.backup_days", 0, "1 or more if the database is protected"),
    ("database.backup_days", 60, "from 0 to 35"),
    ("database.restore_from", "my snapshot", "must name a snapshot"),
    ("database.multi_az", 1, "true or false"),
    ("keep_images", 1, "from 5 to 1000"),
    ("cluster.pod_log_days", 100, "must be one of 1, 3, 5"),
    ("access_log_days", 0, "from 1 to 3650"),
    ("alarms", {"emails": ["oncall"]}, "address of e-mail", "alarms.emails.0"),
    ("alarms", {"mails": []}, "key that this program reads", "alarms.mails"),
    ("backup", {"copy_region": "Frankfurt"}, "name of an AWS region", "backup.copy_region"),
    ("network.load_balancers", "separate", "must be shared, moving or own"),
    ("backup", {"copy_region": "eu-central-1", "days": 0}, "from 1 to 3650", "backup.days"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case[0]}={case[1]}"[:60])
def test_a_wrong_value_is_one_line_with_path_rule_reason_and_correction(case: tuple[str, ...]) -> None:
    where, value, rule, path = (*case, case[0])[:4]
    (line,) = lines(changed(where, value))
    assert line.startswith(f"Pulumi.prod.yaml: mlops:{path} is ")
    assert rule in line
    assert ", because " in line
    assert "; " in line.partition(", because ")[2]
    assert "\n" not in line


ENDPOINT, TRACKING = "endpoints.churn.ingress", "tracking.ingress"
# section, value, path in the message, part of the message
WRONG_INGRESS: list[tuple[str, Mapping[str, object], str, str]] = [
    (TRACKING, PUBLIC, "scheme", "MLflow has no user accounts"),
    (ENDPOINT, {**PUBLIC, "certificate_arn": None}, "certificate_arn", "must use HTTPS"),
    (ENDPOINT, {**PUBLIC, "cidrs": []}, "cidrs", "one network or more if the scheme is public"),
    (ENDPOINT, {**PUBLIC, "cidrs": ["0.0.0.0/0"]}, "cidrs.0", "never to the whole internet"),
    (ENDPOINT, {**PUBLIC, "cidrs": ["::/0"]}, "cidrs.0", "never to the whole internet"),
    (ENDPOINT, {**PUBLIC, "certificate_arn": "arn:aws:iam::1:server-certificate/x"}, "certificate_arn", "in ACM"),
    (ENDPOINT, {**PUBLIC, "host": "churn.example.com:443"}, "host", "without a port"),
    (ENDPOINT, {**PUBLIC, "host": "churn"}, "host", "full host name"),
    (ENDPOINT, {**PUBLIC, "scheme": "internet-facing"}, "scheme", "internal or public"),
    (ENDPOINT, {"host": "churn.example.com", "idle_timeout_seconds": 0}, "idle_timeout_seconds", "from 1 to 4000"),
    (ENDPOINT, {"host": "churn.example.com", "tls": True}, "tls", "key that this program reads"),
]


def with_ingress(section: str, ingress: object) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "foundation": RIGHT,
        "images": IMAGES,
        "tracking": {},
        "endpoints": {"churn": {"version": 1, "drain_seconds": 20}},
    }
    place = tree["tracking"] if section == TRACKING else tree["endpoints"]["churn"]
    place["ingress"] = ingress
    return tree


@pytest.mark.parametrize(("section", "ingress", "where", "rule"), WRONG_INGRESS)
def test_an_ingress_that_is_wrong_or_too_wide_is_refused(
    section: str, ingress: Mapping[str, object], where: str, rule: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(with_ingress(section, ingress))
    (line,) = [problem.line("Pulumi.prod.yaml") for problem in problems.of(caught.value, Settings)]
    assert line.startswith(f"Pulumi.prod.yaml: mlops:{section}.{where} is ")
    assert rule in line


@pytest.mark.parametrize(
    ("section", "ingress"),
    [(ENDPOINT, PUBLIC), (ENDPOINT, {"host": "churn.example.com"}), (TRACKING, {"host": "mlflow.example.com"})],
)
def test_an_ingress_for_named_networks_is_accepted(section: str, ingress: object) -> None:
    assert Settings.model_validate(with_ingress(section, ingress))


def test_an_ingress_needs_something_that_makes_load_balancers() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(with_ingress(ENDPOINT, {"host": "churn.example.com"}), context=Rest(kind="local"))
    (problem,) = problems.of(caught.value, Settings)
    assert problem.rule.must == "must be left out if mlops:foundation.kind is local"


def test_an_ingress_needs_pods_that_answer_until_the_load_balancer_has_removed_them() -> None:
    tree = with_ingress(ENDPOINT, {"host": "churn.example.com"})
    del tree["endpoints"]["churn"]["drain_seconds"]
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(tree)
    (problem,) = problems.of(caught.value, Settings)
    assert (problem.path, problem.found) == (ENDPOINT, "is used with drain_seconds: 5")


def test_a_small_vpc_has_no_room_for_subnets_of_load_balancers() -> None:
    small = {**RIGHT["network"], "cidr": "10.40.0.0/22"}
    (line,) = lines(changed("network", {**small, "load_balancers": "own"}))
    assert "network.load_balancers is own in 10.40.0.0/22: must be shared in a VPC smaller than /21" in line
    assert not lines(changed("network", small))


def test_a_public_ingress_needs_public_subnets() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(with_ingress(ENDPOINT, PUBLIC), context=Rest(public_load_balancers=False))
    (problem,) = problems.of(caught.value, Settings)
    assert problem.path == f"{ENDPOINT}"
    assert "public_subnet_ids" in problem.rule.must


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("network", EXISTING),
        ("cluster.public_access_cidrs", ["203.0.113.0/24"]),
        ("cluster.private_access_cidrs", ["10.8.0.0/16"]),
        ("cluster.kubernetes_version", "1.36"),
        ("cluster.access", {"viewers": [PERSON], "trainers": [], "admins": [f"{ADMIN}s"]}),
        ("node_pools.cpu.expire_after_days", 20),
        ("image_reader_role_arns", ["arn:aws:iam::111122223333:role/ci"]),
        ("node_pools.old", MANAGED),
        ("node_pools", {"arm": ARM}),
        ("network", {**NO_NAT, "interface_endpoints": ["ec2", "ecr.api", "ecr.dkr", "eks-auth", "sts"]}),
        ("artifacts", {"bucket": "acme-models", "protected": False}),
        ("database.restore_from", "rds:mlops-2026-01-01-00-00"),
    ],
)
def test_what_a_team_may_want_is_accepted(where: str, value: object) -> None:
    assert not lines(changed(where, value))


def test_an_existing_cluster_is_accepted_in_an_existing_network() -> None:
    assert not lines({**RIGHT, "network": EXISTING, "cluster": {"kind": "existing", "name": "shared"}})


def test_a_database_that_may_be_lost_may_leave_nothing_behind() -> None:
    assert not lines(changed("database", {**RIGHT["database"], "protected": False, "snapshots": False}))


def test_an_unprotected_database_may_have_a_standby_and_no_backup() -> None:
    database = {**RIGHT["database"], "protected": False, "multi_az": True, "backup_days": 0}
    assert not lines(changed("database", database))


def test_everything_wrong_with_a_file_is_reported_at_once() -> None:
    tree = changed("network.cidr", "10.0.0.0/8")
    tree["account_id"] = "1"
    tree["database"]["storage_gib"] = 1
    tree["node_pools"]["cpu"]["instance_families"] = ["g6"]
    assert len(lines(tree)) == 4
