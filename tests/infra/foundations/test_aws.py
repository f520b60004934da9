"""Resources of an AWS stack: permissions, node pools, existing resources."""

import copy
import json
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import mocks
from typing_extensions import override

from bootstrap import documents
from components.aws import rds_authorities
from contract.names import joined_table
from drift import job
from infra.config.stack import read
from infra.foundations.aws_changes import consequences
from infra.program import deploy
from model_server.prediction_log.ship import Shipper
from model_server.settings import ShipSettings
from tests.deployed import environment, pod_specs
from tests.engine.recording.aws import REPLACES
from tests.engine.recording.differences import differences, property_path
from tests.projects import CHECKOUT
from tests.recording import Provider, Recording, record

# The SDK imports its own deprecated modules.
pytestmark = pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning")

PASSWORD = "0123456789-password"
CLIENT_SECRET, COOKIE_KEY = "0123456789-client-secret", "0123456789-0123456789-cookie-key"
ACCOUNT = "123456789012"
ANSWERS: Mapping[str, dict[str, Any]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": {
        "accountId": ACCOUNT,
        "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/mlops-deploy/session",
    },
    "aws:index/getPartition:getPartition": {"partition": "aws"},
    "aws:index/getRegion:getRegion": {"region": "eu-west-1"},
    "aws:index/getAvailabilityZones:getAvailabilityZones": {"names": ["eu-west-1c", "eu-west-1a", "eu-west-1b"]},
    "aws:eks/getAddonVersion:getAddonVersion": {"version": "v1-for-the-cluster"},
    "aws:ec2/getPrefixList:getPrefixList": {"id": "pl-1", "cidrBlocks": ["52.218.0.0/17", "3.5.64.0/21"]},
    "aws:ec2/getVpc:getVpc": {
        "id": "vpc-01234567",
        "cidrBlockAssociations": [{"cidrBlock": "10.9.0.0/16"}, {"cidrBlock": "100.64.0.0/16"}],
    },
    "aws:eks/getCluster:getCluster": {
        "name": "shared",
        "arn": f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/shared",
        "roleArn": f"arn:aws:iam::{ACCOUNT}:role/shared",
        "endpoint": "https://shared",
        "certificateAuthorities": [{"data": "Q0E="}],
        "vpcConfig": {"clusterSecurityGroupId": "sg-shared", "vpcId": "vpc-01234567"},
        "accessConfigs": [{"authenticationMode": "API"}],
        "computeConfigs": [{"enabled": True}],
        "kubernetesNetworkConfigs": [{"serviceIpv4Cidr": "10.100.0.0/16"}],
    },
}


class Aws(Provider):
    """Mock provider with AWS's responses about the account and existing resources."""

    answers: Mapping[str, dict[str, Any]] = ANSWERS
    absent: str = ""
    """Name or ARN for which it reports that the resource does not exist."""

    @override
    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        identity, outputs = super().new_resource(args)
        if args.typ == "aws:eks/cluster:Cluster":
            outputs |= {"certificateAuthority": {"data": "Q0E="}, "endpoint": "https://new", "arn": "arn:cluster"}
            outputs["vpcConfig"] = {**outputs["vpcConfig"], "clusterSecurityGroupId": "sg-new"}
        if args.typ == "aws:grafana/workspace:Workspace":
            outputs |= {"endpoint": "g-0123.grafana-workspace.eu-west-1.amazonaws.com"}
        if args.typ.startswith("kubernetes:"):
            return identity, outputs
        made_up = {"address": "database.example", "latestVersion": 1, "arn": f"arn:aws:{args.name}", "name": args.name}
        return identity, {**made_up, **outputs}

    @override
    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        asked = vars(args)["args"]
        failures = [
            ("", f"reading {value}: couldn't find resource") for value in asked.values() if value == self.absent
        ]
        return self.answers.get(args.token) or _existing(args.token, asked), failures


