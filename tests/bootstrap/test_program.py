"""Resources of the bootstrap: who can take a role, and which rights it has."""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, cast

import pulumi
import pytest
from pulumi.runtime import mocks
from typing_extensions import override

from bootstrap.program import deploy
from bootstrap.settings import read
from policy.rules import violations
from tests.bootstrap.test_settings import github, tracked
from tests.components.aws.test_managed_prometheus import monitored
from tests.infra.foundations.test_aws import ACCOUNT, Aws, managed, prod
from tests.recording import Recording, record

# The SDK imports its own deprecated modules.
pytestmark = pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning")

__all__ = ["managed", "monitored", "prod"]
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary/mlops"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
STATE = "arn:aws:s3:::example-pulumi-state"
AUDIENCES = "aws:iam/getOpenIdConnectProvider:getOpenIdConnectProvider"


class Account(Aws):
    """Mock provider that gives policies the ARNs that AWS would give."""

    @override
    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        identity, outputs = super().new_resource(args)
        if args.typ == "aws:iam/policy:Policy":
            outputs["arn"] = f"arn:aws:iam::{ACCOUNT}:policy{outputs['path']}{outputs['name']}"
        return identity, outputs


def run(**changes: object) -> Recording:
    config = {key: value for key, value in {**tracked(), **changes}.items() if value is not None}
    return record(lambda: deploy(read()), config=config, stack="prod", provider=Account())


@pytest.fixture(scope="module")
def bootstrap() -> Recording:
    return run(github=github(subjects=["ids", "names"]))


def statements(recording: Recording, role: str) -> list[dict[str, Any]]:
    """Return the statements of all policies that are attached to a role."""
    attached = {
        each.inputs["policyArn"] for each in recording.all(":RolePolicyAttachment") if each.inputs["role"] == role
    }
    policies = [each for each in recording.all("iam/policy:Policy") if _arn(each.inputs) in attached]
    assert len(policies) == len(attached) > 0
    return [statement for each in policies for statement in json.loads(each.inputs["policy"])["Statement"]]


def _arn(policy: Mapping[str, Any]) -> str:
    return f"arn:aws:iam::{ACCOUNT}:policy{policy['path']}{policy['name']}"


def actions(recording: Recording, role: str) -> set[str]:
    return {action for each in statements(recording, role) for action in each["Action"]}


@pytest.mark.parametrize(
    ("role", "environment"),
    [
        ("mlops-preview", "prod-preview"),
        ("mlops-deploy", "prod"),
        ("mlops-train", "dev"),
        ("mlops-propose", "prod-propose"),
    ],
)
def test_only_jobs_in_the_named_environments_of_the_named_repository_can_take_a_role(
    bootstrap: Recording, role: str, environment: str
) -> None:
    (trust,) = json.loads(bootstrap.one("iam/role:Role", role).inputs["assumeRolePolicy"])["Statement"]
    assert trust == {
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": ["sts:AssumeRoleWithWebIdentity"],
        "Condition": {
            "StringEquals": {
                "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
                "token.actions.githubusercontent.com:sub": [
                    f"repo:example/mlops:environment:{environment}",
                    f"repo:example@123456/mlops@456789:environment:{environment}",
                ],
            }
        },
    }


def test_every_resource_passes_the_policy_pack(bootstrap: Recording) -> None:
    assert not [(each.name, said) for each in bootstrap.resources for said in violations(each.type, each.inputs)]


def test_the_preview_role_has_no_action_that_writes(bootstrap: Recording) -> None:
    allowed = actions(bootstrap, "mlops-preview")
    reads = ("Describe", "Get", "List", "Decrypt")
    assert not {each for each in allowed if not each.partition(":")[2].startswith(reads)}
    assert len(allowed) > 50


def test_the_preview_role_reads_no_data_but_the_state(bootstrap: Recording) -> None:
    data = {"s3:GetObject": [f"{STATE}/.pulumi/*"], "kms:Decrypt": ["arn:aws:state"]}
    found = {
        action: each["Resource"]
        for each in statements(bootstrap, "mlops-preview")
        for action in each["Action"]
        if action in data
    }
    assert found == data
    assert not actions(bootstrap, "mlops-preview") & {"ecr:GetDownloadUrlForLayer", "logs:GetLogEvents"}


