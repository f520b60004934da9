"""Broken situations of an AWS account, each with the finding that the doctor has to make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ConnectTimeoutError, NoCredentialsError, UnauthorizedSSOTokenError

from doctor.findings import Level
from tests.doctor.aws_double import (
    ACCOUNT,
    Request,
    Responses,
    absent,
    caller,
    certificate,
    denied,
    manifest,
    offerings,
    orderable,
    quotas,
    versions,
    vpcs,
    zones,
)
from tests.doctor.aws_double import RefusalError as Error
from tests.doctor.stacks import CERTIFICATE, MANAGED, THERE

INCREASE = (
    "aws service-quotas request-service-quota-increase --region eu-west-1 --service-code {} --quota-code {} "
    "--desired-value {}"
)
SET = "run pulumi config set --stack prod --path 'mlops:{}' {}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A situation, and what has to be in its finding."""

    check: str
    """Name of the check."""
    level: Level = Level.PROBLEM
    what: str
    """Part of the fact."""
    mend: str
    """Part of the command."""
    stack: Mapping[str, object] = field(default_factory=dict[str, object])
    """Changes of Pulumi.prod.yaml."""
    responses: Responses = field(default_factory=dict[str, Any])
    """Changes of AWS's responses."""


def role(missing: str) -> Responses:
    """Every role but one, whose name ends so."""

    def respond(asked: Request) -> Mapping[str, Any]:
        if asked["RoleName"].endswith(missing):
            raise absent("NoSuchEntity")
        return _role(f"arn:aws:iam::{ACCOUNT}:role/{asked['RoleName']}")

    return {"iam:GetRole": respond}


def _role(arn: str) -> Mapping[str, Any]:
    return {
        "Role": {"Path": "/", "RoleName": "role", "RoleId": "AROA1234567890123", "Arn": arn, "CreateDate": "2026-11-30"}
    }


def cluster(**changes: object) -> Responses:
    found = {
        "name": "mlops-prod",
        "status": "ACTIVE",
        "version": "1.35",
        "endpoint": "https://cluster.example",
        "certificateAuthority": {"data": "Q0E="},
        "resourcesVpcConfig": {"vpcId": "vpc-01234567"},
        "accessConfig": {"authenticationMode": "API"},
        "computeConfig": {"enabled": True},
        **changes,
    }
    return {"eks:DescribeCluster": {"cluster": found}}


def subnets(*, vpc: str = "vpc-01234567", zone: str = "b", free: int = 4000, tag: str = "internal-elb") -> Responses:
    """Two private subnets, of which the second is so."""

    def subnet(name: str, vpc: str, zone: str, free: int, tag: str) -> Mapping[str, Any]:
        return {
            "SubnetId": name,
            "VpcId": vpc,
            "AvailabilityZone": f"eu-west-1{zone}",
            "AvailableIpAddressCount": free,
            "Tags": [{"Key": f"kubernetes.io/role/{tag}", "Value": "1"}],
        }

    first = subnet("subnet-01234567", "vpc-01234567", "a", 4000, "internal-elb")
    return {"ec2:DescribeSubnets": {"Subnets": [first, subnet("subnet-01234568", vpc, zone, free, tag)]}}


def addresses(count: int) -> Responses:
    return {"ec2:DescribeAddresses": {"Addresses": [{"PublicIp": f"192.0.2.{place}"} for place in range(count)]}}


def gateways(count: int) -> Responses:
    found = [{"NatGatewayId": f"nat-{n}", "SubnetId": "subnet-x", "VpcId": "vpc-default"} for n in range(count)]
    there = [{"SubnetId": "subnet-x", "AvailabilityZone": "eu-west-1b"}]
    return {"ec2:DescribeNatGateways": {"NatGateways": found}, "ec2:DescribeSubnets": {"Subnets": there}}


MANY_VPCS = vpcs(*({"id": f"vpc-{n}", "cidr": f"10.{n}.0.0/16"} for n in range(5)))
ALARMED: Mapping[str, object] = {"tracking.ingress": {"host": "mlflow.ml.example.com", "certificate_arn": CERTIFICATE}}
IMAGE = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/mlops-prod/tracking:3.17.2"
OWN_IMAGE = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/mlops-prod/serving:own-3fe6c49c18f8"
P4 = {"instance_families": ["p4d"], "capacity": ["spot"], "gpu": {"kind": "nvidia", "max": 8}}
GPU = "foundation.node_pools.gpu"
ALL_SHARED: Responses = {**subnets(), **cluster(name="shared")}