def _existing(function: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response about an existing role, policy or bucket."""
    match function.rpartition(":")[2]:
        case "getRole":
            return {"arn": f"arn:aws:iam::{ACCOUNT}:role/{asked['name']}"}
        case "getPolicy":
            return {"arn": asked["arn"]}
        case "getBucket":
            return {"bucket": asked["bucket"]}
        case _:
            return {}


def tracked() -> dict[str, Any]:
    """Return the keys of `Pulumi.prod.yaml` without `mlops:`."""
    config = copy.deepcopy(yaml.safe_load((CHECKOUT / "Pulumi.prod.yaml").read_text())["config"])
    return {key.removeprefix("mlops:"): value for key, value in config.items() if key.startswith("mlops:")}


def run(tree: Mapping[str, Any], stack: str = "prod", *, preview: bool = False) -> Recording:
    secrets = {
        "database_password": PASSWORD,
        "login_client_secret": CLIENT_SECRET,
        "login_cookie_key": COOKIE_KEY,
    }
    return record(lambda: deploy(read()), config=tree, secrets=secrets, stack=stack, provider=Aws(), preview=preview)


def declared(stack: str = "prod", tracking: object = None, *, preview: bool = False, **foundation: object) -> Recording:
    tree = tracked()
    tree["foundation"] |= foundation
    tree["tracking"] |= tracking or {}
    if "login" in tree["tracking"]:
        tree["images"]["envoy"] = "registry.example/envoy:1.40.0"
    return run(tree, stack, preview=preview)


@pytest.fixture(scope="module")
def prod() -> Recording:
    return declared()


OBSERVABILITY = "amazon-cloudwatch-observability"
SEEN_AND_KEPT = ("alarms", "access_log_days", "backup", "egress", "network_policy_logs")


@pytest.fixture(scope="module")
def plain() -> Recording:
    """Stack without the keys that only Pulumi.prod.yaml has: alarms, logs, backups, less egress."""
    tree = tracked()
    for key in SEEN_AND_KEPT:
        del tree["foundation"][key]
    del tree["foundation"]["cluster"]["pod_log_days"]
    return run(tree)


CI = f"arn:aws:iam::{ACCOUNT}:role/ci"
DEPLOYS = f"arn:aws:iam::{ACCOUNT}:role/mlops-deploy"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
DATABASE = {"instance_class": "db.t4g.small", "storage_gib": 20, "max_storage_gib": 50, "backup_days": 1}
SUBNETS = {f"network-{kind}-eu-west-1{zone}" for kind in ("public", "private") for zone in "abc"}
MANAGED = {"kind": "managed", "instance_types": ["m7i.xlarge"], "min": 3, "max": 3}


@pytest.fixture(scope="module")
def managed() -> Recording:
    """Stack with managed nodes, a permissions boundary and an unprotected database."""
    return declared(
        node_pools={"cpu": MANAGED},
        permissions_boundary=BOUNDARY,
        database={**DATABASE, "protected": False},
        image_reader_role_arns=[CI],
    )


THERE: Mapping[str, Any] = {
    "network": {
        "kind": "existing",
        "vpc_id": "vpc-01234567",
        "private_subnet_ids": ["subnet-01234567", "subnet-01234568"],
    },
    "cluster": {"kind": "existing", "name": "shared"},
}


@pytest.fixture(scope="module")
def existing() -> Recording:
    """Stack with an existing network and cluster, and a database restored from a snapshot."""
    return declared(**THERE, database={**DATABASE, "restore_from": "before"})


@pytest.fixture(scope="module")
def existing_network() -> Recording:
    """Stack with a new cluster in an existing network."""
    cluster = {"kubernetes_version": "1.35", "admin_role_arns": [DEPLOYS], "private_access_cidrs": ["10.8.0.0/16"]}
    return declared(network=THERE["network"], cluster=cluster)


def rights(recording: Recording, workload: str) -> dict[str, set[str]]:
    """Return the resources for each allowed action."""
    policy = json.loads(recording.one(":RolePolicy", workload).inputs["policy"])
    found: dict[str, set[str]] = {}
    for statement in policy["Statement"]:
        for action in statement["Action"]:
            found.setdefault(action, set()).update(statement["Resource"])
    return found


@pytest.mark.parametrize(
    ("workload", "reads", "writes"),
    [
        ("tracking", {"mlflow/", "validations/"}, set[str]()),
        ("training", {"mlflow/", "datasets/"}, {"mlflow/"}),
        ("training-validation", {"mlflow/", "datasets/"}, {"validations/"}),
        ("serving", {"mlflow/"}, {"predictions/"}),
        ("serving-churn-predictor", {"mlflow/"}, {"predictions/model=churn-predictor/"}),
    ],
)
def test_a_workload_reaches_its_own_prefixes_of_the_bucket_and_deletes_nothing(
    prod: Recording, workload: str, reads: set[str], writes: set[str]
) -> None:
    found = rights(prod, workload)
    for action, prefixes in (("s3:GetObject", reads), ("s3:PutObject", writes), ("s3:DeleteObject", set[str]())):
        assert found.get(action, set()) == {f"arn:aws:artifacts/{prefix}*" for prefix in prefixes}
    assert found["s3:ListBucket"] == {"arn:aws:artifacts"}


def test_an_endpoint_uploads_its_log_where_its_role_may_write(prod: Recording, tmp_path: Path) -> None:
    pod = prod.one(":Deployment", "churn-predictor").spec["template"]["spec"]
    assert pod["serviceAccountName"] == "serving-churn-predictor"
    settings = ShipSettings.model_construct(
        model="churn-predictor", model_version=1, pod_name="pod", prediction_log_dir=tmp_path
    )
    key = Shipper(settings).key(tmp_path / "20261130T10-0001")
    (allowed,) = rights(prod, "serving-churn-predictor")["s3:PutObject"]
    assert fnmatch(f"arn:aws:artifacts/{key}", allowed)


def test_endpoints_with_long_names_have_roles_of_their_own() -> None:
    tree = tracked()
    (settings,) = tree["endpoints"].values()
    settings = {key: value for key, value in settings.items() if key != "ingress"} | {"replicas": {"min": 1, "max": 2}}
    names = [f"{'churn-' * 9}{end}" for end in ("predictor", "proponent")]
    tree["endpoints"] = {name: {**settings, "model": "churn-predictor"} for name in names}
    roles = [each.name for each in run(tree).all("iam/role:Role") if each.name.startswith("serving-")]
    assert len(set(roles)) == 2
    assert max(map(len, roles)) + len("-1234567") <= 64, "IAM refuses a longer name"


def test_a_drift_job_reads_the_log_of_its_model_and_writes_reports_and_its_own_joined_table_only() -> None:
    tree = tracked()
    tree["endpoints"]["churn-predictor"] |= {"prediction_log": {}, "drift": {}}
    made = run(tree)
    role = "training-drift-churn-predictor"
    assert any(fnmatch(f"{role}-0a1b2c3", pattern) for pattern in documents.ROLES)
    found = {action: {name.partition("/")[2] for name in names} for action, names in rights(made, role).items()}
    assert found["s3:GetObject"] == {"mlflow/*", "datasets/*", "outcomes/*", "predictions/model=churn-predictor/*"}
    assert found["s3:PutObject"] == {"validations/drift/*"}
    tree["endpoints"]["churn-predictor"]["outcomes"] = f"s3://{tree['foundation']['artifacts']['bucket']}/outcomes/"
    joined = rights(run(tree), role)["s3:PutObject"]
    (written,) = {name.partition("/")[2] for name in joined} - {"validations/drift/*"}
    assert fnmatch(joined_table("churn-predictor"), written)
    assert not fnmatch(joined_table("churn-predictor-2"), written)
    trust = json.loads(made.one("iam/role:Role", role).inputs["assumeRolePolicy"])["Statement"][0]
    account = trust["Condition"]["StringEquals"]["aws:RequestTag/kubernetes-service-account"]
    assert account == "drift-churn-predictor"


def test_every_role_is_held_by_the_boundary(managed: Recording) -> None:
    roles = managed.all("iam/role:Role")
    assert {role.name for role in roles} >= {"cluster", "network-flows", "nodes", "cpu", "training"}
    assert {role.inputs.get("permissionsBoundary") for role in roles} == {BOUNDARY}


def test_no_key_is_left_with_the_policy_that_aws_gives_it(managed: Recording) -> None:
    keys = managed.all("kms/key:Key")
    assert {key.name for key in keys} >= {"artifacts", "cluster", "database", "images", "nodes", "network-flows"}
    for key in keys:
        actions = [action for each in json.loads(key.inputs["policy"])["Statement"] for action in each["Action"]]
        assert "kms:PutKeyPolicy" in actions, "else the policy could never be changed"
        assert not [action for action in actions if "*" in action]


def test_nodes_have_no_right_on_any_bucket(prod: Recording) -> None:
    of_nodes = [r for r in prod.all(":RolePolicyAttachment") if r.name.startswith("nodes-")]
    attached = {r.inputs["policyArn"].rpartition("/")[2] for r in of_nodes}
    assert attached
    assert not {name for name in attached if "S3" in name}
    assert {r.name for r in prod.all("iam/rolePolicy:RolePolicy")} == {
        "network-flows",
        "tracking",
        "training",
        "training-validation",
        "serving",
        "serving-churn-predictor",
    }


def test_the_roles_of_workloads_have_names_that_the_deploying_role_may_create(prod: Recording) -> None:
    workloads = [each.name for each in prod.all("iam/role:Role") if "pods.eks" in each.inputs["assumeRolePolicy"]]
    assert len(workloads) == 6
    assert all(any(fnmatch(f"{name}-0a1b2c3", pattern) for pattern in documents.ROLES) for name in workloads)


def test_only_the_pods_of_its_service_account_take_a_role(prod: Recording) -> None:
    trust = json.loads(prod.one("iam/role:Role", "serving").inputs["assumeRolePolicy"])["Statement"][0]
    assert trust["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {
        "aws:RequestTag/eks-cluster-arn": "arn:cluster",
        "aws:RequestTag/kubernetes-namespace": "ml-serving",
        "aws:RequestTag/kubernetes-service-account": "serving",
    }


@pytest.mark.parametrize(
    ("role", "source"),
    [
        ("cluster", f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/mlops-prod"),
        ("network-flows", f"arn:aws:ec2:eu-west-1:{ACCOUNT}:vpc-flow-log/*"),
    ],
)
def test_a_service_takes_its_role_for_what_the_role_was_made_for(prod: Recording, role: str, source: str) -> None:
    trust = json.loads(prod.one("iam/role:Role", role).inputs["assumeRolePolicy"])["Statement"][0]
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnLike": {"aws:SourceArn": source},
    }


def test_a_gpu_pool_starts_from_nothing_keeps_others_off_and_waits_before_it_shrinks(prod: Recording) -> None:
    pool = prod.one("karpenter.sh/v1:NodePool", "gpu").spec
    assert pool["limits"] == {"nvidia.com/gpu": "4"}
    assert pool["template"]["spec"]["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
    assert pool["disruption"]["consolidateAfter"] == "10m"
    assert {r["key"]: r["values"] for r in pool["template"]["spec"]["requirements"]} == {
        "eks.amazonaws.com/instance-family": ["g6", "g5"],
        "karpenter.sh/capacity-type": ["spot", "on-demand"],
        "kubernetes.io/arch": ["amd64"],
    }


BATCH = {"instance_families": ["m7i"], "max_cpus": 64, "training_only": True}


@pytest.fixture(scope="module")
def apart() -> Recording:
    """Stack with a pool for training only, and MLflow and the endpoint on another one."""
    tree = tracked()
    tree["foundation"]["node_pools"]["batch"] = BATCH
    tree["training"]["churn"] |= {"node_pool": "batch", "deadline_minutes": 3000}
    tree["tracking"]["node_pool"] = tree["endpoints"]["churn-predictor"]["node_pool"] = "cpu"
    return run(tree)


def test_a_pool_for_training_only_keeps_everything_else_off(apart: Recording) -> None:
    taint = {"key": "mlops/training-only", "value": "present", "effect": "NoSchedule"}
    assert apart.one("karpenter.sh/v1:NodePool", "batch").spec["template"]["spec"]["taints"] == [taint]
    tolerated = [{"key": taint["key"], "operator": "Exists", "effect": "NoSchedule"}]
    assert apart.one(":Job", "churn").spec["template"]["spec"]["tolerations"] == tolerated
    others = {name: spec for name, spec in pod_specs(apart).items() if not name.endswith(" churn")}
    assert len(others) >= 4
    assert not [name for name, spec in others.items() if spec.get("tolerations")]


def test_a_managed_pool_can_be_for_training_only_too() -> None:
    pools = {"cpu": MANAGED, "batch": {**MANAGED, "training_only": True}}
    taints = declared(node_pools=pools).one("eks/nodeGroup:NodeGroup", "batch").inputs["taints"]
    assert taints == [{"key": "mlops/training-only", "value": "present", "effect": "NO_SCHEDULE"}]


def test_mlflow_and_endpoints_stay_on_the_pool_that_they_name(prod: Recording, apart: Recording) -> None:
    for name in ("mlflow", "churn-predictor"):
        pod = apart.one(":Deployment", name).spec["template"]["spec"]
        assert pod["nodeSelector"] == {"mlops/node-pool": "cpu"}
        assert "nodeSelector" not in prod.one(":Deployment", name).spec["template"]["spec"]


def test_an_expired_node_waits_as_long_as_its_longest_run_may_take(prod: Recording, apart: Recording) -> None:
    def grace(recording: Recording, pool: str) -> str:
        return recording.one("karpenter.sh/v1:NodePool", pool).spec["template"]["spec"]["terminationGracePeriod"]

    assert grace(apart, "batch") == "50h"  # 3000 minutes
    assert (grace(apart, "cpu"), grace(prod, "cpu")) == ("24h", "24h")


@pytest.mark.parametrize(("days", "minutes", "refused"), [(14, 10080, False), (18, 4320, False), (18, 4321, True)])
def test_a_run_that_its_node_would_not_outlive_is_refused(days: int, minutes: int, refused: bool) -> None:
    tree = tracked()
    tree["foundation"]["node_pools"]["cpu"]["expire_after_days"] = days
    tree["training"]["churn"]["deadline_minutes"] = minutes
    if not refused:
        assert run(tree)
        return
    with pytest.raises(pulumi.RunError) as error:
        run(tree)
    (line,) = str(error.value).splitlines()[1:]
    assert "mlops:training.churn.deadline_minutes is 4321: must be at most 4320 on pool cpu, because a run may" in line
    assert line.endswith("write expire_after_days: 17 for the pool, or a shorter deadline")


def test_an_age_that_no_node_reaches_is_one_problem_and_not_one_of_each_run() -> None:
    tree = tracked()
    tree["foundation"]["node_pools"]["cpu"]["expire_after_days"] = 30
    with pytest.raises(pulumi.RunError, match="1 problem in") as error:
        run(tree)
    assert "node_pools.cpu.expire_after_days is 30: must be a whole number of days from 1 to 20" in str(error.value)


def test_a_pool_for_training_only_is_no_place_for_an_endpoint() -> None:
    tree = tracked()
    tree["foundation"]["node_pools"]["batch"] = BATCH
    tree["endpoints"]["churn-predictor"]["node_pool"] = "batch"
    with pytest.raises(pulumi.RunError, match=r'node_pool is "batch": must name a pool of .* without training_only'):
        run(tree)


def test_training_selects_the_pool_by_the_label_that_its_nodes_carry(prod: Recording) -> None:
    labels = prod.one("karpenter.sh/v1:NodePool", "cpu").spec["template"]["metadata"]["labels"]
    assert prod.one(":Job", "churn").spec["template"]["spec"]["nodeSelector"] == labels


def test_the_database_lets_in_the_cluster_alone(prod: Recording) -> None:
    door = prod.one(":SecurityGroupIngressRule", "database").inputs
    assert (door["referencedSecurityGroupId"], door["fromPort"], door["toPort"]) == ("sg-new", 5432, 5432)
    database = prod.one("rds/instance:Instance", "database")
    assert database.protect
    assert "password" in database.secrets
    assert database.inputs["finalSnapshotIdentifier"].startswith("mlops-prod-final-")


def test_the_parameter_that_wants_tls_is_set_as_rds_reports_it(prod: Recording) -> None:
    (parameter,) = prod.one(":ParameterGroup", "database").inputs["parameters"]
    assert parameter == {"name": "rds.force_ssl", "value": "1", "applyMethod": "pending-reboot"}


def test_scanners_and_builds_reach_the_layers_of_images(managed: Recording) -> None:
    policy = json.loads(managed.one(":RepositoryPolicy", "images-serving").inputs["policy"])
    (denied,) = policy["Statement"]
    assert denied["Effect"] == "Deny"
    assert set(denied["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]) == {
        DEPLOYS,
        CI,
        f"arn:aws:iam::{ACCOUNT}:role/mlops-prod-nodes",
        f"arn:aws:iam::{ACCOUNT}:role/mlops-prod-cpu-nodes",
        f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/inspector2.amazonaws.com/AWSServiceRoleForAmazonInspector2",
    }


def test_what_the_database_logs_is_encrypted_and_ends(prod: Recording) -> None:
    database, logs = prod.one("rds/instance:Instance", "database"), prod.one("logGroup:LogGroup", "database-logs")
    (exported,) = database.inputs["enabledCloudwatchLogsExports"]
    assert logs.inputs["name"] == f"/aws/rds/instance/{database.inputs['identifier']}/{exported}"
    assert logs.inputs["retentionInDays"] == 30
    assert logs.urn in database.dependencies, "RDS would make the group itself"


def test_outages_wait_for_the_maintenance_window_where_the_database_is_protected(
    prod: Recording, managed: Recording
) -> None:
    assert [r.one("rds/instance:Instance", "database").inputs["applyImmediately"] for r in (prod, managed)] == [
        False,
        True,
    ]


def test_lifting_the_protection_still_leaves_a_last_snapshot(managed: Recording) -> None:
    database = managed.one("rds/instance:Instance", "database").inputs
    assert (database["deletionProtection"], database["skipFinalSnapshot"]) == (False, False)


def test_a_database_from_another_snapshot_leaves_a_last_snapshot_of_another_name(
    prod: Recording, existing: Recording
) -> None:
    databases = [recording.one("rds/instance:Instance", "database").inputs for recording in (prod, existing)]
    assert [database.get("snapshotIdentifier") for database in databases] == [None, "before"]
    assert len({database["finalSnapshotIdentifier"] for database in databases}) == 2


def test_a_restored_database_keeps_the_key_of_its_snapshot(existing: Recording) -> None:
    assert "kmsKeyId" not in existing.one("rds/instance:Instance", "database").inputs


def test_a_gateway_to_the_internet_comes_before_those_that_need_it(prod: Recording) -> None:
    internet = prod.one(":InternetGateway", "network")
    gateways = prod.all(":NatGateway")
    assert len(gateways) == 3
    assert all(internet.urn in gateway.dependencies for gateway in gateways)


def test_nodes_come_after_their_route_out_of_the_network_and_go_before_it(prod: Recording, managed: Recording) -> None:
    pools = [prod.one("mlops:aws:NodePool", "gpu"), managed.one("mlops:aws:ManagedNodeGroup", "cpu")]
    for recording, pool in zip((prod, managed), pools, strict=True):
        routes = [route for route in recording.all(":Route") if route.name.startswith("network-private-")]
        assert len(routes) == 3
        assert {route.urn for route in routes} <= pool.dependencies


def test_the_access_to_the_cluster_is_known_by_what_an_upgrade_does_not_change(prod: Recording) -> None:
    provider = prod.one("pulumi:providers:kubernetes", "cluster").inputs
    assert provider["clusterIdentifier"] == f"{ACCOUNT}/eu-west-1/mlops-prod"


def test_the_api_lets_in_the_vpc_and_named_private_networks(prod: Recording, existing_network: Recording) -> None:
    for recording, networks in (
        (prod, ["10.40.0.0/16"]),
        (existing_network, ["10.8.0.0/16", "10.9.0.0/16", "100.64.0.0/16"]),
    ):
        door = recording.one("ec2/securityGroup:SecurityGroup", "cluster-api")
        (rule,) = door.inputs["ingress"]
        assert (rule["protocol"], rule["fromPort"], rule["toPort"]) == ("tcp", 443, 443)
        assert rule["cidrBlocks"] == networks
        cluster = recording.one("eks/cluster:Cluster", "cluster").inputs
        assert cluster["vpcConfig"]["securityGroupIds"] == ["cluster-api-id"]


def test_what_runs_on_nodes_comes_after_them_and_what_nodes_need_before(prod: Recording, managed: Recording) -> None:
    assert {addon.inputs["addonName"] for addon in prod.all(":Addon")} == {"metrics-server", OBSERVABILITY}
    for addon in prod.all(":Addon"):
        assert {prod.one("karpenter.sh/v1:NodePool", pool).urn for pool in ("cpu", "gpu")} <= addon.dependencies
    addons = {addon.inputs["addonName"]: addon for addon in managed.all(":Addon")}
    group, nodes = managed.one("mlops:aws:ManagedNodeGroup", "cpu"), managed.one("eks/nodeGroup:NodeGroup", "cpu")
    for name, addon in addons.items():
        after = name in {"coredns", "metrics-server", OBSERVABILITY}
        assert (nodes.urn in addon.dependencies, addon.urn in group.dependencies) == (after, not after), name


def test_a_third_zone_is_none_of_the_control_planes(prod: Recording) -> None:
    assert prod.one("eks/cluster:Cluster", "cluster").inputs["vpcConfig"]["subnetIds"] == [
        "network-private-eu-west-1a-id",
        "network-private-eu-west-1b-id",
    ]
    assert len(prod.one(":NodeClass", "cpu").spec["subnetSelectorTerms"]) == 3


def test_a_release_waits_until_the_load_balancer_sends_requests_to_the_new_pods(prod: Recording) -> None:
    labels = prod.one(":Namespace", "ml-serving").metadata["labels"]
    assert labels["eks.amazonaws.com/pod-readiness-gate-inject"] == "enabled"
    assert prod.one(":Deployment", "churn-predictor").spec["progressDeadlineSeconds"] >= 45 + 60


def test_a_load_balancer_answers_to_its_own_network_unless_others_are_named(prod: Recording) -> None:
    other = prod.one(":Ingress", "churn-predictor").metadata["annotations"]
    assert other["alb.ingress.kubernetes.io/inbound-cidrs"] == "10.40.0.0/16"


LOGIN: Mapping[str, object] = {
    "authenticated": True,
    "ingress": {
        "host": "mlflow.ml.example.com",
        "certificate_arn": f"arn:aws:acm:eu-west-1:{ACCOUNT}:certificate/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f",
    },
    "login": {
        "issuer": "https://login.example.com:8443/",
        "client_id": "mlflow-web",
        "authorization_endpoint": "https://login.example.com:8443/authorize",
        "token_endpoint": "https://login.example.com:8443/token",
        "viewers": ["data-science"],
    },
}


def test_the_secrets_of_a_login_are_in_one_secret_that_only_the_gateway_reads() -> None:
    recording = declared(tracking=LOGIN)
    secret = recording.one(":Secret", "mlflow-login").inputs["stringData"]
    assert (secret["client-secret"], secret["cookie-key"]) == (CLIENT_SECRET, COOKIE_KEY)
    others = json.dumps([each.inputs for each in recording.resources if each.name != "mlflow-login"])
    assert CLIENT_SECRET not in others
    assert COOKIE_KEY not in others
    pod = recording.one(":Deployment", "mlflow").spec["template"]["spec"]
    (gateway,), (server,) = pod["initContainers"], pod["containers"]
    mounted = [{mount["name"] for mount in each["volumeMounts"]} for each in (gateway, server)]
    assert ["login" in each for each in mounted] == [True, False]
    (rule,) = [each for each in recording.one(":NetworkPolicy", "mlflow").spec["egress"] if "to" not in each][1:]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8443}]
    configuration = recording.one(":ConfigMap", "mlflow-gateway").inputs["data"]["envoy.json"]
    assert '"redirect_uri": "https://mlflow.ml.example.com/login/callback"' in configuration


def test_mlflow_accepts_the_requests_of_its_own_page_at_the_host_of_its_ingress() -> None:
    def origins(tracking: Mapping[str, object]) -> object:
        pod = declared(tracking=tracking).one(":Deployment", "mlflow").spec["template"]["spec"]
        return environment(pod["containers"][0])["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"]

    assert origins(LOGIN) == "https://mlflow.ml.example.com"
    assert "http://mlflow.ml.example.com" in str(origins({"ingress": {"host": "mlflow.ml.example.com"}}))


def admitted(recording: Recording, policy: str) -> set[str]:
    """Return the address blocks from which a policy admits requests."""
    rules = recording.one(":NetworkPolicy", policy).spec["ingress"]
    return {peer["ipBlock"]["cidr"] for rule in rules for peer in rule.get("from", []) if "ipBlock" in peer}


@pytest.mark.parametrize("chosen", ["moving", "own"])
def test_load_balancers_get_subnets_without_pods_and_then_pods_admit_only_these(chosen: str) -> None:
    network = {**tracked()["foundation"]["network"], "load_balancers": chosen}
    inside = {"ingress": {"host": "mlflow.ml.example.com"}}
    before, after = declared(tracking=inside), declared(tracking=inside, network=network)
    subnets = {each.name: each.inputs for each in after.all("subnet:Subnet")}
    internal = [f"network-internal-eu-west-1{zone}" for zone in "abc"]
    assert [subnets[name]["cidrBlock"] for name in internal] == ["10.40.240.0/22", "10.40.244.0/22", "10.40.248.0/22"]
    named = after.one(":Ingress", "mlflow").metadata["annotations"]["alb.ingress.kubernetes.io/subnets"]
    assert named == ",".join(f"{name}-id" for name in internal)
    nodes = {term["id"] for term in after.one(":NodeClass", "cpu").spec["subnetSelectorTerms"]}
    assert not nodes & {f"{name}-id" for name in internal}
    own = {subnets[name]["cidrBlock"] for name in internal}
    assert admitted(after, "mlflow") == (own if chosen == "own" else {"10.40.0.0/16"}), chosen
    assert replaced(before, after) == set()
    kept = {each.name: each.inputs for each in before.all("subnet:Subnet")}
    assert kept == {name: subnets[name] for name in kept}, "no tag of an existing subnet changes"


def test_a_training_run_is_left_on_its_node_until_it_has_ended(prod: Recording) -> None:
    pod = prod.one(":Job", "churn").spec["template"]["metadata"]
    assert pod["annotations"] == {"karpenter.sh/do-not-disrupt": "true"}


def test_zones_are_taken_in_the_order_of_their_names(prod: Recording) -> None:
    assert [r.inputs["availabilityZone"] for r in prod.all("subnet:Subnet") if "public" in r.name] == [
        "eu-west-1a",
        "eu-west-1b",
        "eu-west-1c",
    ]


def test_credentials_reach_pods_and_names_are_found_under_the_network_policies(prod: Recording) -> None:
    policies = [r for r in prod.all(":NetworkPolicy") if r.name in {"ml-serving-default", "ml-serving-stores"}]
    ways = json.dumps([rule for policy in policies for rule in policy.spec["egress"]])
    assert "172.20.0.10/32" in ways
    assert "169.254.170.23/32" in ways


SKIP = "eks.amazonaws.com/skip-containers"


def test_only_containers_that_use_the_store_get_the_roles_token(prod: Recording) -> None:
    skipped = dict[str, set[str]]()
    for resource in prod.all(":Deployment") + prod.all(":Job") + prod.all(":CronJob"):
        spec: dict[str, Any] = resource.spec.get("jobTemplate", {}).get("spec", resource.spec)
        pod: dict[str, Any] = spec["template"]
        names = {each["name"] for each in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]}
        if text := str(pod["metadata"].get("annotations", {}).get(SKIP, "")):
            skipped[resource.name] = set(text.split(","))
            assert skipped[resource.name] <= names
    assert skipped == {
        "churn-predictor": {"server"},
        "churn-validation": {"code"},
        "mlflow-migration": {"migration", "owner"},
    }


def egress(recording: Recording, name: str) -> list[tuple[str, int]]:
    """Return the address blocks, with ports, that a policy lets its pods reach."""
    return [
        (peer["ipBlock"]["cidr"], rule["ports"][0]["port"])
        for rule in recording.one(":NetworkPolicy", name).spec["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
    ]


def test_a_validation_reaches_s3_and_the_agent_for_credentials_but_not_the_internet(
    prod: Recording, existing: Recording
) -> None:
    s3, agent = [("3.5.64.0/21", 443), ("52.218.0.0/17", 443)], ("169.254.170.23/32", 80)
    assert egress(prod, "ml-training-validations") == [*s3, agent]
    # There, S3 may have an interface endpoint, with addresses of the network.
    network = [("10.9.0.0/16", 443), ("100.64.0.0/16", 443)]
    assert egress(existing, "ml-training-validations") == [*s3, *network, agent]
    selected = prod.one(":NetworkPolicy", "ml-training-stores").spec["podSelector"]
    assert selected["matchExpressions"] == [
        {"key": "app.kubernetes.io/component", "operator": "NotIn", "values": ["validation"]}
    ]


@pytest.mark.parametrize("policy", ["ml-serving-stores", "ml-training-stores", "mlflow"])
def test_pods_reach_s3_and_no_other_address_on_the_internet_if_the_stack_says_so(
    prod: Recording, plain: Recording, policy: str
) -> None:
    database = {("10.40.0.0/16", 5432)} if policy == "mlflow" else set[tuple[str, int]]()
    agent = ("169.254.170.23/32", 80)
    assert set(egress(prod, policy)) == {("3.5.64.0/21", 443), ("52.218.0.0/17", 443), agent, *database}
    assert set(egress(plain, policy)) == {("0.0.0.0/0", 443), agent, *database}


def test_nodes_log_what_policies_refuse_if_the_stack_says_so(prod: Recording, plain: Recording) -> None:
    for recording, logs in ((prod, "Enabled"), (plain, "Disabled")):
        assert {each.spec["networkPolicyEventLogs"] for each in recording.all(":NodeClass")} == {logs}


def refused(recording: Recording, **request: str) -> bool:
    """Evaluate the denials of the bucket's policy as IAM does: an absent key fulfils only the negative conditions."""
    request = {key.replace("_", ":", 1): value for key, value in request.items()}
    request = {**request, "aws:PrincipalTag/eks-cluster-arn": request.pop("tag", "")}
    operators = {"StringEquals", "StringNotEquals", "ForAllValues:StringNotEquals"}
    return any(
        all(
            (request.get(key) in ([value] if isinstance(value, str) else value)) is (operator == "StringEquals")
            for operator, keys in statement["Condition"].items()
            for key, value in keys.items()
        )
        for statement in json.loads(recording.one(":BucketPolicy", "artifacts").inputs["policy"])["Statement"]
        if statement["Condition"].keys() <= operators
    )


def test_the_bucket_refuses_credentials_of_a_pod_outside_the_network(prod: Recording, existing: Recording) -> None:
    cluster = f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/mlops-prod"
    assert refused(prod, tag=cluster), "over the internet"
    assert refused(prod, tag=cluster, aws_SourceVpc="vpc-of-a-stranger")
    assert not refused(prod, tag=cluster, aws_SourceVpc="network-id")
    assert not refused(prod), "people and CI"
    assert not refused(prod, tag=f"{cluster}-another"), "pods of other clusters"
    # An existing network may have no endpoint for S3.
    assert "aws:SourceVpc" not in existing.one(":BucketPolicy", "artifacts").inputs["policy"]


def test_the_bucket_accepts_athena_for_a_pod_only_if_a_drift_job_uses_it(prod: Recording, counted: Recording) -> None:
    request = {
        "tag": f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/mlops-prod",
        "aws_CalledVia": "athena.amazonaws.com",
    }
    assert refused(prod, **request)
    assert not refused(counted, **request)
    assert refused(counted, **{**request, "aws_CalledVia": "cloudformation.amazonaws.com"})
    assert refused(counted, tag=request["tag"]), "over the internet"


@pytest.fixture(scope="module")
def counted() -> Recording:
    """Return a stack whose drift job lets Athena count the rows."""
    tree: dict[str, Any] = {**tracked(), "athena": {}}
    tree["endpoints"]["churn-predictor"] |= {"prediction_log": {}, "drift": {"engine": "athena"}}
    return run(tree)


def test_a_drift_job_with_athena_queries_the_workgroup_of_the_stack(counted: Recording) -> None:
    (container,) = counted.one(":CronJob", "churn-predictor-drift").spec["jobTemplate"]["spec"]["template"]["spec"][
        "containers"
    ]
    options = job.parser().parse_args(container["args"])
    assert options.workgroup == counted.one("athena/workgroup:Workgroup", "log-queries").inputs["name"]
    assert environment(container)["AWS_DEFAULT_REGION"] == "eu-west-1"
    allowed = rights(counted, "training-drift-churn-predictor")
    workgroup = f"arn:aws:athena:eu-west-1:{ACCOUNT}:workgroup/{options.workgroup}"
    assert allowed["athena:StartQueryExecution"] == {workgroup}
    assert f"arn:aws:glue:eu-west-1:{ACCOUNT}:table/{options.workgroup}/predictions_*" in allowed["glue:CreateTable"]
    (results,) = {name for name in allowed["s3:PutObject"] if not name.startswith("arn:aws:artifacts/")}
    assert results in allowed["s3:GetObject"]
    assert "athena:StartQueryExecution" not in rights(counted, "training")


@pytest.mark.parametrize(
    ("endpoints", "reached"), [(["ecr.api"], "0.0.0.0/0"), (["athena", "ecr.api"], "10.40.0.0/16")]
)
def test_a_drift_job_with_athena_reaches_it_by_the_interface_endpoint_or_at_port_443(
    endpoints: list[str], reached: str
) -> None:
    tree: dict[str, Any] = {**tracked(), "athena": {}}
    tree["endpoints"]["churn-predictor"] |= {"prediction_log": {}, "drift": {"engine": "athena"}}
    tree["endpoints"]["second"] = {"model": "churn-predictor", "version": 2, "prediction_log": {}, "drift": {}}
    tree["foundation"]["network"]["interface_endpoints"] = endpoints
    made = run(tree)
    assert egress(made, "churn-predictor-drift") == [(reached, 443)]
    labels = made.one(":NetworkPolicy", "churn-predictor-drift").spec["podSelector"]["matchLabels"]
    pods = {
        name: made.one(":CronJob", f"{name}-drift").spec["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
        for name in ("churn-predictor", "second")
    }
    assert [name for name, own in pods.items() if labels.items() <= own.items()] == ["churn-predictor"]


def test_mlflow_answers_to_the_host_of_its_ingress_and_is_never_public(prod: Recording) -> None:
    ingress = prod.one(":Ingress", "mlflow")
    assert ingress.metadata["annotations"]["alb.ingress.kubernetes.io/scheme"] == "internal"
    server = prod.one(":Deployment", "mlflow").spec["template"]["spec"]["containers"][0]
    hosts = {v["name"]: v.get("value") for v in server["env"]}["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert "mlflow.ml.example.com" in hosts.split(",")


def test_a_region_without_an_authority_for_its_database_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Aws, "answers", {**ANSWERS, "aws:index/getRegion:getRegion": {"region": "mx-central-1"}})
    said = r"database.authority is missing: must hold .* of mx-central-1, .* write .*/mx-central-1-bundle.pem"
    with pytest.raises(pulumi.RunError, match=said):
        declared()
    pem, tree = rds_authorities.root("eu-west-1"), tracked()
    for ingress in (tree["tracking"]["ingress"], tree["endpoints"]["churn-predictor"]["ingress"]):
        ingress["certificate_arn"] = ingress["certificate_arn"].replace("eu-west-1", "mx-central-1")
    tree["foundation"]["database"] = {**DATABASE, "authority": pem}
    recording = run(tree, "prod")
    assert recording.one(":ConfigMap", "mlflow-database-authority").inputs["data"]["ca.crt"] == pem
    with pytest.raises(pulumi.RunError, match=r"database.authority is .*: must hold certificates \(PEM\)"):
        declared(database={**DATABASE, "authority": "rds-ca-rsa2048-g1"})


def test_an_existing_network_and_cluster_are_used_and_not_made(existing: Recording) -> None:
    assert not existing.all("ec2/vpc:Vpc")
    assert not existing.all("eks/cluster:Cluster")
    node_class = existing.one(":NodeClass", "cpu").spec
    assert [term["id"] for term in node_class["subnetSelectorTerms"]] == ["subnet-01234567", "subnet-01234568"]
    assert node_class["securityGroupSelectorTerms"] == [{"id": "sg-shared"}]
    assert existing.one(":AccessEntry", "nodes").inputs["clusterName"] == "shared"
    (way,) = [w for w in existing.one(":NetworkPolicy", "mlflow").spec["egress"] if w["ports"][0]["port"] == 5432]
    assert [peer["ipBlock"]["cidr"] for peer in way["to"]] == ["10.9.0.0/16", "100.64.0.0/16"]
    assert "10.100.0.10/32" in json.dumps(existing.one(":NetworkPolicy", "ml-serving-default").spec)


def test_a_managed_pool_has_its_size_and_keeps_its_role_to_itself(managed: Recording) -> None:
    group = managed.one("eks/nodeGroup:NodeGroup", "cpu").inputs
    assert group["scalingConfig"] == {"minSize": 3, "maxSize": 3, "desiredSize": 3}
    assert {r.inputs["addonName"] for r in managed.all(":Addon")} >= {"vpc-cni", "coredns", "eks-pod-identity-agent"}
    pullers = json.loads(managed.one(":RepositoryPolicy", "images-serving").inputs["policy"])
    assert f"arn:aws:iam::{ACCOUNT}:role/mlops-prod-cpu-nodes" in json.dumps(pullers)
    template = managed.one(":LaunchTemplate", "cpu").inputs
    assert template["metadataOptions"] == {"httpTokens": "required", "httpPutResponseHopLimit": 1}
    disks = {each["deviceName"]: each["ebs"] for each in template["blockDeviceMappings"]}
    assert {name: disk["encrypted"] for name, disk in disks.items()} == {"/dev/xvda": "true", "/dev/xvdb": "true"}
    assert disks["/dev/xvdb"]["volumeSize"] == 80


def test_managed_nodes_and_their_agents_follow_the_cluster_when_it_is_upgraded(managed: Recording) -> None:
    assert managed.one("eks/nodeGroup:NodeGroup", "cpu").inputs["version"] == "1.35"
    agents = [r for r in managed.all(":Addon") if r.name.startswith("node-agents-")]
    assert {r.inputs["addonVersion"] for r in agents} == {"v1-for-the-cluster"}


def test_credentials_of_another_account_are_refused_before_anything_is_made() -> None:
    admins = {"kubernetes_version": "1.35", "admin_role_arns": ["arn:aws:iam::999999999999:role/mlops-deploy"]}
    with pytest.raises(pulumi.RunError, match="must be the account of your credentials, 123456789012"):
        declared(account_id="999999999999", cluster=admins, permissions_boundary=None)


def test_a_caller_whom_the_cluster_would_refuse_is_named_before_anything_is_made() -> None:
    admins = {"kubernetes_version": "1.35", "admin_role_arns": [f"arn:aws:iam::{ACCOUNT}:role/somebody-else"]}
    with pytest.raises(pulumi.RunError, match="admin_role_arns lacks arn:aws:iam::123456789012:role/mlops-deploy"):
        declared(cluster=admins)


PREVIEWED = {
    "kubernetes_version": "1.35",
    "admin_role_arns": [f"arn:aws:iam::{ACCOUNT}:role/somebody-else"],
    "preview_role_arns": [DEPLOYS],
}


def test_a_role_that_may_only_read_the_cluster_previews_the_stack() -> None:
    granted = {
        each.inputs["policyArn"].rpartition("/")[2]: each.inputs["principalArn"]
        for each in declared(cluster=PREVIEWED, preview=True).all(":AccessPolicyAssociation")
        if each.name != "nodes"
    }
    assert granted == {
        "AmazonEKSClusterAdminPolicy": PREVIEWED["admin_role_arns"][0],
        "AmazonEKSAdminViewPolicy": DEPLOYS,
    }


def test_a_role_that_may_only_read_the_cluster_does_not_deploy_the_stack() -> None:
    with pytest.raises(pulumi.RunError, match=r"lacks .*/mlops-deploy: must contain the role that runs pulumi up"):
        declared(cluster=PREVIEWED)


CLUSTER: Mapping[str, Any] = {"kubernetes_version": "1.35", "admin_role_arns": [DEPLOYS]}
ONCALL = f"arn:aws:iam::{ACCOUNT}:role/team/mlops-oncall"


@pytest.mark.parametrize(
    ("foundation", "absent", "said"),
    [
        (
            {"cluster": {"kubernetes_version": "1.35", "admin_role_arns": [DEPLOYS, ONCALL]}},
            "mlops-oncall",
            f"mlops:foundation.cluster.admin_role_arns.1 is {ONCALL}: must be a role that exists",
        ),
        (
            {"cluster": {"kubernetes_version": "1.35", "admin_role_arns": [DEPLOYS], "preview_role_arns": [ONCALL]}},
            "mlops-oncall",
            f"mlops:foundation.cluster.preview_role_arns.0 is {ONCALL}: must be a role that exists",
        ),
        (
            {"cluster": {**CLUSTER, "access": {"oncall": [ONCALL]}}},
            "mlops-oncall",
            f"mlops:foundation.cluster.access.oncall.0 is {ONCALL}: must be a role that exists",
        ),
        ({"permissions_boundary": BOUNDARY}, BOUNDARY, "permissions_boundary is .*: must be a policy that exists"),
        (
            {"artifacts": {"access_log_bucket": "logs"}},
            "logs",
            "access_log_bucket is logs: must be an existing bucket",
        ),
        (
            {"node_pools": {"cpu": MANAGED}},
            "AWSServiceRoleForAutoScaling",
            "node_pools.cpu.kind is managed: must be auto .* run aws iam create-service-linked-role",
        ),
    ],
)
def test_what_the_file_names_and_aws_does_not_have_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, foundation: Mapping[str, Any], absent: str, said: str
) -> None:
    monkeypatch.setattr(Aws, "absent", absent)
    with pytest.raises(pulumi.RunError, match=said):
        declared(**foundation)


def test_people_enter_the_cluster_with_their_role_and_get_the_group_of_its_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    role = {"aws:iam/getRole:getRole": {"arn": ""}}
    monkeypatch.setattr(Aws, "answers", {**ANSWERS, **role})
    lists = ("viewers", "trainers", "oncall", "admins")
    recording = declared(cluster={**CLUSTER, "access": {key: [f"{DEPLOYS}-{key}"] for key in lists}})
    entries = {each.inputs["principalArn"]: each.inputs for each in recording.all(":AccessEntry")}
    assert {key: entries[f"{DEPLOYS}-{key}"]["kubernetesGroups"] for key in lists} == {
        key: [f"mlops-{key}"] for key in lists
    }
    policies = [each.inputs["principalArn"] for each in recording.all(":AccessPolicyAssociation")]
    assert [arn for arn in policies if "deploy" in arn] == [DEPLOYS]
    assert "kubernetesGroups" not in entries[DEPLOYS]


def test_a_further_administrator_gets_a_hint_at_the_key_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", said.append)
    monkeypatch.setattr(Aws, "answers", {**ANSWERS, "aws:iam/getRole:getRole": {"arn": ""}})
    declared(cluster=CLUSTER)
    assert not said
    recording = declared(cluster={**CLUSTER, "admin_role_arns": [DEPLOYS, ONCALL]})
    (line,) = said
    assert f"makes administrators of {ONCALL}; mlops:foundation.cluster.access gives people fewer rights" in line
    granted = {each.inputs["principalArn"] for each in recording.all(":AccessPolicyAssociation")}
    assert {DEPLOYS, ONCALL} <= granted


def test_an_administrator_is_named_with_the_path_of_its_role(monkeypatch: pytest.MonkeyPatch) -> None:
    role = {"aws:iam/getRole:getRole": {"arn": ONCALL}}
    monkeypatch.setattr(Aws, "answers", {**ANSWERS, **role})
    with pytest.raises(pulumi.RunError, match=f"admin_role_arns.0 is .*: must be {ONCALL}, the role of that name"):
        declared(cluster={"kubernetes_version": "1.35", "admin_role_arns": [DEPLOYS]})


def test_another_error_of_aws_is_not_taken_for_an_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = Aws.call

    def denied(self: Aws, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        answer, _ = answered(self, args)
        return answer, [("", "AccessDenied")] if args.token.endswith(":getRole") else []

    monkeypatch.setattr(Aws, "call", denied)
    with pytest.raises(Exception, match="AccessDenied"):
        declared()


PUBLIC = {"host": "mlflow.ml.example.com", "certificate_arn": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/{'0' * 36}"}
CPU = {"instance_families": ["m7i"], "max_cpus": 8}


@pytest.mark.parametrize(
    ("stack", "changes", "said"),
    [
        ("prod", {"node_pools": {"cpu": {**CPU, "zones": ["eu-west-1d"]}}}, "must be among eu-west-1a, eu-west-1b, eu"),
        ("prod", {"tracking": {"ingress": PUBLIC}}, f"must be a certificate of account {ACCOUNT} in eu-west-1"),
        ("Prod_EU", {}, "must belong to a stack whose name has only a-z, 0-9 and single hyphens"),
        ("p" * 25, {}, "single hyphens, and at most 24 characters"),
    ],
)
def test_what_aws_would_refuse_in_the_middle_of_an_update_is_refused_before_it(
    stack: str, changes: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(pulumi.RunError) as refused:
        declared(stack, **changes)
    headline, line = str(refused.value).splitlines()
    assert headline == f"1 problem in Pulumi.{stack}.yaml; nothing was touched"
    assert said in line


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"vpcConfig": {"clusterSecurityGroupId": "sg", "vpcId": "vpc-89abcdef"}},
            "must be vpc-89abcdef, the VPC of the",
        ),
        ({"accessConfigs": [{"authenticationMode": "CONFIG_MAP"}]}, "must be a cluster that accepts access entries"),
        ({"computeConfigs": [{"enabled": False}]}, "must be a cluster in Auto Mode if a node pool is of kind auto"),
    ],
)
def test_an_existing_cluster_that_could_not_be_used_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, other: Mapping[str, Any], said: str
) -> None:
    cluster = "aws:eks/getCluster:getCluster"
    monkeypatch.setattr(Aws, "answers", {**ANSWERS, cluster: {**ANSWERS[cluster], **other}})
    with pytest.raises(pulumi.RunError, match=said):
        declared(**THERE)