def test_the_role_that_copies_models_reads_both_registries_and_writes_the_target_only(bootstrap: Recording) -> None:
    allowed = {
        action: {resource.removeprefix("arn:aws:s3:::") for resource in each["Resource"]}
        for each in statements(bootstrap, "mlops-propose")
        for action in each["Action"]
        if action.startswith("s3:")
    }
    source, target = "example-mlops-dev", "example-mlops-prod"
    assert allowed == {
        "s3:ListBucket": {source, target},
        "s3:GetObject": {f"{source}/mlflow/*", f"{target}/mlflow/*"},
        "s3:PutObject": {f"{target}/mlflow/*"},
        "s3:AbortMultipartUpload": {f"{target}/mlflow/*"},
    }


def test_the_role_that_copies_models_may_use_the_keys_that_the_stacks_make(
    bootstrap: Recording, prod: Recording
) -> None:
    (key,) = [each for each in statements(bootstrap, "mlops-propose") if "kms:Decrypt" in each["Action"]]
    aliases = key["Condition"]["ForAnyValue:StringEquals"]["kms:ResourceAliases"]
    made = prod.one("kms/alias:Alias", "artifacts").inputs["name"]
    assert aliases == [made.replace("prod", "dev"), made]
    assert key["Condition"]["StringEquals"]["kms:ViaService"] == "s3.eu-west-1.amazonaws.com"


def test_the_role_that_trains_pushes_the_training_image_and_finds_the_cluster(bootstrap: Recording) -> None:
    pushes, finds = f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/mlops-dev/training", "cluster/mlops-dev"
    resources = {action: each["Resource"] for each in statements(bootstrap, "mlops-train") for action in each["Action"]}
    assert resources.pop("ecr:GetAuthorizationToken") == "*"
    assert resources.pop("eks:DescribeCluster") == [f"arn:aws:eks:eu-west-1:{ACCOUNT}:{finds}"]
    assert set(resources) >= {"ecr:PutImage", "ecr:UploadLayerPart"}
    assert all(each == [pushes] for each in resources.values())


def test_the_names_of_a_stack_are_those_that_the_role_that_trains_may_use(prod: Recording) -> None:
    assert prod.one("eks/cluster:Cluster", "cluster").inputs["name"] == "mlops-prod"
    repositories = {each.inputs["name"] for each in prod.all("ecr/repository:Repository")}
    assert "mlops-prod/training" in repositories


def test_roles_that_the_file_does_not_name_are_not_made() -> None:
    config = {key: value for key, value in tracked().items() if key not in {"copies", "training"}}
    made = record(lambda: deploy(read()), config=config, stack="prod", provider=Account())
    assert [each.name for each in made.all("iam/role:Role")] == ["mlops-preview", "mlops-deploy"]


def test_the_deploy_role_can_do_nothing_that_its_boundary_does_not_allow(bootstrap: Recording) -> None:
    limits = json.loads(bootstrap.one("iam/policy:Policy", "boundary").inputs["policy"])["Statement"]
    patterns = [action for each in limits if each["Effect"] == "Allow" for action in each["Action"]]
    beyond = {each for each in actions(bootstrap, "mlops-deploy") if not any(fnmatchcase(each, p) for p in patterns)}
    assert not beyond
    assert {each.inputs["permissionsBoundary"] for each in bootstrap.all("iam/role:Role")} == {BOUNDARY}
    assert bootstrap.exports["permissions_boundary"] == BOUNDARY


def may(recording: Recording, action: str, resource: str, **context: str) -> bool:
    """Return whether the deploy role may do something, by its policies and its boundary as IAM evaluates them."""
    limits = json.loads(recording.one("iam/policy:Policy", "boundary").inputs["policy"])["Statement"]
    return all(_allows(each, action, resource, context) for each in (statements(recording, "mlops-deploy"), limits))


def _allows(document: list[dict[str, Any]], action: str, resource: str, context: Mapping[str, str]) -> bool:
    effects = {each["Effect"] for each in document if _applies(each, action, resource, context)}
    return effects == {"Allow"}


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    tests: Mapping[str, Mapping[str, Any]] = statement.get("Condition", {})
    assert tests.keys() <= {"StringEquals", "StringNotEquals"}
    return (
        any(fnmatchcase(action, each) for each in statement["Action"])
        and any(fnmatchcase(resource, each) for each in _listed(statement["Resource"]))
        and all(
            (context.get(key.partition(":")[2]) in _listed(value)) is (test == "StringEquals")
            for test, conditions in tests.items()
            for key, value in conditions.items()
        )
    )