CASES: Mapping[str, Case] = {
    "no credentials": Case(
        check="AWS credentials",
        what="there are no valid AWS credentials",
        mend="run aws sso login, or set AWS_PROFILE",
        responses={"sts:GetCallerIdentity": NoCredentialsError()},
    ),
    "a session of SSO that ended": Case(
        check="AWS credentials",
        what="there are no valid AWS credentials",
        mend="run aws sso login",
        responses={"sts:GetCallerIdentity": UnauthorizedSSOTokenError()},
    ),
    "a token that expired": Case(
        check="AWS credentials",
        what="there are no valid AWS credentials",
        mend="run aws sso login",
        responses={"sts:GetCallerIdentity": Error("ExpiredToken", "The token is expired", 403)},
    ),
    "a key that was deleted": Case(
        check="AWS credentials",
        what="there are no valid AWS credentials",
        mend="AWS_PROFILE",
        responses={"sts:GetCallerIdentity": Error("InvalidClientTokenId", "The token is invalid", 403)},
    ),
    "AWS that does not respond": Case(
        check="AWS credentials",
        level=Level.UNCHECKED,
        what="AWS did not respond to sts get-caller-identity",
        mend="look at the network",
        responses={"sts:GetCallerIdentity": ConnectTimeoutError(endpoint_url="https://sts")},
    ),
    "credentials of another account": Case(
        check="AWS credentials",
        what=f"the credentials belong to account 999999999999, the stack to {ACCOUNT}",
        mend="set AWS_PROFILE to a profile of the stack's account",
        responses=caller(account="999999999999"),
    ),
    "a caller whom the cluster refuses": Case(
        check="AWS credentials",
        what=f"arn:aws:iam::{ACCOUNT}:role/somebody is not in cluster.admin_role_arns",
        mend="set AWS_PROFILE to one of these roles",
        responses=caller("somebody"),
    ),
    "a caller who may only read": Case(
        check="AWS credentials",
        level=Level.WARNING,
        what="mlops-preview is only in cluster.preview_role_arns",
        mend="set AWS_PROFILE to a role in cluster.admin_role_arns",
        responses=caller("mlops-preview"),
    ),
    "no region": Case(
        check="region",
        what="neither the stack file nor AWS_REGION names a region",
        mend="run pulumi config set --stack prod aws:region eu-west-1",
        stack={"aws:region": None},
    ),
    "a region that does not exist": Case(
        check="region",
        what="eu-west-9 is not a region with EKS",
        mend="run aws ec2 describe-regions",
        stack={"aws:region": "eu-west-9"},
    ),
    "a region that is not enabled": Case(
        check="region",
        what="region af-south-1 is not enabled in the account",
        mend="run aws account enable-region --region-name af-south-1",
        stack={"aws:region": "af-south-1"},
        responses={"ec2:DescribeRegions": Error("AuthFailure", "not able to validate the credentials", 401)},
    ),
    "a region that AWS lists as not enabled": Case(
        check="region",
        what="region eu-west-1 is not enabled in the account",
        mend="run aws account enable-region --region-name eu-west-1",
        responses={"ec2:DescribeRegions": {"Regions": [{"RegionName": "eu-west-1", "OptInStatus": "not-opted-in"}]}},
    ),
    "too few zones": Case(
        check="zones",
        what="the stack uses 3 zones, and eu-west-1 has 2",
        mend=SET.format("foundation.network.availability_zones", 2),
        responses=zones("eu-west-1a", "eu-west-1b"),
    ),
    "a zone that is impaired": Case(
        check="zones",
        level=Level.WARNING,
        what="zone eu-west-1a is impaired",
        mend="https://health.aws.amazon.com",
        responses=zones("eu-west-1a", "eu-west-1b", "eu-west-1c", state="impaired"),
    ),
    "a pool in a zone without a subnet": Case(
        check="zones",
        what="node pool cpu names zone eu-west-1d",
        mend="change mlops:foundation.node_pools.cpu.zones",
        stack={"foundation.node_pools.cpu.zones": ["eu-west-1d"]},
        responses=zones("eu-west-1a", "eu-west-1b", "eu-west-1c", "eu-west-1d"),
    ),
    "a family that a zone does not offer": Case(
        check="instance types",
        level=Level.WARNING,
        what="node pool gpu: eu-west-1c does not offer g6",
        mend="--filters 'Name=instance-type,Values=g6.*'",
        responses=offerings({"g6": "eu-west-1c"}),
    ),
    "a zone that offers no family of a pool": Case(
        check="instance types",
        what="node pool gpu: eu-west-1b, eu-west-1c offers none of g6, g5",
        mend="and change mlops:foundation.node_pools.gpu.instance_families",
        responses=offerings({"g6": "eu-west-1b eu-west-1c", "g5": "eu-west-1b eu-west-1c"}),
    ),
    "a type of managed nodes that a zone does not offer": Case(
        check="instance types",
        what="node pool cpu: eu-west-1a offers none of m7i.xlarge",
        mend="and change mlops:foundation.node_pools.cpu.instance_types",
        stack={"foundation.node_pools": {"cpu": MANAGED}},
        responses=offerings({"m7i.xlarge": "eu-west-1a", "m7i": "eu-west-1a"}),
    ),
    "quota of standard vCPUs": Case(
        check="quotas of vCPUs",
        what="instances is 5 vCPUs, and node pool cpu may ask for 64",
        mend=INCREASE.format("ec2", "L-1216C47A", 64),
        responses=quotas(**{"1216C47A": 5}),
    ),
    "quota of standard vCPUs on spot": Case(
        check="quotas of vCPUs",
        what="Spot Instance Requests is 5 vCPUs, and node pool cpu may ask for 64",
        mend=INCREASE.format("ec2", "L-34B43A08", 64),
        stack={"foundation.node_pools.cpu.capacity": ["spot"]},
        responses=quotas(**{"34B43A08": 5}),
    ),
    "quota of managed nodes": Case(
        check="quotas of vCPUs",
        what="instances is 5 vCPUs, and node pool cpu may ask for 12",
        mend=INCREASE.format("ec2", "L-1216C47A", 12),
        stack={"foundation.node_pools": {"cpu": MANAGED}},
        responses=quotas(**{"1216C47A": 5}),
    ),
    "quota of G vCPUs on spot, which on-demand replaces": Case(
        check="quotas of vCPUs",
        level=Level.WARNING,
        what="All G and VT Spot Instance Requests is 0 vCPUs, and node pool gpu may ask for 16",
        mend=INCREASE.format("ec2", "L-3819A6DF", 16),
        responses=quotas(**{"3819A6DF": 0}),
    ),
    "quota of G vCPUs on demand, which spot replaces": Case(
        check="quotas of vCPUs",
        level=Level.WARNING,
        what="Running On-Demand G and VT instances is 8 vCPUs, and node pool gpu may ask for 16",
        mend=INCREASE.format("ec2", "L-DB2E81BA", 16),
        responses=quotas(DB2E81BA=8),
    ),
    "both quotas of G vCPUs": Case(
        check="quotas of vCPUs",
        what="Running On-Demand G and VT instances is 0 vCPUs, and node pool gpu may ask for 16",
        mend=INCREASE.format("ec2", "L-DB2E81BA", 16),
        responses=quotas(**{"DB2E81BA": 0, "3819A6DF": 0}),
    ),
    "quota of G vCPUs on spot only": Case(
        check="quotas of vCPUs",
        what="All G and VT Spot Instance Requests is 0 vCPUs, and node pool gpu may ask for 16",
        mend=INCREASE.format("ec2", "L-3819A6DF", 16),
        stack={f"{GPU}.capacity": ["spot"]},
        responses=quotas(**{"3819A6DF": 0}),
    ),
    "quota of P vCPUs on demand": Case(
        check="quotas of vCPUs",
        what="Running On-Demand P instances is 0 vCPUs, and node pool gpu may ask for 96",
        mend=INCREASE.format("ec2", "L-417A185B", 96),
        stack={GPU: {**P4, "capacity": ["on-demand"]}},
        responses=quotas(**{"417A185B": 0}),
    ),
    "quota of P4 vCPUs on spot": Case(
        check="quotas of vCPUs",
        what="All P4, P3 and P2 Spot Instance Requests is 64 vCPUs, and node pool gpu may ask for 96",
        mend=INCREASE.format("ec2", "L-7212CCBC", 96),
        stack={GPU: P4},
        responses=quotas(**{"7212CCBC": 64}),
    ),
    "quota of P5 vCPUs on spot": Case(
        check="quotas of vCPUs",
        what="All P5 Spot Instance Requests is 0 vCPUs, and node pool gpu may ask for 192",
        mend=INCREASE.format("ec2", "L-C4BD4855", 192),
        stack={GPU: {**P4, "instance_families": ["p5"]}},
        responses=quotas(C4BD4855=0),
    ),
    "quota of P4 vCPUs on spot, which G instances replace": Case(
        check="quotas of vCPUs",
        level=Level.WARNING,
        what="All P4, P3 and P2 Spot Instance Requests is 0 vCPUs, and node pool gpu may ask for 96",
        mend=INCREASE.format("ec2", "L-7212CCBC", 96),
        stack={GPU: {**P4, "instance_families": ["p4d", "g6"]}},
        responses=quotas(**{"7212CCBC": 0}),
    ),
    "GPUs that no instance type has so few of": Case(
        check="quotas of vCPUs",
        what="node pool gpu has at most 4 GPUs, and each of its instance types has more",
        mend="raise mlops:foundation.node_pools.gpu.gpu.max",
        stack={GPU: {**P4, "gpu": {"kind": "nvidia", "max": 4}}},
    ),
    "a quota that AWS does not list": Case(
        check="quotas of vCPUs",
        level=Level.UNCHECKED,
        what="Service Quotas of eu-west-1 lists no Running On-Demand Standard",
        mend="console.aws.amazon.com/servicequotas",
        responses={"service-quotas:ListServiceQuotas": {"Quotas": []}},
    ),
    "quotas that the caller may not read": Case(
        check="quotas of vCPUs",
        level=Level.UNCHECKED,
        what="it needs the permission servicequotas:ListServiceQuotas",
        mend="allow servicequotas:ListServiceQuotas to the role",
        responses={"service-quotas:ListServiceQuotas": denied()},
    ),
    "quota of addresses": Case(
        check="quotas of the network",
        what="EC2-VPC Elastic IPs is 5; 4 exist and the stack adds 3",
        mend=INCREASE.format("ec2", "L-0263D0A3", 7),
        responses=addresses(4),
    ),
    "quota of VPCs": Case(
        check="quotas of the network",
        what="VPCs per Region is 5; 5 exist and the stack adds 1",
        mend=INCREASE.format("vpc", "L-F678F1CE", 6),
        responses=MANY_VPCS,
    ),
    "quota of NAT gateways": Case(
        check="quotas of the network",
        what="NAT gateways per Availability Zone is 5; 5 exist in eu-west-1b and the stack adds 1",
        mend=INCREASE.format("vpc", "L-FE5A380F", 6),
        responses=gateways(5),
    ),
    "addresses of another VPC": Case(
        check="network",
        level=Level.WARNING,
        what="network.cidr 10.40.0.0/16 overlaps 10.40.0.0/20 of vpc-other",
        mend=SET.format("foundation.network.cidr", "10.0.0.0/16"),
        responses=vpcs({"id": "vpc-other", "cidr": "10.40.0.0/20"}),
    ),
    "an existing VPC that does not exist": Case(
        check="network",
        what="a part of the network does not exist",
        mend="run aws ec2 describe-subnets",
        stack=THERE,
        responses={"ec2:DescribeVpcs": absent("InvalidVpcID.NotFound"), **subnets()},
    ),
    "a subnet that does not exist": Case(
        check="network",
        what="a part of the network does not exist",
        mend="change mlops:foundation.network",
        stack=THERE,
        responses={"ec2:DescribeSubnets": absent("InvalidSubnetID.NotFound")},
    ),
    "a subnet of another VPC": Case(
        check="network",
        what="subnet-01234568 belongs to vpc-another, not to vpc-01234567",
        mend="run aws ec2 describe-subnets --filters Name=vpc-id,Values=vpc-01234567",
        stack=THERE,
        responses=subnets(vpc="vpc-another"),
    ),
    "subnets in one zone": Case(
        check="network",
        what="the private subnets are in eu-west-1a, the file asks for 2",
        mend="add a subnet of another zone, or write availability_zones: 1",
        stack=THERE,
        responses=subnets(zone="a"),
    ),
    "a subnet with few addresses": Case(
        check="network",
        level=Level.WARNING,
        what="subnet-01234568 has 7 free addresses",
        mend="add a larger subnet",
        stack=THERE,
        responses=subnets(free=7),
    ),
    "a subnet without the tag of load balancers": Case(
        check="network",
        what="subnet-01234568 lacks the tag kubernetes.io/role/internal-elb",
        mend="run aws ec2 create-tags --resources subnet-01234568 --tags Key=kubernetes.io/role/internal-elb,Value=1",
        stack=THERE,
        responses=subnets(tag="other"),
    ),
    "an administrator that does not exist": Case(
        check="roles",
        what=f"cluster.admin_role_arns names arn:aws:iam::{ACCOUNT}:role/mlops-deploy, which does not exist",
        mend="create the role (docs/aws.md, step 1)",
        responses=role("mlops-deploy"),
    ),
    "an administrator with another path": Case(
        check="roles",
        what=f"cluster.admin_role_arns names arn:aws:iam::{ACCOUNT}:role/mlops-deploy, and the role of this name is ",
        mend=f"write arn:aws:iam::{ACCOUNT}:role/team/mlops-deploy into mlops:foundation.cluster.admin_role_arns",
        responses={"iam:GetRole": _role(f"arn:aws:iam::{ACCOUNT}:role/team/mlops-deploy")},
    ),
    "a role that previews and does not exist": Case(
        check="roles",
        what=f"cluster.preview_role_arns names arn:aws:iam::{ACCOUNT}:role/mlops-preview, which does not exist",
        mend="or remove it from mlops:foundation.cluster.preview_role_arns",
        responses=role("mlops-preview"),
    ),
    "a role of people that does not exist": Case(
        check="roles",
        what=f"cluster.access.oncall names arn:aws:iam::{ACCOUNT}:role/oncall, which does not exist",
        mend="or remove it from mlops:foundation.cluster.access.oncall",
        stack={"foundation.cluster.access": {"oncall": [f"arn:aws:iam::{ACCOUNT}:role/oncall"]}},
        responses=role("oncall"),
    ),
    "a reader of images that does not exist": Case(
        check="roles",
        what="image_reader_role_arns names",
        mend="or remove it from mlops:foundation.image_reader_role_arns",
        stack={"foundation.image_reader_role_arns": [f"arn:aws:iam::{ACCOUNT}:role/scanner"]},
        responses=role("scanner"),
    ),
    "a boundary that does not exist": Case(
        check="roles",
        what=f"the permissions boundary arn:aws:iam::{ACCOUNT}:policy/boundary/mlops does not exist",
        mend="run pulumi stack output permissions_boundary in bootstrap/",
        responses={"iam:GetPolicy": absent("NoSuchEntity")},
    ),
    "roles that the caller may not read": Case(
        check="roles",
        level=Level.UNCHECKED,
        what="it needs the permission iam:GetRole",
        mend="allow iam:GetRole to the role",
        responses={
            "iam:GetRole": denied("AccessDenied", "User: me is not authorized to perform: iam:GetRole on resource: x")
        },
    ),
    "no role of spot instances": Case(
        check="service-linked roles",
        what="the account has no role AWSServiceRoleForEC2Spot",
        mend="run aws iam create-service-linked-role --aws-service-name spot.amazonaws.com",
        responses=role("EC2Spot"),
    ),
    "no role of EC2 Auto Scaling": Case(
        check="service-linked roles",
        what="the account has no role AWSServiceRoleForAutoScaling",
        mend="run aws iam create-service-linked-role --aws-service-name autoscaling.amazonaws.com",
        stack={"foundation.node_pools": {"cpu": MANAGED}},
        responses=role("AutoScaling"),
    ),
    "no role of AWS Backup": Case(
        check="service-linked roles",
        level=Level.WARNING,
        what="the account has no role AWSServiceRoleForBackup",
        mend="run aws iam create-service-linked-role --aws-service-name backup.amazonaws.com",
        responses=role("Backup"),
    ),
    "no role of RDS": Case(
        check="service-linked roles",
        level=Level.WARNING,
        what="the account has no role AWSServiceRoleForRDS",
        mend="run aws iam create-service-linked-role --aws-service-name rds.amazonaws.com",
        responses=role("RDS"),
    ),
    "a bucket name of another account": Case(
        check="buckets",
        what="the bucket name example-mlops-prod is taken by another account",
        mend=SET.format("foundation.artifacts.bucket", "ANOTHER-NAME"),
        responses={"s3:HeadBucket": denied("403"), "s3:ListBuckets": {"Buckets": [{"Name": "mine"}]}},
    ),
    "a bucket that the caller may not read": Case(
        check="buckets",
        level=Level.UNCHECKED,
        what="example-mlops-prod exists, and it needs the permission s3:ListAllMyBuckets",
        mend="allow s3:ListAllMyBuckets to the role",
        responses={"s3:HeadBucket": denied("403"), "s3:ListBuckets": denied("AccessDenied")},
    ),
    "a bucket in another region": Case(
        check="buckets",
        what="the bucket example-mlops-prod exists in us-east-1",
        mend=SET.format("foundation.artifacts.bucket", "ANOTHER-NAME"),
        responses={"s3:HeadBucket": {"BucketRegion": "us-east-1"}},
    ),
    "a bucket of access logs in another region": Case(
        check="buckets",
        what="the access log bucket logs-of-mine is in another region, not in eu-west-1",
        mend="write a bucket of this region into mlops:foundation.artifacts.access_log_bucket",
        stack={"foundation.artifacts.access_log_bucket": "logs-of-mine"},
        responses={"s3:HeadBucket": Error("301", "Moved Permanently", 301)},
    ),
    "no bucket of access logs": Case(
        check="buckets",
        what="the access log bucket logs-of-mine does not exist",
        mend="run aws s3 mb s3://logs-of-mine --region eu-west-1",
        stack={"foundation.artifacts.access_log_bucket": "logs-of-mine"},
    ),
    "a dataset that does not exist": Case(
        check="datasets",
        level=Level.WARNING,
        what="the dataset of churn does not exist: s3://example-mlops-prod/datasets/churn.csv",
        mend="run aws s3 cp FILE s3://example-mlops-prod/datasets/churn.csv",
        responses={"s3:HeadObject": absent("404")},
    ),
    "a dataset that the caller may not read": Case(
        check="datasets",
        level=Level.UNCHECKED,
        what="it needs the permission s3:GetObject",
        mend="allow s3:GetObject to the role",
        responses={"s3:HeadObject": denied("403")},
    ),
    "an instance class that the region does not offer": Case(
        check="database",
        what="eu-west-1 does not offer Postgres on db.m7g.large",
        mend="run aws rds describe-orderable-db-instance-options --engine postgres",
        responses=orderable(),
    ),
    "a version of Postgres that the class does not run": Case(
        check="database",
        what="db.m7g.large does not run Postgres 17 with gp3 storage; it runs 15, 16",
        mend="--db-instance-class db.m7g.large, and change mlops:foundation.database",
        responses=orderable("15.8", "16.4"),
    ),
    "an instance class without a standby": Case(
        check="database",
        what="db.m7g.large has no standby in eu-west-1",
        mend=SET.format("foundation.database.multi_az", "false"),
        responses=orderable("17.4", multi_az=False),
    ),
    "an instance class in other zones": Case(
        check="database",
        what="db.m7g.large is offered in eu-west-1a only",
        mend="change mlops:foundation.database.instance_class",
        responses=orderable("17.4", in_zones=("eu-west-1a",)),
    ),
    "a snapshot that does not exist": Case(
        check="database",
        what="the snapshot before does not exist",
        mend="run aws rds describe-db-snapshots",
        stack={"foundation.database.restore_from": "before"},
        responses={"rds:DescribeDBSnapshots": absent("DBSnapshotNotFound")},
    ),
    "a database whose storage is full": Case(
        check="database",
        level=Level.WARNING,
        what="the database mlops-prod is storage-full",
        mend="run aws rds wait db-instance-available --db-instance-identifier mlops-prod",
        responses={"rds:DescribeDBInstances": {"DBInstances": [{"DBInstanceStatus": "storage-full"}]}},
    ),
    "a repository that the stack makes": Case(
        check="images",
        level=Level.WARNING,
        what="the repository of mlops:images.tracking does not exist yet: mlops-prod/tracking",
        mend="run pulumi up --target '**mlops:aws:**'",
        responses={"ecr:DescribeImages": absent("RepositoryNotFoundException")},
    ),
    "an image that was not pushed": Case(
        check="images",
        what=f"mlops:images.tracking does not exist: {IMAGE}",
        mend=f"build the image for linux/amd64, run docker push {IMAGE}",
        responses={"ecr:DescribeImages": absent("ImageNotFoundException")},
    ),
    "images for the other architecture": Case(
        check="images",
        what="mlops:images.serving is for arm64, and the nodes are amd64",
        mend="build the image for linux/amd64",
        responses=manifest('{"manifests": [{"platform": {"architecture": "arm64"}}]}'),
    ),
    "an endpoint's own image for the other architecture": Case(
        check="images",
        what="mlops:endpoints.churn-predictor.image is for arm64, and the nodes are amd64",
        mend="write that into mlops:endpoints.churn-predictor.image",
        stack={"endpoints.churn-predictor.image": OWN_IMAGE},
        responses=manifest('{"manifests": [{"platform": {"architecture": "arm64"}}]}'),
    ),
    "a batch's own image that was not pushed": Case(
        check="images",
        what=f"mlops:batch.scores.image does not exist: {OWN_IMAGE}",
        mend=f"run docker push {OWN_IMAGE}",
        stack={
            "batch.scores": {
                "model": "churn-predictor",
                "version": 1,
                "image": OWN_IMAGE,
                "input": "s3://example-mlops-prod/datasets/customers/*.parquet",
                "output": "s3://example-mlops-prod/batch/scores",
                "node_pool": "cpu",
                "deadline_minutes": 30,
            }
        },
        responses={"ecr:DescribeImages": absent("ImageNotFoundException")},
    ),
    "a validation's own image that was not pushed": Case(
        check="images",
        what=f"mlops:training.churn.validation.image does not exist: {OWN_IMAGE}",
        mend=f"run docker push {OWN_IMAGE}",
        stack={"training.churn.validation.image": OWN_IMAGE},
        responses={"ecr:DescribeImages": absent("ImageNotFoundException")},
    ),
    "images that the caller may not read": Case(
        check="images",
        level=Level.UNCHECKED,
        what="it needs the permission ecr:BatchGetImage",
        mend="allow ecr:BatchGetImage to the role",
        responses={"ecr:BatchGetImage": denied()},
    ),
    "an image in another registry": Case(
        check="images",
        level=Level.UNCHECKED,
        what="mlops:images.serving is registry.example.com/serving:1.0.0: only images in ECR can be looked up",
        mend="run docker manifest inspect registry.example.com/serving:1.0.0",
        stack={"images.serving": "registry.example.com/serving:1.0.0"},
    ),
    "a certificate that does not exist": Case(
        check="certificates",
        what="mlops:tracking.ingress.certificate_arn does not exist",
        mend="run aws acm list-certificates --region eu-west-1",
        stack=ALARMED,
        responses={"acm:DescribeCertificate": absent("ResourceNotFoundException")},
    ),
    "a certificate of another region": Case(
        check="certificates",
        what="is a certificate of us-east-1, not of eu-west-1",
        mend="run aws acm list-certificates --region eu-west-1",
        stack={
            "tracking.ingress": {
                "host": "mlflow.ml.example.com",
                "certificate_arn": CERTIFICATE.replace("eu-west-1", "us-east-1"),
            }
        },
    ),
    "a certificate that waits for its DNS record": Case(
        check="certificates",
        what="the certificate of mlflow.ml.example.com is PENDING_VALIDATION",
        mend=f"run aws acm describe-certificate --region eu-west-1 --certificate-arn {CERTIFICATE}",
        stack=ALARMED,
        responses=certificate(Status="PENDING_VALIDATION"),
    ),
    "a certificate of another host": Case(
        check="certificates",
        what="the certificate of mlflow.ml.example.com is for ml.example.com",
        mend="run aws acm request-certificate --region eu-west-1 --domain-name mlflow.ml.example.com",
        stack=ALARMED,
        responses=certificate(SubjectAlternativeNames=["ml.example.com"]),
    ),
    "a certificate that ends soon": Case(
        check="certificates",
        level=Level.WARNING,
        what="that is in 12 days",
        mend=f"run aws acm renew-certificate --region eu-west-1 --certificate-arn {CERTIFICATE}",
        stack=ALARMED,
        responses=certificate(NotAfter=datetime.now(UTC) + timedelta(days=12, hours=1)),
    ),
    "an imported certificate that has ended": Case(
        check="certificates",
        what="the certificate of mlflow.ml.example.com is valid until",
        mend="aws acm import-certificate --region eu-west-1",
        stack=ALARMED,
        responses=certificate(NotAfter=datetime.now(UTC) - timedelta(days=1), RenewalEligibility="INELIGIBLE"),
    ),
    "a version that EKS does not offer": Case(
        check="Kubernetes version",
        what="EKS does not offer Kubernetes 1.35 in eu-west-1; it offers 1.36",
        mend="--stack prod --type string --path 'mlops:foundation.cluster.kubernetes_version' 1.36",
        responses=versions("1.36"),
    ),
    "a version whose support ends": Case(
        check="Kubernetes version",
        level=Level.WARNING,
        what="standard support of Kubernetes 1.35 ends on",
        mend="upgrade by one minor version at a time",
        responses=versions("1.35", ends=datetime.now(UTC) + timedelta(days=20)),
    ),
    "a version in extended support": Case(
        check="Kubernetes version",
        level=Level.WARNING,
        what="standard support of Kubernetes 1.35 has ended",
        mend="upgrade by one minor version at a time",
        responses=versions("1.35", support="EXTENDED_SUPPORT"),
    ),
    "an existing cluster that does not exist": Case(
        check="EKS cluster",
        what="there is no cluster shared in eu-west-1",
        mend="run aws eks list-clusters",
        stack=THERE,
        responses=subnets(),
    ),
    "a cluster that failed": Case(
        check="EKS cluster",
        what="mlops-prod is FAILED",
        mend="run aws eks describe-cluster --name mlops-prod --query cluster.health",
        responses=cluster(status="FAILED"),
    ),
    "an upgrade over two versions": Case(
        check="EKS cluster",
        what="mlops-prod runs Kubernetes 1.33, and the file says 1.35",
        mend="--path 'mlops:foundation.cluster.kubernetes_version' 1.34",
        responses=cluster(version="1.33"),
    ),
    "a downgrade": Case(
        check="EKS cluster",
        what="mlops-prod runs Kubernetes 1.36, and the file says 1.35",
        mend="--path 'mlops:foundation.cluster.kubernetes_version' 1.36",
        responses=cluster(version="1.36"),
    ),
    "an existing cluster in another VPC": Case(
        check="EKS cluster",
        what="shared is in vpc-another, and network.vpc_id is vpc-01234567",
        mend=SET.format("foundation.network.vpc_id", "vpc-another"),
        stack=THERE,
        responses={**ALL_SHARED, **cluster(resourcesVpcConfig={"vpcId": "vpc-another"})},
    ),
    "an existing cluster without access entries": Case(
        check="EKS cluster",
        what="shared has authentication mode CONFIG_MAP",
        mend="run aws eks update-cluster-config --name shared",
        stack=THERE,
        responses={**ALL_SHARED, **cluster(accessConfig={"authenticationMode": "CONFIG_MAP"})},
    ),
    "an existing cluster without Auto Mode": Case(
        check="EKS cluster",
        what="shared is not in Auto Mode",
        mend="write kind: managed in each pool",
        stack=THERE,
        responses={**ALL_SHARED, **cluster(computeConfig={"enabled": False})},
    ),
}