def test_a_region_with_too_few_zones_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    zones = {"aws:index/getAvailabilityZones:getAvailabilityZones": {"names": ["eu-west-1a", "eu-west-1b"]}}
    monkeypatch.setattr(Aws, "answers", {**ANSWERS, **zones})
    with pytest.raises(pulumi.RunError, match="availability_zones is 3: must be at most 2 in eu-west-1"):
        declared()


def replaced(old: Recording, new: Recording) -> set[str]:
    """Return the names of AWS resources that the changes replace, by the recording plugin's table."""
    before = {resource.urn: resource.inputs for resource in old.resources if resource.type in REPLACES}
    return {
        resource.name
        for resource in new.resources
        if resource.urn in before
        for each in differences(before[resource.urn], resource.inputs)
        if property_path(each.path).startswith(REPLACES[resource.type])
    }


ROUTINE: Mapping[str, object] = {
    "foundation.cluster.private_access_cidrs": ["10.8.0.0/16"],
    "endpoints.churn-predictor.version": 2,
    "endpoints.churn-predictor.replicas": {"min": 4, "max": 30},
    "foundation.cluster.public_access_cidrs": ["203.0.113.0/24"],
    "foundation.cluster.log_days": 90,
    "foundation.network.nat_gateways": "one",
    "foundation.network.interface_endpoints": [],
    "foundation.node_pools.cpu.max_cpus": 128,
    "foundation.node_pools.gpu.instance_families": ["g6e"],
    "foundation.database.instance_class": "db.m7g.xlarge",
    "foundation.database.storage_gib": 200,
    "foundation.database.multi_az": False,
    "foundation.permissions_boundary": BOUNDARY,
}
# changes below mlops:, AWS resources that they replace, whether a message announces it
CHANGES: list[tuple[Mapping[str, object], set[str], bool]] = [
    (ROUTINE, set[str](), False),
    ({"images.tracking": "registry.example/tracking:3.18.0"}, {"before-mlflow"}, False),
    ({"foundation.network.availability_zones": 2}, set[str](), True),
    ({"foundation.network.cidr": "10.50.0.0/16"}, {"network", *SUBNETS}, True),
    ({"foundation.cluster.service_cidr": "172.30.0.0/16"}, {"cluster"}, True),
    ({"foundation.database.restore_from": "before"}, {"database"}, True),
]