def _listed(value: object) -> list[str]:
    return cast("list[str]", value if isinstance(value, list) else [value])


PROPOSE, TRAIN = (f"arn:aws:iam::{ACCOUNT}:role/mlops-{name}" for name in ("propose", "train"))
ROLE, OWN = f"arn:aws:iam::{ACCOUNT}:role/training-0a1b2c3", f"arn:aws:iam::{ACCOUNT}:role/mlops-deploy"
VPC, KEY = f"arn:aws:ec2:eu-west-1:{ACCOUNT}:vpc/vpc-1", "arn:aws:state"


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("ec2:CreateVpc", VPC, {"RequestedRegion": "eu-west-1"}),
        ("iam:CreateRole", ROLE, {"PermissionsBoundary": BOUNDARY}),
        ("iam:AttachRolePolicy", ROLE, {"PermissionsBoundary": BOUNDARY}),
        ("iam:PassRole", ROLE, {"PassedToService": "pods.eks.amazonaws.com"}),
        ("iam:GetRole", OWN, {}),
        ("s3:PutObject", f"{STATE}/.pulumi/stacks/mlops/prod.json", {}),
        ("kms:Decrypt", KEY, {}),
    ],
)
def test_the_deploy_role_may_do_what_a_stack_needs(
    bootstrap: Recording, action: str, resource: str, context: Mapping[str, str]
) -> None:
    assert may(bootstrap, action, resource, **context)


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("ec2:CreateVpc", VPC, {"RequestedRegion": "us-east-1"}),
        ("iam:CreateRole", ROLE, {}),
        ("iam:CreateRole", ROLE, {"PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/another"}),
        ("iam:PutRolePolicy", ROLE, {}),
        ("iam:DeleteRolePermissionsBoundary", ROLE, {"PermissionsBoundary": BOUNDARY}),
        ("iam:CreatePolicyVersion", BOUNDARY, {}),
        ("iam:UpdateAssumeRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/administrator", {}),
        ("iam:UpdateAssumeRolePolicy", OWN, {}),
        ("iam:UpdateAssumeRolePolicy", PROPOSE, {}),
        ("iam:UpdateAssumeRolePolicy", TRAIN, {}),
        ("iam:AttachRolePolicy", OWN, {"PermissionsBoundary": BOUNDARY}),
        ("iam:PassRole", OWN, {"PassedToService": "ec2.amazonaws.com"}),
        ("iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/x", {}),
        ("s3:DeleteBucket", STATE, {"RequestedRegion": "eu-west-1"}),
        ("s3:PutBucketPolicy", STATE, {"RequestedRegion": "eu-west-1"}),
        ("s3:PutLifecycleConfiguration", STATE, {"RequestedRegion": "eu-west-1"}),
        ("s3:DeleteObjectVersion", f"{STATE}/.pulumi/stacks/mlops/prod.json", {"RequestedRegion": "eu-west-1"}),
        ("kms:ScheduleKeyDeletion", KEY, {"RequestedRegion": "eu-west-1"}),
        ("kms:UpdateAlias", f"arn:aws:kms:eu-west-1:{ACCOUNT}:alias/pulumi", {"RequestedRegion": "eu-west-1"}),
    ],
)
def test_the_deploy_role_can_neither_leave_its_boundary_nor_harm_the_bootstrap(
    bootstrap: Recording, action: str, resource: str, context: Mapping[str, str]
) -> None:
    assert not may(bootstrap, action, resource, **context)


def test_a_role_that_a_stack_gives_every_right_still_creates_none_without_the_boundary(bootstrap: Recording) -> None:
    limits = json.loads(bootstrap.one("iam/policy:Policy", "boundary").inputs["policy"])["Statement"]
    assert _allows(limits, "iam:CreateRole", ROLE, {"PermissionsBoundary": BOUNDARY})
    assert not _allows(limits, "iam:CreateRole", ROLE, {})
    assert not _allows(limits, "sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/administrator", {})


def test_a_policy_is_no_longer_than_iam_allows(bootstrap: Recording) -> None:
    lengths = {each.name: len("".join(each.inputs["policy"].split())) for each in bootstrap.all("iam/policy:Policy")}
    assert max(lengths.values()) <= 6144, lengths


