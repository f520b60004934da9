"""Rules of the policy pack: resources that each accepts and refuses."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from policy.rules import BUCKET_PARTS, RULES, Resource, buckets_are_complete, namespaces_are_closed, violations
from tests.deployed import deployed

KEY = "arn:aws:kms:eu-west-1:111122223333:key/1"
LOGS = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
SERVICE = {"Service": "eks.amazonaws.com"}
OURS = {"StringEquals": {"aws:SourceAccount": "111122223333"}}


def allow(effect: str = "Allow", **statement: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": effect, **statement}]})


def pod(image: str = "registry/app:1", **variable: str) -> dict[str, Any]:
    container = {"name": "app", "image": image, "env": [variable] if variable else []}
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def permits(verb: str, resource: str) -> dict[str, Any]:
    return {"rules": [{"apiGroups": [""], "resources": [resource], "verbs": [verb]}]}


HARDENED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def held(container: Mapping[str, Any] | None = None, **of_pod: Any) -> dict[str, Any]:
    """Return a hardened pod with changes of its container's security context and of itself."""
    inside = {"name": "app", "securityContext": HARDENED | dict(container or {})}
    spec = {"containers": [inside], "automountServiceAccountToken": False, **of_pod}
    return {"spec": {"template": {"spec": spec}}}


def model_cache(capability: str) -> dict[str, Any]:
    """Return the DaemonSet of the model cache with one capability."""
    own = {"runAsNonRoot": False, "capabilities": {"drop": ["ALL"], "add": [capability]}}
    return {"metadata": {"namespace": "kube-system", "name": "model-cache"}, **held(own)}


SHARING: list[dict[str, Any]] = [
    {"hostNetwork": True},
    {"hostPID": True},
    {"volumes": [{"name": "disk", "hostPath": {"path": "/var"}}]},
    {"automountServiceAccountToken": None},
]


def namespace(level: str) -> dict[str, Any]:
    return {"metadata": {"name": "ours", "labels": {"pod-security.kubernetes.io/enforce": level}}}


def ingress(**said: str) -> dict[str, Any]:
    return {
        "metadata": {"annotations": {f"alb.ingress.kubernetes.io/{k.replace('_', '-')}": v for k, v in said.items()}}
    }


CLUSTER: dict[str, Any] = {
    "vpcConfig": {"endpointPrivateAccess": True, "endpointPublicAccess": False},
    "accessConfig": {"authenticationMode": "API"},
    "encryptionConfig": {"provider": {"keyArn": KEY}, "resources": ["secrets"]},
    "enabledClusterLogTypes": LOGS,
}
DATABASE: dict[str, Any] = {
    "publiclyAccessible": False,
    "storageEncrypted": True,
    "kmsKeyId": KEY,
    "performanceInsightsEnabled": True,
    "performanceInsightsKmsKeyId": KEY,
    "deletionProtection": True,
    "backupRetentionPeriod": 7,
    "skipFinalSnapshot": False,
}
REPOSITORY: dict[str, Any] = {
    "imageTagMutability": "IMMUTABLE",
    "imageScanningConfiguration": {"scanOnPush": True},
    "encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": KEY}],
}
TEMPLATE: dict[str, Any] = {
    "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
    "blockDeviceMappings": [{"deviceName": "/dev/xvdb", "ebs": {"encrypted": "true", "kmsKeyId": KEY}}],
}
BLOCKS = {"blockPublicAcls": True, "blockPublicPolicy": True, "ignorePublicAcls": True, "restrictPublicBuckets": True}
ROLE, ROLE_POLICY, BUCKET_POLICY = (
    "aws:iam/role:Role",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:s3/bucketPolicy:BucketPolicy",
)
SSE = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
GROUP_RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
TLS_ONLY = allow(
    "Deny", Principal="*", Action="s3:*", Resource="*", Condition={"Bool": {"aws:SecureTransport": "false"}}
)
DEPLOYMENT, NODE_CLASS = "kubernetes:apps/v1:Deployment", "kubernetes:eks.amazonaws.com/v1:NodeClass"
CLUSTER_ROLE = "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole"
INGRESS = "kubernetes:networking.k8s.io/v1:Ingress"


POLICY = "aws:iam/policy:Policy"
ONE_REGION = {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}
GITHUB = "token.actions.githubusercontent.com"


