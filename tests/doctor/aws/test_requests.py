"""Requests to AWS."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from doctor.aws.requests import Aws, CredentialsError, DeniedError, connect
from tests.doctor.aws_double import Cloud, Request, caller, denied


def test_an_operation_that_is_no_read_is_refused_before_it_is_sent() -> None:
    cloud = Cloud()
    for service, operation in (("ec2", "create_vpc"), ("iam", "create_service_linked_role"), ("s3", "put_object")):
        with pytest.raises(ValueError, match="is not a request that only reads"):
            cloud.aws.ask(service, operation)
    assert not cloud.requested


def test_a_profile_that_does_not_exist_is_a_fault_of_the_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(CredentialsError, match="nobody"):
        connect("eu-west-1")


@pytest.mark.parametrize(
    ("code", "message", "permission"),
    [
        ("UnauthorizedOperation", "You are not authorized to perform this operation.", "ec2:DescribeVpcs"),
        ("AccessDenied", "User: arn is not authorized to perform: ec2:DescribeVpcs on resource: x", "ec2:DescribeVpcs"),
    ],
)
def test_a_missing_permission_is_named(code: str, message: str, permission: str) -> None:
    cloud = Cloud({"ec2:DescribeVpcs": denied(code, message)})
    with pytest.raises(DeniedError, match=f"it needs the permission {permission}"):
        cloud.aws.ask("ec2", "describe_vpcs")


def test_the_pages_of_a_response_are_joined() -> None:
    def respond(asked: Request) -> Mapping[str, Any]:
        more = {} if "NextToken" in asked else {"NextToken": "more"}
        return {"Quotas": [{"QuotaCode": f"L-{len(asked)}"}], **more}

    cloud = Cloud({"service-quotas:ListServiceQuotas": respond})
    found = cloud.aws.ask("service-quotas", "list_service_quotas", ServiceCode="ec2")
    assert [each["QuotaCode"] for each in found["Quotas"]] == ["L-1", "L-2"]


def test_requests_about_identities_go_to_a_region_that_every_account_has() -> None:
    regions = {"eu-west-1": "us-east-1", "cn-northwest-1": "cn-north-1", "us-gov-east-1": "us-gov-west-1"}
    for region, home in regions.items():
        cloud = Cloud(caller())
        aws: Aws = cloud.connect(region)
        aws.ask("sts", "get_caller_identity")
        assert [(service, place) for service, place in vars(aws)["_clients"]] == [("sts", home)]