@pytest.mark.parametrize("stack", ["prod", "managed"])
def test_the_deploy_role_can_create_and_pass_the_roles_of_a_stack(
    bootstrap: Recording, stack: str, request: pytest.FixtureRequest
) -> None:
    declared: Recording = request.getfixturevalue(stack)
    patterns = {
        action: each["Resource"]
        for each in statements(bootstrap, "mlops-deploy")
        for action in each["Action"]
        if action in {"iam:CreateRole", "iam:PassRole"}
    }
    for role in declared.all("iam/role:Role"):
        arn = f"arn:aws:iam::{ACCOUNT}:role/{role.inputs.get('name', f'{role.name}-0a1b2c3')}"
        for action, allowed in patterns.items():
            assert any(fnmatchcase(arn, each) for each in allowed), (action, arn)


# Type of a resource, the action that creates it, and the action that deletes it.
MANAGED_BY = {
    "amp/alertManagerDefinition:AlertManagerDefinition": (
        "aps:CreateAlertManagerDefinition",
        "aps:DeleteAlertManagerDefinition",
    ),
    "amp/ruleGroupNamespace:RuleGroupNamespace": ("aps:CreateRuleGroupsNamespace", "aps:DeleteRuleGroupsNamespace"),
    "amp/scraper:Scraper": ("aps:CreateScraper", "aps:DeleteScraper"),
    "amp/workspace:Workspace": ("aps:CreateWorkspace", "aps:DeleteWorkspace"),
    "grafana/roleAssociation:RoleAssociation": ("grafana:UpdatePermissions",) * 2,
    "cloudwatch/logGroup:LogGroup": ("logs:CreateLogGroup", "logs:DeleteLogGroup"),
    "backup/plan:Plan": ("backup:CreateBackupPlan", "backup:DeleteBackupPlan"),
    "backup/selection:Selection": ("backup:CreateBackupSelection", "backup:DeleteBackupSelection"),
    "backup/vault:Vault": ("backup:CreateBackupVault", "backup:DeleteBackupVault", "backup-storage:MountCapsule"),
    "cloudwatch/metricAlarm:MetricAlarm": ("cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms"),
    "ec2/defaultSecurityGroup:DefaultSecurityGroup": ("ec2:RevokeSecurityGroupIngress", "ec2:DescribeSecurityGroups"),
    "ec2/eip:Eip": ("ec2:AllocateAddress", "ec2:ReleaseAddress"),
    "ec2/flowLog:FlowLog": ("ec2:CreateFlowLogs", "ec2:DeleteFlowLogs"),
    "ec2/routeTableAssociation:RouteTableAssociation": ("ec2:AssociateRouteTable", "ec2:DisassociateRouteTable"),
    "ec2/vpcEndpoint:VpcEndpoint": ("ec2:CreateVpcEndpoint", "ec2:DeleteVpcEndpoints"),
    "ecr/lifecyclePolicy:LifecyclePolicy": ("ecr:PutLifecyclePolicy", "ecr:DeleteLifecyclePolicy"),
    "ecr/repositoryPolicy:RepositoryPolicy": ("ecr:SetRepositoryPolicy", "ecr:DeleteRepositoryPolicy"),
    "eks/accessPolicyAssociation:AccessPolicyAssociation": (
        "eks:AssociateAccessPolicy",
        "eks:DisassociateAccessPolicy",
    ),
    "eks/nodeGroup:NodeGroup": ("eks:CreateNodegroup", "eks:DeleteNodegroup"),
    "iam/rolePolicy:RolePolicy": ("iam:PutRolePolicy", "iam:DeleteRolePolicy"),
    "iam/rolePolicyAttachment:RolePolicyAttachment": ("iam:AttachRolePolicy", "iam:DetachRolePolicy"),
    "kms/key:Key": ("kms:CreateKey", "kms:ScheduleKeyDeletion"),
    "rds/instance:Instance": ("rds:CreateDBInstance", "rds:DeleteDBInstance"),
    "rds/parameterGroup:ParameterGroup": ("rds:CreateDBParameterGroup", "rds:DeleteDBParameterGroup"),
    "rds/snapshot:Snapshot": ("rds:CreateDBSnapshot", "rds:DeleteDBSnapshot"),
    "rds/subnetGroup:SubnetGroup": ("rds:CreateDBSubnetGroup", "rds:DeleteDBSubnetGroup"),
    "s3/bucketLogging:BucketLogging": ("s3:PutBucketLogging",) * 2,
    "sns/topicPolicy:TopicPolicy": ("sns:SetTopicAttributes",) * 2,
    "sns/topicSubscription:TopicSubscription": ("sns:Subscribe", "sns:Unsubscribe"),
    "s3/bucketPolicy:BucketPolicy": ("s3:PutBucketPolicy", "s3:DeleteBucketPolicy"),
    "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        "s3:PutEncryptionConfiguration",
        "s3:PutEncryptionConfiguration",
    ),
    "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": ("s3:PutLifecycleConfiguration",) * 2,
    "s3/bucketOwnershipControls:BucketOwnershipControls": ("s3:PutBucketOwnershipControls",) * 2,
    "s3/bucketPublicAccessBlock:BucketPublicAccessBlock": ("s3:PutBucketPublicAccessBlock",) * 2,
    "s3/bucketVersioning:BucketVersioning": ("s3:PutBucketVersioning",) * 2,
    "vpc/securityGroupIngressRule:SecurityGroupIngressRule": (
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:RevokeSecurityGroupIngress",
    ),
}