@pytest.mark.parametrize(("changes", "goes", "announced"), CHANGES)
def test_what_the_program_would_replace_is_what_is_announced(
    prod: Recording, changes: Mapping[str, object], goes: set[str], announced: bool
) -> None:
    tree = tracked()
    for path, value in changes.items():
        *way, last = path.split(".")
        place = tree
        for part in way:
            place = place[part]
        place[last] = value
    changed = run(tree)
    assert replaced(prod, changed) == goes
    assert bool(list(consequences(prod.exports["foundation"], changed.exports["foundation"]))) is announced


def test_nothing_is_seen_or_kept_in_another_service_unless_the_file_says_so(plain: Recording, prod: Recording) -> None:
    def services(recording: Recording) -> set[str]:
        return {each.type.split(":")[1].split("/")[0] for each in recording.resources if each.type.startswith("aws:")}

    assert services(prod) - services(plain) == {"backup", "sns"}
    assert not plain.all(":MetricAlarm")
    assert not plain.all(":BucketLogging")
    assert [addon.inputs["addonName"] for addon in plain.all(":Addon")] == ["metrics-server"]
    assert "access_logs" not in json.dumps([each.metadata for each in plain.all(":Ingress")])
    assert replaced(plain, prod) == set()


def test_alarms_watch_database_gateways_and_control_plane_and_notify_one_topic(prod: Recording) -> None:
    alarms = {each.inputs["name"]: each.inputs for each in prod.all(":MetricAlarm")}
    assert {name.removeprefix("mlops-prod-") for name in alarms} == {
        *("database-storage", "database-cpu", "database-connections", "api-errors", "api-storage"),
        *(f"nat-network-{place}" for place in range(3)),
        "certificate-123456789012",
    }
    assert {name: each["alarmActions"] == each["okActions"] for name, each in alarms.items()} == dict.fromkeys(
        alarms, True
    )
    assert {topic for each in alarms.values() for topic in each["alarmActions"]} == {prod.exports["alarms"]}
    assert alarms["mlops-prod-nat-network-0"]["dimensions"] == {"NatGatewayId": "network-0-id"}
    storage = alarms["mlops-prod-database-storage"]
    assert (storage["comparisonOperator"], storage["threshold"]) == ("LessThanThreshold", 10 * 2**30)
    (subscription,) = prod.all(":TopicSubscription")
    assert (subscription.inputs["protocol"], subscription.inputs["endpoint"]) == ("email", "oncall@example.com")


