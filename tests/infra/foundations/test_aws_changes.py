"""Changes to an AWS stack that replace resources or are refused."""

import fnmatch

import pytest

from infra.config.aws import AwsFoundation
from infra.foundations import aws_changes
from infra.foundations.aws_changes import CONSEQUENCES, Facts, consequences, refuse
from tests.infra.config.test_aws import EXISTING, MANAGED, RIGHT, changed

UNPROTECTED = {f"{part}.protected": "False" for part in ("cluster", "artifacts", "database")}


def facts(path: str = "account_id", value: object = "111122223333", region: str = "eu-west-1") -> Facts:
    return aws_changes.facts(region, AwsFoundation.model_validate(changed(path, value)))


# path, old value, new value, message (empty for none), whether `protected` refuses it
TABLE: list[tuple[str, object, object, str, bool]] = [
    ("network.availability_zones", 2, 3, "", False),
    ("network.availability_zones", 3, 2, "the subnets of a zone", True),
    ("network.nat_gateways", "one", "per_zone", "", False),
    ("network.flow_log_days", 30, 90, "", False),
    ("network.load_balancers", "shared", "moving", "", False),
    ("network.load_balancers", "moving", "own", "", False),
    ("cluster.kubernetes_version", "1.35", "1.36", "", False),
    ("cluster.kubernetes_version", "1.36", "1.35", "downgrades Kubernetes", False),
    ("cluster.public_access_cidrs", [], ["203.0.113.0/24"], "", False),
    ("cluster.log_days", 30, 90, "", False),
    ("node_pools.cpu.max_cpus", 64, 128, "", False),
    ("node_pools.cpu.instance_families", ["m7i"], ["m7i", "m8i"], "", False),
    ("node_pools.gpu.gpu.max", 1, 8, "", False),
    ("artifacts.bucket", "acme-models", "acme-other-models", "the bucket", True),
    ("artifacts.bucket", None, "acme-models", "the bucket", True),
    ("artifacts.noncurrent_days", 30, 60, "", False),
    ("node_pools.cpu.kind", "auto", "auto", "", False),
    ("node_pools.old", {**MANAGED, "min": 2}, {**MANAGED, "min": 4, "max": 4}, "", False),
    ("node_pools.old", MANAGED, {**MANAGED, "disk_gib": 200}, "", False),
    ("node_pools.old", MANAGED, {**MANAGED, "instance_types": ["m7a.xlarge"]}, "the node group", False),
    ("node_pools.old", MANAGED, {**MANAGED, "capacity": "spot"}, "the node group", False),
    ("node_pools.old", MANAGED, RIGHT["node_pools"]["cpu"], "", False),
    ("database.log_days", 30, 90, "", False),
    ("database.instance_class", "db.t4g.small", "db.m7g.large", "", False),
    ("database.storage_gib", 100, 200, "", False),
    ("database.multi_az", False, True, "", False),
    ("database.backup_days", 7, 14, "", False),
    ("database.engine_version", "16", "17", "the parameter group", True),
    ("database.restore_from", None, "mlops-prod-final", "the database", True),
]


@pytest.mark.parametrize(("path", "old", "new", "goes", "guarded"), TABLE)
def test_a_change_replaces_what_the_table_says(path: str, old: object, new: object, goes: str, guarded: bool) -> None:
    before, after = facts(path, old), facts(path, new)
    found = dict(consequences(before, after))
    assert [each.does.removeprefix("replaces ").startswith(goes) for each in found.values()] == ([True] if goes else [])
    for where, each in found.items():
        assert (refuse(where, each, before, after) is not None) is guarded
        assert refuse(where, each, {**before, **UNPROTECTED}, {**after, **UNPROTECTED}) is None


@pytest.mark.parametrize(
    ("path", "old", "new", "because"),
    [
        ("account_id", "111122223333", "444455556666", "describes the old account"),
        ("network.cidr", "10.40.0.0/16", "10.50.0.0/16", "to another VPC"),
        ("cluster.service_cidr", "172.20.0.0/16", "172.30.0.0/16", "is fixed when EKS creates the cluster"),
        ("region", "eu-west-1", "eu-central-1", "between regions"),
        ("cluster.kubernetes_version", "1.36", "1.34", "downgrades only to the version before"),
        ("database.engine_version", "17", "16", "cannot go back"),
        ("database.storage_gib", "200", "100", "cannot reduce the storage"),
    ],
)
def test_what_aws_never_does_is_refused_even_unprotected(path: str, old: str, new: str, because: str) -> None:
    before, after = {**facts(), **UNPROTECTED, path: old}, {**facts(), **UNPROTECTED, path: new}
    ((where, each),) = consequences(before, after)
    problem = refuse(where, each, before, after)
    assert problem
    assert because in problem.rule.because


def test_kubernetes_is_upgraded_one_minor_version_at_a_time() -> None:
    before, after = ({**facts(), "cluster.kubernetes_version": version} for version in ("1.33", "1.35"))
    ((where, each),) = consequences(before, after)
    problem = refuse(where, each, before, after)
    assert problem
    assert problem.rule.instead == 'write "1.34" first'


def test_going_over_to_an_existing_network_is_a_change_of_the_network_alone() -> None:
    found = {path for path, _ in consequences(facts(), facts("network", EXISTING))}
    assert "network.kind" in found
    assert all(path.startswith("network.") for path in found)


def test_lifting_the_protection_and_the_change_it_guards_take_two_updates() -> None:
    before = facts()
    after = {**before, **UNPROTECTED, "artifacts.bucket": "another"}
    ((where, each),) = consequences(before, after)
    problem = refuse(where, each, before, after)
    assert problem
    assert "pulumi config set --path 'mlops:foundation.artifacts.protected' false; pulumi up" in problem.rule.instead


def test_a_stack_that_was_never_deployed_has_nothing_to_replace() -> None:
    assert not list(consequences({}, facts()))


def test_every_consequence_reads_a_fact_that_is_exported() -> None:
    known = set(facts("node_pools.old", MANAGED))
    for path in {path for each in CONSEQUENCES for path in (*each.paths, *each.protection)}:
        assert fnmatch.filter(known, path)


@pytest.mark.parametrize(("old", "new"), [("shared", "own"), ("own", "shared")])
def test_load_balancers_change_their_subnets_before_pods_refuse_the_former_ones(old: str, new: str) -> None:
    before, after = facts("network.load_balancers", old), facts("network.load_balancers", new)
    ((path, each),) = consequences(before, after)
    problem = refuse(path, each, before, after)
    assert problem
    assert problem.rule.instead.startswith("write load_balancers: moving")
