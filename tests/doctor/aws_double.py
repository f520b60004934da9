"""AWS as a function: boto3's clients check and encode each request, and get the responses of a table.

Each response has to be of the form that AWS's service description states. Names of operations are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import boto3
from botocore import validate

from doctor.aws.requests import Aws
from tests.doctor.stacks import CERTIFICATE

ACCOUNT = "123456789012"
REGION = "eu-west-1"
Request = Mapping[str, Any]
Response = Callable[[Request], Mapping[str, Any]] | Mapping[str, Any] | Exception
Responses = Mapping[str, Response]
"""Response to each operation, such as `ec2:DescribeVpcs`."""


class RefusalError(Exception):
    """Error that AWS responds with."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(code)
        self.code, self.message, self.status = code, message, status


def absent(code: str) -> RefusalError:
    return RefusalError(code, "it does not exist", 404)


def denied(code: str = "AccessDeniedException", message: str = "") -> RefusalError:
    return RefusalError(code, message, 403)


@dataclass
class Cloud:
    """Responses of AWS, and the operations that were requested."""

    responses: Responses = field(default_factory=dict[str, Response])
    requested: list[str] = field(default_factory=list[str])
    session: Any = None

    def __post_init__(self) -> None:
        self.session = cast("Any", boto3).session.Session(
            aws_access_key_id="key", aws_secret_access_key="secret", region_name=REGION
        )
        self.session.events.register("before-parameter-build", self._keep)
        self.session.events.register("before-call", self._respond)
        self.aws = Aws(session=self.session, region=REGION)

    def connect(self, region: str) -> Aws:
        """Access that keeps its clients, because a client takes long to create."""
        return self.aws.at(region)

    def _keep(self, params: Request, context: dict[str, Any], **_: object) -> None:
        context["asked"] = params

    def _respond(self, model: Any, context: dict[str, Any], **_: object) -> tuple[Any, Mapping[str, Any]]:
        name = f"{model.service_model.service_name}:{model.name}"
        self.requested.append(name)
        found = self.responses[name]
        try:
            content = found(context["asked"]) if callable(found) else found
            if isinstance(content, Exception):
                raise content
        except RefusalError as refusal:
            error = {"Code": refusal.code, "Message": refusal.message}
            return SimpleNamespace(status_code=refusal.status), {"Error": error, "ResponseMetadata": {}}
        cast("Any", validate).validate_parameters(content, model.output_shape)
        return SimpleNamespace(status_code=200), content


def quota(service: str, code: str, name: str, value: float) -> Mapping[str, Any]:
    return {"ServiceCode": service, "QuotaCode": code, "QuotaName": name, "Value": value}


STANDARD = "Standard (A, C, D, H, I, M, R, T, Z)"
QUOTAS = [
    quota("ec2", "L-1216C47A", f"Running On-Demand {STANDARD} instances", 512),
    quota("ec2", "L-34B43A08", f"All {STANDARD} Spot Instance Requests", 512),
    quota("ec2", "L-DB2E81BA", "Running On-Demand G and VT instances", 64),
    quota("ec2", "L-3819A6DF", "All G and VT Spot Instance Requests", 64),
    quota("ec2", "L-417A185B", "Running On-Demand P instances", 768),
    quota("ec2", "L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests", 768),
    quota("ec2", "L-C4BD4855", "All P5 Spot Instance Requests", 768),
    quota("ec2", "L-0263D0A3", "EC2-VPC Elastic IPs", 5),
    quota("vpc", "L-FE5A380F", "NAT gateways per Availability Zone", 5),
    quota("vpc", "L-F678F1CE", "VPCs per Region", 5),
]


def quotas(**values: float) -> Responses:
    """Quotas with other values, by the code without `L-`."""
    changed = [{**each, "Value": values.get(each["QuotaCode"].removeprefix("L-"), each["Value"])} for each in QUOTAS]
    return {
        "service-quotas:ListServiceQuotas": lambda asked: {
            "Quotas": [each for each in changed if each["ServiceCode"] == asked["ServiceCode"]]
        }
    }


TYPES: Mapping[str, tuple[int, int]] = {
    **{f"{family}.large": (2, 0) for family in ("m7i", "m7a", "m6i", "m8g")},
    **{f"{family}.xlarge": (4, 0) for family in ("m7i", "m7a", "m6i", "m8g")},
    "g5.xlarge": (4, 1),
    "g5.48xlarge": (192, 8),
    "g6.xlarge": (4, 1),
    "g6.12xlarge": (48, 4),
    "p4d.24xlarge": (96, 8),
    "p5.48xlarge": (192, 8),
}
"""vCPUs and GPUs of instance types."""
ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")


def _wanted(asked: Request) -> list[str]:
    patterns = [value.removesuffix("*") for each in asked["Filters"] for value in each["Values"]]
    return [name for name in TYPES if any(name.startswith(pattern) for pattern in patterns)]