def test_only_the_accounts_alarms_publish_to_the_topic(prod: Recording) -> None:
    (statement,) = json.loads(prod.one(":TopicPolicy", "alarms").inputs["policy"])["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", ["sns:Publish"])
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    source = f"arn:aws:cloudwatch:eu-west-1:{ACCOUNT}:alarm:*"
    assert statement["Condition"] == {"ArnLike": {"aws:SourceArn": source}}


def test_the_output_of_containers_is_kept_encrypted_for_its_days(prod: Recording) -> None:
    addon = prod.one(":Addon", "cluster-pod-logs")
    groups = [each for each in prod.all(":LogGroup") if "containerinsights" in each.inputs.get("name", "")]
    assert "/aws/containerinsights/mlops-prod/application" in {each.inputs["name"] for each in groups}
    assert {each.inputs["retentionInDays"] for each in groups} == {90}
    assert {each.urn for each in groups} <= addon.dependencies
    (identity,) = addon.inputs["podIdentityAssociations"]
    assert identity["serviceAccount"] == "cloudwatch-agent"
    trust = json.loads(prod.one("iam/role:Role", "cluster-pod-logs").inputs["assumeRolePolicy"])["Statement"][0]
    assert trust["Condition"]["StringEquals"]["aws:RequestTag/kubernetes-namespace"] == "amazon-cloudwatch"