@pytest.mark.parametrize("stack", ["prod", "managed", "monitored"])
def test_the_deploy_role_can_create_and_delete_every_resource_of_a_stack(
    bootstrap: Recording, stack: str, request: pytest.FixtureRequest
) -> None:
    allowed = actions(bootstrap, "mlops-deploy")
    declared: Recording = request.getfixturevalue(stack)
    types = {each.type.removeprefix("aws:") for each in declared.resources if each.type.startswith("aws:")}
    assert len(types) > 30
    for each in types:
        service, _, kind = each.replace("/", ":").split(":")
        usual = (f"{service}:Create{kind}", f"{service}:Delete{kind}")
        assert allowed >= set(MANAGED_BY.get(each, usual)), each


def test_copies_of_backups_are_made_in_the_named_region_and_in_no_other(bootstrap: Recording) -> None:
    def regions(recording: Recording, action: str) -> set[str]:
        found = [each for each in statements(recording, "mlops-deploy") if action in each["Action"]]
        return {each["Condition"]["StringEquals"]["aws:RequestedRegion"] for each in found}

    for action in ("backup:CreateBackupVault", "kms:CreateKey"):
        assert regions(bootstrap, action) == {"eu-west-1", "eu-central-1"}
        assert regions(run(github=github(), backup_region=None), action) == {"eu-west-1"}
    for action in ("rds:CreateDBInstance", "sns:CreateTopic"):
        assert regions(bootstrap, action) == {"eu-west-1"}


def test_the_state_bucket_and_its_key_are_protected(bootstrap: Recording) -> None:
    assert bootstrap.one("s3/bucket:Bucket", "state").protect
    assert bootstrap.one("kms/key:Key", "state").protect
    assert {each.name for each in bootstrap.resources if each.protect} == {"state"}


def test_the_state_bucket_refuses_plain_http_and_keeps_versions(bootstrap: Recording) -> None:
    held = json.loads(bootstrap.one(":BucketPolicy", "state").inputs["policy"])["Statement"]
    assert {"Bool": {"aws:SecureTransport": "false"}} in [each["Condition"] for each in held]
    assert {(each["Effect"], each["Principal"]) for each in held} == {("Deny", "*")}
    assert bootstrap.one(":BucketVersioning", "state").inputs["versioningConfiguration"] == {"status": "Enabled"}


def test_credentials_of_another_account_are_refused_before_anything_is_made() -> None:
    with pytest.raises(pulumi.RunError, match=r"mlops:account_id is .*: must be the account of your credentials"):
        run(account_id="999999999999")


@pytest.mark.parametrize(("audiences", "said"), [([], "must be a provider with the audience"), (None, "must be new")])
def test_an_existing_provider_that_could_not_be_used_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, audiences: list[str] | None, said: str
) -> None:
    monkeypatch.setattr(Account, "absent", PROVIDER if audiences is None else "")
    monkeypatch.setattr(Account, "answers", {**Aws.answers, AUDIENCES: {"clientIdLists": audiences or []}})
    with pytest.raises(pulumi.RunError, match=f"mlops:github.provider is existing: {said}"):
        run(github=github(provider="existing"))


def test_an_existing_provider_is_used_and_not_created_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {AUDIENCES: {"clientIdLists": ["sts.amazonaws.com", "another"]}}
    monkeypatch.setattr(Account, "answers", {**Aws.answers, **answer})
    declared = run(github=github(provider="existing"))
    assert not declared.all(":OpenIdConnectProvider")
    assert PROVIDER in declared.one("iam/role:Role", "mlops-deploy").inputs["assumeRolePolicy"]