def offerings(but: Mapping[str, str] | None = None) -> Responses:
    """Offerings of all types in all zones, but these families in these zones."""
    missing = {(family, zone) for family, zones in (but or {}).items() for zone in zones.split()}
    return {
        "ec2:DescribeInstanceTypeOfferings": lambda asked: {
            "InstanceTypeOfferings": [
                {"InstanceType": name, "LocationType": "availability-zone", "Location": zone}
                for name in _wanted(asked)
                for zone in ZONES
                if (name.split(".")[0], zone) not in missing and (name, zone) not in missing
            ]
        }
    }


def _instance_types(asked: Request) -> Mapping[str, Any]:
    return {
        "InstanceTypes": [
            {
                "InstanceType": name,
                "VCpuInfo": {"DefaultVCpus": TYPES[name][0]},
                **({"GpuInfo": {"Gpus": [{"Count": TYPES[name][1]}]}} if TYPES[name][1] else {}),
            }
            for name in _wanted(asked)
        ]
    }


def zones(*names: str, state: str = "available") -> Responses:
    return {
        "ec2:DescribeAvailabilityZones": {
            "AvailabilityZones": [
                {"ZoneName": name, "ZoneId": f"euw1-az{place}", "State": state} for place, name in enumerate(names, 1)
            ]
        }
    }


def vpcs(*several: Mapping[str, str]) -> Responses:
    """VPCs, each with an id, a CIDR and perhaps a name."""
    return {
        "ec2:DescribeVpcs": {
            "Vpcs": [
                {
                    "VpcId": each["id"],
                    "CidrBlock": each["cidr"],
                    "CidrBlockAssociationSet": [{"CidrBlock": each["cidr"]}],
                    "Tags": [{"Key": "Name", "Value": each.get("name", "")}],
                }
                for each in several
            ]
        }
    }


def caller(role: str = "mlops-deploy", account: str = ACCOUNT) -> Responses:
    arn = f"arn:aws:sts::{account}:assumed-role/{role}/session"
    return {"sts:GetCallerIdentity": {"Account": account, "Arn": arn, "UserId": "AROA:session"}}


def orderable(*versions: str, multi_az: bool = True, in_zones: tuple[str, ...] = ZONES) -> Responses:
    return {
        "rds:DescribeOrderableDBInstanceOptions": {
            "OrderableDBInstanceOptions": [
                {
                    "EngineVersion": version,
                    "StorageType": "gp3",
                    "MultiAZCapable": multi_az,
                    "AvailabilityZones": [{"Name": name} for name in in_zones],
                }
                for version in versions
            ]
        }
    }


def versions(*names: str, support: str = "STANDARD_SUPPORT", ends: datetime | None = None) -> Responses:
    end = {"endOfStandardSupportDate": ends} if ends else {}
    listed = [{"clusterVersion": name, "versionStatus": support, **end} for name in names]
    return {"eks:DescribeClusterVersions": {"clusterVersions": listed}}


def manifest(text: str) -> Responses:
    return {"ecr:BatchGetImage": {"images": [{"imageManifest": text}]}}


INDEX = '{"manifests": [{"platform": {"architecture": "amd64"}}, {"platform": {"architecture": "unknown"}}]}'


def certificate(**changes: object) -> Responses:
    found = {
        "CertificateArn": CERTIFICATE,
        "Status": "ISSUED",
        "DomainName": "*.ml.example.com",
        "SubjectAlternativeNames": ["*.ml.example.com"],
        "NotAfter": datetime.now(UTC) + timedelta(days=200, hours=1),
        "RenewalEligibility": "ELIGIBLE",
        **changes,
    }
    return {"acm:DescribeCertificate": {"Certificate": found}}


HEALTHY: Responses = {
    **caller(),
    **quotas(),
    **zones(*ZONES),
    **offerings(),
    **vpcs({"id": "vpc-default", "cidr": "172.31.0.0/16"}),
    **orderable("16.9", "17.4"),
    **certificate(),
    **manifest(INDEX),
    "ec2:DescribeRegions": {"Regions": [{"RegionName": REGION, "OptInStatus": "opt-in-not-required"}]},
    "ec2:DescribeInstanceTypes": _instance_types,
    "ec2:DescribeNatGateways": {"NatGateways": []},
    "ec2:DescribeSubnets": {"Subnets": []},
    "ec2:DescribeAddresses": {"Addresses": []},
    "iam:GetRole": lambda asked: {
        "Role": {
            "Path": "/",
            "RoleName": asked["RoleName"],
            "RoleId": "AROA1234567890123",
            "Arn": f"arn:aws:iam::{ACCOUNT}:role/{asked['RoleName']}",
            "CreateDate": "2026-11-30",
        }
    },
    "iam:GetPolicy": {"Policy": {}},
    "s3:HeadBucket": absent("404"),
    "s3:HeadObject": {},
    "rds:DescribeDBInstances": absent("DBInstanceNotFound"),
    "rds:DescribeDBSnapshots": {"DBSnapshots": [{"DBSnapshotIdentifier": "before"}]},
    "ecr:DescribeImages": {"imageDetails": [{}]},
    **versions("1.35", "1.36"),
    "eks:DescribeCluster": absent("ResourceNotFoundException"),
}
"""Responses to a stack that was never deployed, in an account where it can be."""