def test_load_balancers_and_bucket_write_their_access_logs_to_a_bucket_of_their_own(prod: Recording) -> None:
    name = f"mlops-prod-{ACCOUNT}-access-logs"
    for each in prod.all(":Ingress"):
        attributes = each.metadata["annotations"]["alb.ingress.kubernetes.io/load-balancer-attributes"].split(",")
        assert {f"access_logs.s3.bucket={name}", "access_logs.s3.enabled=true"} <= set(attributes)
    logging = prod.one(":BucketLogging", "artifacts").inputs
    assert (logging["targetBucket"], logging["targetPrefix"]) == (name, "buckets/mlops-prod-artifacts/")
    statements = json.loads(prod.one(":BucketPolicy", "access-logs").inputs["policy"])["Statement"]
    writers = {each["Principal"]["Service"]: each["Resource"][0] for each in statements if each["Effect"] == "Allow"}
    assert writers == {
        "logdelivery.elasticloadbalancing.amazonaws.com": (f"arn:aws:access-logs/load-balancers/AWSLogs/{ACCOUNT}/*"),
        "logging.s3.amazonaws.com": "arn:aws:access-logs/buckets/*",
    }


def test_a_bucket_for_access_logs_that_exists_already_goes_on_getting_those_of_the_bucket() -> None:
    artifacts = {**tracked()["foundation"]["artifacts"], "access_log_bucket": "example-access-logs"}
    logging = declared(artifacts=artifacts).one(":BucketLogging", "artifacts").inputs
    assert (logging["targetBucket"], logging["targetPrefix"]) == ("example-access-logs", "mlops-prod-artifacts/")