def jobs(
    subject: str = "repo:a@1/b@2:environment:prod",
    audience: str = "sts.amazonaws.com",
    provider: str = GITHUB,
    test: str = "StringEquals",
) -> str:
    return allow(
        Principal={"Federated": f"arn:aws:iam::111122223333:oidc-provider/{provider}"},
        Action="sts:AssumeRoleWithWebIdentity",
        Condition={test: {f"{GITHUB}:aud": audience, f"{GITHUB}:sub": [subject]}},
    )


def sse(key: str | None) -> dict[str, Any]:
    default = {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": key}
    return {"rules": [{"bucketKeyEnabled": True, "applyServerSideEncryptionByDefault": default}]}


# rule, type, accepted inputs, refused inputs
CASES: list[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]] = [
    (
        "no-wildcard-action",
        ROLE_POLICY,
        {"policy": allow(Action=["s3:GetObject"], Resource="arn:aws:s3:::b/mlflow/*")},
        {"policy": allow(Action=["s3:Get*"], Resource="arn:aws:s3:::b/mlflow/*")},
    ),
    (
        "no-wildcard-action",
        ROLE_POLICY,
        {"policy": allow("Deny", Action="s3:*", Resource="*")},
        {"policy": allow(NotAction=["iam:PassRole"], Resource="arn:aws:s3:::b")},
    ),
    (
        "no-wildcard-resource",
        ROLE_POLICY,
        {"policy": allow(Action="s3:GetObject", Resource=["arn:aws:s3:::b/mlflow/*"])},
        {"policy": allow(Action="s3:GetObject", Resource=["arn:aws:s3:::b/mlflow/*", "*"])},
    ),
    (
        "no-wildcard-resource",
        ROLE_POLICY,
        {"policy": allow(Action="s3:ListBucket", Resource="arn:aws:s3:::b")},
        {"policy": allow(Action="s3:ListBucket", Resource="arn:aws:s3:::*")},
    ),
    (
        "no-wildcard-resource",
        ROLE_POLICY,
        {"policy": allow(Action="s3:GetObject", Resource="arn:aws:s3:::b/*")},
        {"policy": allow(Action="iam:PassRole", Resource="arn:aws:iam::111122223333:role/*")},
    ),
    (
        "no-wildcard-resource",
        ROLE_POLICY,
        {"policy": allow(Action="logs:PutLogEvents", Resource="arn:aws:logs:eu-west-1:111122223333:log-group:a:*")},
        {"policy": allow(Action="s3:GetObject", NotResource="arn:aws:s3:::b/*")},
    ),
    (
        "no-wildcard-action",
        POLICY,
        {"path": "/boundary/", "policy": allow(Action="ec2:*", Resource="*")},
        {"path": "/bootstrap/", "policy": allow(Action="ec2:*", Resource="*", Condition=ONE_REGION)},
    ),
    (
        "no-wildcard-resource",
        POLICY,
        {"policy": allow(Action="ec2:CreateVpc", Resource="*", Condition=ONE_REGION)},
        {"policy": allow(Action="ec2:CreateVpc", Resource="*")},
    ),
    (
        "no-wildcard-resource",
        ROLE_POLICY,
        {"path": "/boundary/", "policy": allow(Action="s3:GetObject", Resource="arn:aws:s3:::b/*")},
        {"path": "/boundary/", "policy": allow(Action="s3:GetObject", Resource="*", Condition=ONE_REGION)},
    ),
    ("keys-have-a-policy", "aws:kms/key:Key", {"policy": allow(Action="kms:Decrypt")}, {"enableKeyRotation": True}),
    (
        "roles-get-their-rights-from-resources",
        ROLE,
        {"name": "serving"},
        {"inlinePolicies": [{"name": "all", "policy": allow(Action="*", Resource="*")}]},
    ),
    (
        "roles-are-for-our-services",
        ROLE,
        {"assumeRolePolicy": allow(Principal=SERVICE, Action="sts:AssumeRole", Condition=OURS)},
        {"assumeRolePolicy": allow(Principal=SERVICE, Action="sts:AssumeRole")},
    ),
    (
        "roles-are-for-our-services",
        ROLE,
        {"assumeRolePolicy": allow(Principal={"Service": "ec2.amazonaws.com"}, Action="sts:AssumeRole")},
        {"assumeRolePolicy": allow(Principal={"AWS": "arn:aws:iam::999999999999:root"}, Action="sts:AssumeRole")},
    ),
    *(
        ("roles-are-for-our-services", ROLE, {"assumeRolePolicy": jobs()}, {"assumeRolePolicy": refused})
        for refused in (
            jobs(subject="repo:a/b:*"),
            jobs(subject="repo:a/b:ref:refs/heads/main"),
            jobs(subject="repo:a/*:environment:prod"),
            jobs(audience="another"),
            jobs(provider="oidc.example.com"),
            jobs(test="StringLike"),
        )
    ),
    (
        "policies-of-resources-name-who",
        BUCKET_POLICY,
        {"policy": TLS_ONLY},
        {"policy": allow(Principal={"AWS": "*"}, Action="s3:GetObject", Resource="arn:aws:s3:::b/*")},
    ),
    (
        "no-broad-managed-policy",
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        {"policyArn": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"},
        {"policyArn": "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"},
    ),
    (
        "no-broad-managed-policy",
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        {"policyArn": "arn:aws:iam::111122223333:policy/bootstrap/mlops-deploy-data"},
        {"policyArn": "arn:aws:iam::111122223333:policy/boundary/mlops"},
    ),
    (
        "no-ingress-rule-for-the-world",
        GROUP_RULE,
        {"referencedSecurityGroupId": "sg-1", "ipProtocol": "tcp", "fromPort": 5432, "toPort": 5432},
        {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "tcp", "fromPort": 5432, "toPort": 5432},
    ),
    (
        "no-ingress-rule-for-the-world",
        "aws:ec2/securityGroupRule:SecurityGroupRule",
        {"type": "egress", "cidrBlocks": ["0.0.0.0/0"]},
        {"type": "ingress", "cidrBlocks": ["10.0.0.0/8", "0.0.0.0/0"]},
    ),
    (
        "no-group-for-the-world",
        "aws:ec2/securityGroup:SecurityGroup",
        {"ingress": [{"cidrBlocks": ["10.0.0.0/8"]}]},
        {"ingress": [{"ipv6CidrBlocks": ["::/0"]}]},
    ),
    (
        "no-group-for-the-world",
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        {"ingress": [], "egress": []},
        {"ingress": [], "egress": [{"cidrBlocks": ["10.0.0.0/8"]}]},
    ),
    ("buckets-use-our-key", SSE, sse(KEY), sse("arn:aws:kms:eu-west-1:111122223333:alias/aws/s3")),
    ("buckets-use-our-key", SSE, sse(KEY), sse(None)),
    (
        "databases-are-private-and-encrypted",
        "aws:rds/instance:Instance",
        DATABASE,
        {**DATABASE, "publiclyAccessible": True},
    ),
    (
        "databases-are-private-and-encrypted",
        "aws:rds/instance:Instance",
        DATABASE,
        {key: value for key, value in DATABASE.items() if key != "kmsKeyId"},
    ),
    (
        "databases-are-private-and-encrypted",
        "aws:rds/instance:Instance",
        {**DATABASE, "kmsKeyId": None, "snapshotIdentifier": "before"},
        {**DATABASE, "storageEncrypted": False, "snapshotIdentifier": "before"},
    ),
    (
        "protected-databases-can-be-restored",
        "aws:rds/instance:Instance",
        {**DATABASE, "deletionProtection": False, "backupRetentionPeriod": 0},
        {**DATABASE, "backupRetentionPeriod": 0},
    ),
    (
        "databases-want-tls",
        "aws:rds/parameterGroup:ParameterGroup",
        {"parameters": [{"name": "rds.force_ssl", "value": "1"}]},
        {"parameters": [{"name": "rds.force_ssl", "value": "0"}]},
    ),
    ("buckets-want-tls", BUCKET_POLICY, {"policy": TLS_ONLY}, {"policy": json.dumps({"Statement": []})}),
    (
        "buckets-stay-private",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        BLOCKS,
        {**BLOCKS, "blockPublicPolicy": False},
    ),
    ("keys-rotate", "aws:kms/key:Key", {"enableKeyRotation": True}, {"enableKeyRotation": False}),
    (
        "clusters-are-closed",
        "aws:eks/cluster:Cluster",
        {
            **CLUSTER,
            "vpcConfig": {**CLUSTER["vpcConfig"], "endpointPublicAccess": True, "publicAccessCidrs": ["1.2.3.0/24"]},
        },
        {**CLUSTER, "vpcConfig": {**CLUSTER["vpcConfig"], "endpointPublicAccess": True}},
    ),
    (
        "clusters-are-closed",
        "aws:eks/cluster:Cluster",
        CLUSTER,
        {**CLUSTER, "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP"}},
    ),
    (
        "clusters-are-encrypted-and-logged",
        "aws:eks/cluster:Cluster",
        CLUSTER,
        {**CLUSTER, "enabledClusterLogTypes": LOGS[1:]},
    ),
    (
        "logs-end-and-are-encrypted",
        "aws:cloudwatch/logGroup:LogGroup",
        {"kmsKeyId": KEY, "retentionInDays": 30},
        {"kmsKeyId": KEY},
    ),
    (
        "images-are-immutable-and-scanned",
        "aws:ecr/repository:Repository",
        REPOSITORY,
        {**REPOSITORY, "imageTagMutability": "MUTABLE"},
    ),
    (
        "images-are-immutable-and-scanned",
        "aws:ecr/repository:Repository",
        REPOSITORY,
        {**REPOSITORY, "encryptionConfigurations": [{"encryptionType": "AES256"}]},
    ),
    (
        "machines-keep-their-role-to-themselves",
        "aws:ec2/launchTemplate:LaunchTemplate",
        TEMPLATE,
        {**TEMPLATE, "metadataOptions": {"httpTokens": "optional", "httpPutResponseHopLimit": 2}},
    ),
    (
        "node-disks-use-our-key",
        NODE_CLASS,
        {"spec": {"ephemeralStorage": {"size": "80Gi", "kmsKeyID": KEY}}},
        {"spec": {"ephemeralStorage": {"size": "80Gi"}}},
    ),
    (
        "load-balancers-name-networks-and-use-tls-in-public",
        INGRESS,
        ingress(scheme="internet-facing", certificate_arn="arn:aws:acm:...", inbound_cidrs="203.0.113.0/24"),
        ingress(scheme="internet-facing", certificate_arn="arn:aws:acm:...", inbound_cidrs="0.0.0.0/0"),
    ),
    (
        "load-balancers-name-networks-and-use-tls-in-public",
        INGRESS,
        ingress(scheme="internal", inbound_cidrs="10.40.0.0/16"),
        ingress(scheme="internal"),
    ),
    (
        "load-balancers-name-networks-and-use-tls-in-public",
        INGRESS,
        ingress(scheme="internal", inbound_cidrs="10.40.0.0/16"),
        ingress(scheme="internet-facing", inbound_cidrs="203.0.113.0/24"),
    ),
    ("backups-and-notifications-use-our-key", "aws:backup/vault:Vault", {"kmsKeyArn": KEY}, {}),
    (
        "backups-and-notifications-use-our-key",
        "aws:sns/topic:Topic",
        {"kmsMasterKeyId": KEY},
        {"kmsMasterKeyId": "alias/aws/sns"},
    ),
    *(
        ("roles-of-the-cluster-give-no-further-rights", CLUSTER_ROLE, permits("get", "pods"), wrong)
        for wrong in (permits("get", "secrets"), permits("*", "pods"), permits("create", "pods/exec"))
    ),
    ("images-are-pinned", DEPLOYMENT, pod("host:5000/app:1.2"), pod("host:5000/app")),
    ("images-are-pinned", "kubernetes:batch/v1:Job", pod(f"host/app@sha256:{'0' * 64}"), pod("host/app:latest")),
    ("images-have-digests", DEPLOYMENT, pod(f"host/app@sha256:{'0' * 64}"), pod("host/app:1")),
    (
        "images-have-digests",
        DEPLOYMENT,
        pod("123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"),
        pod("ecr.host/app:1"),
    ),
    ("images-have-digests", DEPLOYMENT, pod("lab.local/app:0f3e"), pod("host/lab.local/app:0f3e")),
    *(
        ("containers-are-hardened", DEPLOYMENT, held(), held(bad))
        for bad in (
            {"runAsNonRoot": False},
            {"allowPrivilegeEscalation": True},
            {"privileged": True},
            {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}},
            {"capabilities": {"drop": ["NET_RAW"]}},
            {"readOnlyRootFilesystem": False},
            {"seccompProfile": {"type": "Unconfined"}},
        )
    ),
    ("containers-are-hardened", "kubernetes:apps/v1:DaemonSet", model_cache("CHOWN"), model_cache("SYS_ADMIN")),
    *(("pods-stay-off-their-node", DEPLOYMENT, held(), held(**bad)) for bad in SHARING),
    (
        "volumes-stay-off-nodes",
        "kubernetes:core/v1:PersistentVolume",
        {"spec": {"hostPath": {"path": "/var/lib/mlops/models"}, "claimRef": {"name": "model-cache"}}},
        {"spec": {"hostPath": {"path": "/"}, "claimRef": {"name": "mine"}}},
    ),
    ("namespaces-restrict-pods", "kubernetes:core/v1:Namespace", namespace("restricted"), namespace("baseline")),
    *(
        (
            "databases-are-reached-by-tls",
            DEPLOYMENT,
            pod(name="URI", value="postgresql+psycopg2://mlflow@db:5432/mlflow?sslmode=verify-full"),
            pod(name="URI", value=f"postgresql+psycopg2://mlflow@db:5432/mlflow{bad}"),
        )
        for bad in ("", "?sslmode=require", "?sslmode=disable&x=sslmode=verify-full")
    ),
    (
        "containers-hold-no-secret",
        DEPLOYMENT,
        pod(name="AWS_REGION", value="eu-west-1"),
        pod(name="AWS_SECRET_ACCESS_KEY", value="in clear"),
    ),
]