def test_every_backup_is_copied_to_another_region_with_a_key_of_that_region(prod: Recording) -> None:
    (rule,) = prod.one("backup/plan:Plan", "backup").inputs["rules"]
    (copy_of,) = rule["copyActions"]
    copies, vault = prod.one("backup/vault:Vault", "backup-copies"), prod.one("backup/vault:Vault", "backup")
    assert copies.inputs["region"] == "eu-central-1"
    assert "region" not in vault.inputs
    assert (copy_of["destinationVaultArn"], rule["targetVaultName"]) == ("arn:aws:backup-copies", "mlops-prod-backups")
    assert (rule["lifecycle"], copy_of["lifecycle"]) == ({"deleteAfter": 35}, {"deleteAfter": 35})
    assert prod.one("kms/key:Key", "backup-copies").inputs["region"] == "eu-central-1"
    assert copies.protect
    assert vault.protect
    selected = prod.one("backup/selection:Selection", "backup").inputs["resources"]
    assert selected == ["arn:aws:database", "arn:aws:artifacts"]


def test_a_copy_in_the_region_of_the_stack_is_refused_before_anything_is_made() -> None:
    with pytest.raises(pulumi.RunError, match="copy_region is eu-west-1: must be another region than the stack's"):
        declared(backup={"copy_region": "eu-west-1"})