def said(name: str, kind: str, properties: Mapping[str, Any]) -> list[str]:
    (rule,) = [each for each in RULES if each.name == name]
    assert kind in rule.types
    return list(rule.check(kind, properties))


@pytest.mark.parametrize(("name", "kind", "good", "_bad"), CASES)
def test_what_obeys_passes(name: str, kind: str, good: Mapping[str, Any], _bad: Mapping[str, Any]) -> None:
    assert not said(name, kind, good)


@pytest.mark.parametrize(("name", "kind", "_good", "bad"), CASES)
def test_what_does_not_obey_is_named(name: str, kind: str, _good: Mapping[str, Any], bad: Mapping[str, Any]) -> None:
    assert said(name, kind, bad)


def test_an_image_by_tag_is_only_reported() -> None:
    assert not [each for each in violations(DEPLOYMENT, pod("host/app:1")) if each.startswith("images")]
    assert [rule.name for rule in RULES if rule.advisory] == ["images-have-digests"]


def local_stack() -> list[Resource]:
    """Return the resources of a local stack with everything that the stack file can add to it."""
    endpoint = {"prediction_log": {}, "tracing": {"endpoint": "http://collector.example:4318"}}
    changes = {f"endpoints.churn-predictor.{key}": value for key, value in endpoint.items()}
    recording = deployed({"model_cache": {"gib": 20}, **changes})
    return [Resource(kind=each.type, name=each.name, properties=each.inputs) for each in recording.resources]


def test_a_local_stack_obeys() -> None:
    resources = local_stack()
    assert {"kubernetes:apps/v1:DaemonSet", "kubernetes:batch/v1:CronJob"} <= {each.kind for each in resources}
    assert not [(each.name, text) for each in resources for text in violations(each.kind, each.properties)]
    assert not list(namespaces_are_closed(resources))


def test_a_namespace_whose_name_a_preview_does_not_know_is_left_to_the_update() -> None:
    assert not list(namespaces_are_closed([Resource(kind="kubernetes:core/v1:Namespace", name="new", properties={})]))


@pytest.mark.parametrize("lost", ["mlops-platform", "ml-training", "ml-serving"])
def test_a_namespace_without_a_policy_for_all_of_its_pods_is_named(lost: str) -> None:
    kept = [each for each in local_stack() if each.name != f"{lost}-default"]
    assert [sentence for _, sentence in namespaces_are_closed(kept)] == [
        f"the namespace {lost} has no NetworkPolicy for all of its pods"
    ]


@pytest.mark.parametrize("kind", ["aws:iam/accessKey:AccessKey", "aws:iam/user:User"])
def test_a_lasting_credential_never_passes(kind: str) -> None:
    assert violations(kind, {"name": "ci"}) == [f"no-static-credentials: {kind} ci is a credential that never expires"]


def test_no_rule_is_without_a_case() -> None:
    assert {rule.name for rule in RULES} - {name for name, *_ in CASES} == {"no-static-credentials"}


def bucket(*parts: str) -> list[Resource]:
    kinds = ("aws:s3/bucket:Bucket", *parts)
    return [Resource(kind=kind, name="artifacts", properties={}) for kind in kinds]


def test_a_bucket_with_all_its_parts_passes() -> None:
    assert not list(buckets_are_complete(bucket(*BUCKET_PARTS)))


@pytest.mark.parametrize("missing", BUCKET_PARTS)
def test_a_bucket_without_one_of_its_parts_is_named(missing: str) -> None:
    found = list(buckets_are_complete(bucket(*(part for part in BUCKET_PARTS if part != missing))))
    assert [(resource.name, sentence) for resource, sentence in found] == [
        ("artifacts", f"a bucket lacks its {missing.rpartition(':')[2]}")
    ]
